"""Put monocypher.c and monocypher.h into a folder: ``monocypher.py FOLDER [COPY]``.

They come out of the source distribution of ``pymonocypher``, whose hash is pinned, or out of the folder COPY. Either way the files must
have the sums below: they are Monocypher 4.0.3, under the 2-clause BSD licence or CC0.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "pymonocypher==4.0.3.4"
PACKAGE_SHA256 = "5e56e3d3eb770a53e0b9f6274146663c11a11f3d0de5cd48e3be0428d1b07a4a"
FILES_SHA256 = {
    "monocypher.c": "57eb914fc88136119bd41655cccb8c250048bf54d470540625186f8ab16f64be",
    "monocypher.h": "c494da712122da7ff679fdcf318a5317e84972b6c950fe9d896212947797facd",
}


def from_package() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
        command = ["pip", "download", "--quiet", "--no-deps", "--no-binary", "pymonocypher", "--require-hashes", "-d", folder]
        subprocess.run([sys.executable, "-m", *command, "-r", str(requirements)], check=True)
        with tarfile.open(next(Path(folder).glob("pymonocypher-*.tar.gz"))) as archive:
            members = {Path(member.name).name: member for member in archive.getmembers() if Path(member.name).name in FILES_SHA256}
            return {name: archive.extractfile(member).read() for name, member in members.items()}  # type: ignore[union-attr]


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        files = {name: Path(sys.argv[2], name).read_bytes() for name in FILES_SHA256} if len(sys.argv) > 2 else from_package()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"[firmware] Monocypher cannot be had ({error}); give a folder that holds it with MONOCYPHER=...")
    for name, expected in FILES_SHA256.items():
        if hashlib.sha256(files.get(name, b"")).hexdigest() != expected:
            sys.exit(f"[firmware] {name} is not the one of Monocypher 4.0.3: its SHA-256 differs")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
