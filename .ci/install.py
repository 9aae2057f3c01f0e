"""Install into the environment whose Python runs this: ``install.py packages EXTRA``, then ``install.py project``.

One rule: the same steps work with and without a C compiler. A plain ``pip install -e '.[test]'`` does not, because py-libp2p 0.8.1,
which tests and benchmarks run beside ours, asks for exactly fastecdsa 2.3.2, which exists only as source and needs a compiler and the
GMP headers. py-libp2p uses it for secio alone, which nobody here speaks but which cannot be left out; fastecdsa 4 keeps the names it
imports and comes as wheels. So py-libp2p goes in without its dependencies, and they follow with that one line exchanged.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOG: Final = Path(sys.prefix, "install.log")
LOG_TAIL_LINES: Final = 30
FASTECDSA: Final = "fastecdsa>=4,<5"


def install_packages(extra: str) -> None:
    """Install everything pyproject.toml lists for building, running and ``extra``."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*pyproject["build-system"]["requires"], *pyproject["project"]["dependencies"], *_lines_of_extra(pyproject["project"], extra)]
    say(f"installing the packages for `{extra}` (a minute or two the first time)")
    for libp2p in [line for line in wanted if _name(line) == "libp2p"]:
        pip("--no-deps", libp2p)
        wanted.remove(libp2p)
        wanted += [line for line in importlib.metadata.requires("libp2p") or () if _name(line) != "fastecdsa"] + [FASTECDSA]
    requirements = Path(sys.prefix, "requirements.txt")
    requirements.write_text("\n".join(wanted))
    pip("--prefer-binary", "--requirement", str(requirements))


def install_project() -> None:
    """Install this checkout, editable, with the C extension where it can be built; where it cannot, say what that would take."""
    say("installing this checkout and its C extension")
    pip("--no-build-isolation", "--no-deps", "--verbose", "--editable", str(ROOT))
    probe = [sys.executable, "-c", "from retrieval import _native; print(_native.BACKEND)"]
    environment = {name: value for name, value in os.environ.items() if name != "RETRIEVAL_NATIVE"}
    if subprocess.run(probe, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip() == "c":
        return
    if missing := packages_to_compile():
        say("no C compiler or no Python.h, so the slower pure-Python path runs; for the C extension:")
        say(f"    sudo apt-get install -y {' '.join(missing)} && make clean")
    else:
        sys.exit(f"[setup] the C extension did not build; {LOG} ends:\n{_log_tail()}")


def packages_to_compile() -> list[str]:
    """The Debian packages without which an extension cannot be compiled here; none when it can."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    missing = [] if shutil.which(compiler) else ["gcc", "libc6-dev"]
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    return missing


def pip(*arguments: str) -> None:
    """Run ``pip install``, its words going to the log. On failure show the log's end and leave."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", *arguments]
    with LOG.open("w") as log:
        finished = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False)
    if finished.returncode:
        say(f"pip failed; {LOG} ends:\n{_log_tail()}")
        sys.exit("[setup] check the network and the disk, then run the same command again; `rm -rf .venv` starts afresh")


def say(words: str) -> None:
    print(f"[setup] {words}", file=sys.stderr, flush=True)


def _lines_of_extra(project: dict[str, Any], extra: str) -> list[str]:
    """The requirements of an extra, those of the extras it names included."""
    lines = []
    for line in project["optional-dependencies"][extra]:
        if _name(line) == project["name"]:
            for inner in line.partition("[")[2].rstrip("]").split(","):
                lines += _lines_of_extra(project, inner.strip())
        else:
            lines.append(line)
    return lines


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return match[0].lower()


def _log_tail() -> str:
    return "\n".join(LOG.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


match sys.argv[1:]:
    case ["packages", extra]:
        install_packages(extra)
    case ["project"]:
        install_project()
    case ["missing"]:
        print(*packages_to_compile())
    case _:
        sys.exit(__doc__)
