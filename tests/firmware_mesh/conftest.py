"""``benchmarks`` is not installed: it is found where this checkout is, after everything that is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))
