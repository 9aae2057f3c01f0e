"""Look for inputs that break a parser: ``python tests/fuzz/run.py [TARGET…] [--seconds N]`` (`make fuzz`), each target in its turn.

The C core runs as ``core`` under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, where there is clang; what is written in
Python under atheris, where that is installed. What was found interesting stays in ``build/fuzz``, so that the next run begins there; what
fails is written beside it, and belongs into ``tests/fuzz/kept/TARGET`` with its mending.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
BUILT: Final = ROOT / "build" / "fuzz"
NATIVE: Final = ROOT / "retrieval" / "_native"
CORE: Final = "core"
SANITIZERS: Final = "-fsanitize=fuzzer,address,undefined"
INPUT_BYTES_MAX: Final = 4096
SECONDS_PER_INPUT_MAX: Final = 10  # an input that takes longer spins
INSIDE: Final = "--inside"
"""Says that this is the fuzzing process itself; a target and the fuzzer's own arguments follow."""
MEGABYTES_MAX: Final = 2048  # of a whole run, what the fuzzer remembers included


def main() -> None:
    from fuzz.targets import TARGETS, inputs_of

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("targets", nargs="*", metavar="TARGET", help=f"{CORE}, or one of {', '.join(TARGETS)}; none: all")
    options.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    given = options.parse_args()
    failed = []
    for name in given.targets or [CORE, *TARGETS]:
        if name == CORE:
            command = _core_command()
            seeds = inputs_of("native")
        elif importlib.util.find_spec("atheris") is not None:
            command = [sys.executable, __file__, INSIDE, name]
            seeds = inputs_of(name)
        else:
            command = None
        if command is None:
            print(f"[fuzz] {name} is left out: {'no clang' if name == CORE else 'no atheris'} here", file=sys.stderr)
        elif not _run(name, command, seeds, given.seconds):
            failed.append(name)
    if failed:
        sys.exit(f"[fuzz] inputs were found that break {', '.join(failed)}: see {BUILT}")


def _run(name: str, command: list[str], seeds: Iterable[bytes], seconds: int) -> bool:
    """Whether so many seconds found nothing."""
    corpus, found = BUILT / name / "corpus", BUILT / name / "found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    limits = {
        "artifact_prefix": f"{found}/",
        "max_len": INPUT_BYTES_MAX,
        "max_total_time": seconds,
        "print_final_stats": 1,
        "rss_limit_mb": MEGABYTES_MAX,
        "timeout": SECONDS_PER_INPUT_MAX,
        "use_value_profile": 1,
    }
    log = BUILT / name / "log"
    with log.open("wb") as output:
        arguments = [*command, *(f"-{key}={value}" for key, value in limits.items()), str(corpus)]
        ended = subprocess.run(arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text(errors="replace").splitlines()
    coverage = next((line for line in reversed(lines) if "cov: " in line), "")
    runs = next((line for line in lines if "number_of_executed_units" in line), "")
    verdict = "nothing found" if ended.returncode == 0 else f"FAILED, see {log}"
    print(
        f"[fuzz] {name}: {verdict}; {runs.rpartition(' ')[2] or '?'} runs, {coverage.partition('cov: ')[2].partition(' ')[0] or '?'} edges"
    )
    return ended.returncode == 0


def _core_command() -> list[str] | None:
    if shutil.which("clang") is None:
        return None
    program = BUILT / CORE / "program"
    program.parent.mkdir(parents=True, exist_ok=True)
    sources = [ROOT / "tests" / "native" / "fuzz_core.c", *sorted((NATIVE / "core").glob("*.c"))]
    flags = ["-std=c11", "-O1", "-g1", SANITIZERS, "-fno-sanitize-recover=all", f"-I{NATIVE}"]
    subprocess.run(["clang", *flags, *map(str, sources), "-o", str(program)], check=True)
    return [str(program)]


def _fuzz_inside(name: str, arguments: list[str]) -> None:
    """What of ours is imported here is watched for what it runs through; nothing of it may have been imported before."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["retrieval", "fuzz"]):
        from fuzz.targets import TARGETS
    atheris.Setup(arguments, TARGETS[name].check)
    atheris.Fuzz()


match sys.argv[1:]:
    case [first, target, *rest] if first == INSIDE:
        _fuzz_inside(target, [__file__, *rest])
    case _:
        main()
