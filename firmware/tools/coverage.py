"""Say how many lines of the firmware its tests ran: ``coverage.py FOLDER``, with the .gcda files that they left there.

Counted is what firmware is made of: ``src`` and those files of the core that its boards link. Below ``SHARE_MIN`` it ends with an error.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SHARE_MIN = 0.90
CORE = {"airtime.c", "code.c", "crc16.c", "kiss.c", "packet.c", "sha256.c", "sha256_kernels.c", "sha256_plain.c"}


def counted(path: Path) -> bool:
    return path.parent.name == "src" or (path.parent.name == "core" and path.name in CORE)


def main() -> None:
    folder = Path(sys.argv[1])
    data = [str(path.resolve()) for path in sorted(folder.glob("*.gcda"))]
    n_lines = n_run = 0
    with tempfile.TemporaryDirectory() as reports:
        subprocess.run(["gcov", "--json-format", *data], cwd=reports, check=True, stdout=subprocess.DEVNULL)
        for report in sorted(Path(reports).glob("*.gcov.json.gz")):
            for file in json.loads(gzip.decompress(report.read_bytes()))["files"]:
                if not counted(Path(file["file"])) or not file["lines"]:
                    continue
                missed = [line["line_number"] for line in file["lines"] if not line["count"]]
                n_lines, n_run = n_lines + len(file["lines"]), n_run + len(file["lines"]) - len(missed)
                sys.stdout.write(f"{len(file['lines']) - len(missed):5} of {len(file['lines']):4} {file['file']} {missed or ''}\n")
    sys.stdout.write(f"{n_run} of {n_lines} lines, {n_run / max(n_lines, 1):.1%}\n")
    if n_run < SHARE_MIN * n_lines:
        sys.exit(f"[coverage] below {SHARE_MIN:.0%}")


if __name__ == "__main__":
    main()
