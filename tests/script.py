"""Python in another process, for what only another process can show."""

from __future__ import annotations

import subprocess
import sys

CHILD_TIMEOUT_S = 60


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script that must succeed, to its end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=True)
