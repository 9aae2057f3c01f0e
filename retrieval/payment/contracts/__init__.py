"""The contracts as compiled: ABI and bytecode, checked in beside their Vyper sources.

One rule: what is here is what `compile.py` makes of the sources, byte for byte; a test recompiles and compares. Users never need Vyper.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

CONTRACT_NAMES: Final = ("channels", "erc3009_collector", "multicall3", "test_dollar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One compiled contract."""

    name: str
    compiler: str
    evm_version: str
    abi: tuple[dict[str, Any], ...]
    """The JSON ABI; `Any` because that is the format's own shape."""
    deploy_code: bytes
    """What a deployment transaction carries."""
    runtime_code: bytes
    """What stands at the address. There are no constructors, so it can be put into a genesis as it is."""


@cache
def load_artifact(name: str) -> Artifact:
    """Read the artifact of one of `CONTRACT_NAMES`."""
    assert name in CONTRACT_NAMES, name
    entry = json.loads((files(__package__) / f"{name}.json").read_text("utf-8"))
    return Artifact(
        name=name,
        compiler=entry["compiler"],
        evm_version=entry["evm_version"],
        abi=tuple(entry["abi"]),
        deploy_code=bytes.fromhex(entry["deploy_code"].removeprefix("0x")),
        runtime_code=bytes.fromhex(entry["runtime_code"].removeprefix("0x")),
    )
