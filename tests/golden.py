"""The golden vectors under ``tests/vectors``, which Python, C and firmware replay alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors"


def load(name: str) -> Any:
    """The vector file of this name. What it holds is JSON of any shape."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
