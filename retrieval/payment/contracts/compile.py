"""Compiles the Vyper sources to the checked-in artifacts: ``python -m retrieval.payment.contracts.compile``.

A development tool: Vyper is imported by nothing else, and its version is pinned in the sources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from retrieval.payment.contracts import CONTRACT_NAMES

SOURCES: Final = Path(__file__).parent
EVM_VERSION: Final = "cancun"  # the first with transient storage (EIP-1153), which the reentrancy locks use


def compile_contract(name: str) -> dict[str, Any]:
    """The artifact of one contract, in the shape it is checked in. Raises what Vyper raises."""
    import vyper
    from vyper.compiler import CompilerData
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.compiler.output import build_abi_output, build_bytecode_output, build_bytecode_runtime_output

    bundle = FilesystemInputBundle([SOURCES])
    compiled = CompilerData(bundle.load_file(f"{name}.vy"), bundle)
    assert compiled.settings.evm_version == EVM_VERSION, name
    return {
        "contract": name,
        "compiler": f"vyper {vyper.__version__}",
        "evm_version": compiled.settings.evm_version,
        "abi": build_abi_output(compiled),
        "deploy_code": build_bytecode_output(compiled),
        "runtime_code": build_bytecode_runtime_output(compiled),
    }


def render(artifact: dict[str, Any]) -> str:
    """The text of an artifact file; one ABI entry a line, so that a change of interface is a readable diff."""
    *head, abi, deploy, runtime = artifact.items()
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head]
    entries = ",\n".join(f"    {json.dumps(entry)}" for entry in abi[1])
    lines += [f'  "abi": [\n{entries}\n  ],']
    lines += [f"  {json.dumps(deploy[0])}: {json.dumps(deploy[1])},", f"  {json.dumps(runtime[0])}: {json.dumps(runtime[1])}"]
    return "{\n" + "\n".join(lines) + "\n}\n"


def main() -> None:
    """Write every artifact."""
    for name in CONTRACT_NAMES:
        (SOURCES / f"{name}.json").write_text(render(compile_contract(name)), "utf-8")


if __name__ == "__main__":
    main()
