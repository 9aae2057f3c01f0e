"""The drawing in ARCHITECTURE.md, checked: who imports whom, which module is the door to a library, where the world and floats stay out."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = {
    "retrieval": "retrieval",
    "retrieval_provider": "provider/retrieval_provider",
    "retrieval_client": "client/retrieval_client",
}
"""Import name to folder."""

# From the bottom up. A part imports itself and the rows below, never a sibling. The longest name that fits a module is its part.
ROWS: Final = (
    ("retrieval._native",),
    ("retrieval.errors", "retrieval.multibase"),
    ("retrieval.buckets", "retrieval.cid", "retrieval.identity", "retrieval.memory", "retrieval.units"),
    ("retrieval.staging", "retrieval.wire"),
    ("retrieval.store",),
    ("retrieval.dag", "retrieval.ledger", "retrieval.payment"),
    ("retrieval.deal",),
    ("retrieval.home", "retrieval.radio"),
    (
        "retrieval.console",
        "retrieval.payment.evm",
        "retrieval.settings",
        "retrieval.store.car",
        "retrieval.store.lmdb",
        "retrieval.transport",
    ),
    ("retrieval.gateway", "retrieval.store.disk"),
    ("retrieval_client", "retrieval_provider"),
)
HEIGHTS: Final = {part: height for height, row in enumerate(ROWS) for part in row}
DEVCHAIN: Final = "retrieval.devchain"
"""May import anything, and is imported by nobody."""

DOORS: Final[dict[str, tuple[str, ...]]] = {
    "aiohttp": ("retrieval.gateway", "retrieval_client", "retrieval_provider"),
    "blake3": ("retrieval.cid",),
    "click": ("retrieval.console", "retrieval_client", "retrieval_provider"),
    "coincurve": ("retrieval.identity",),
    "eth_abi": ("retrieval.payment.evm",),
    "eth_account": ("retrieval.payment.evm",),
    "cryptography": ("retrieval.transport.libp2p",),
    "libp2p": ("retrieval.transport.libp2p",),
    "lmdb": ("retrieval.store.lmdb",),
    "mmh3": ("retrieval.dag.hamt",),
    "multiformats": ("retrieval.multibase",),
    "nacl": ("retrieval.identity",),
    "platformdirs": ("retrieval.home",),
    "prometheus_client": ("retrieval_provider.operator.exposition",),
    "requests": ("retrieval.payment.evm",),
    "rich": ("retrieval.console",),
    "sha3": ("retrieval.identity",),
    "tomlkit": ("retrieval.settings",),
    "trio": ("retrieval.transport", "retrieval_client", "retrieval_provider"),
    "vyper": ("retrieval.payment.contracts.compile",),
    "web3": ("retrieval.payment.evm",),
}

CORE: Final = frozenset(f"retrieval.{name}" for name in ("wire", "store", "dag", "ledger", "payment", "deal", "radio"))
FILES_ENTER: Final = ("retrieval.dag.exporter", "retrieval.dag.importer", "retrieval.payment.contracts")
"""In the core's packages, and yet their one job is to read or write files."""
WORLD: Final = frozenset(
    ["anyio", "asyncio", "datetime", "os", "pathlib", "random", "secrets", "socket", "subprocess", "tempfile", "threading", "time", "trio"]
)
MONEY: Final = (
    *(f"retrieval.{name}" for name in ("units", "wire", "ledger", "payment", "deal")),
    *(f"retrieval.radio.{name}" for name in ("account", "airtime", "codes", "duty", "packet")),
)


def violations(root: Path) -> list[str]:
    """What the sources below ``root`` do against the rules, one line each."""
    found: list[str] = []
    for package, folder in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            names = [package, *path.relative_to(root / folder).with_suffix("").parts]
            if not _within(module := ".".join(names).removesuffix(".__init__"), DEVCHAIN):
                tree = ast.parse(path.read_text(), path)
                home = module if names[-1] == "__init__" else module.rpartition(".")[0]
                found += [
                    f"{module}:{line}: {words}" for line, words in sorted({*_bad_imports(tree, module, home), *_divisions(tree, module)})
                ]
    return found


def _bad_imports(tree: ast.Module, module: str, home: str) -> Iterator[tuple[int, str]]:
    part = _part(module)
    if part not in HEIGHTS and part != "retrieval":
        yield 1, "stands in no row of the drawing"
        return
    for line, imported in _imports(tree, home):
        library = imported.partition(".")[0]
        if library in PACKAGES:
            below = _part(imported)
            if below != part and HEIGHTS.get(below, len(ROWS)) >= HEIGHTS.get(part, 0):
                yield line, f"imports {below}, which does not stand below {part}"
        elif library in WORLD and part in CORE and not _within(module, *FILES_ENTER):
            yield line, f"imports {library}, and the core cannot reach the world"
        elif library not in sys.stdlib_module_names and not _within(module, *DOORS.get(library, ())):
            yield line, f"imports {library}, whose door is {' or '.join(DOORS.get(library, ('named nowhere',)))}"


def _imports(tree: ast.Module, home: str) -> Iterator[tuple[int, str]]:
    """The line and the full dotted name of everything imported, inside functions too; ``home`` is where one leading dot points."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*home.split(".")[: len(home.split(".")) + 1 - node.level], *filter(None, [base])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _divisions(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    if _within(module, *MONEY) and not _within(module, *FILES_ENTER):
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
                yield node.lineno, "divides by '/', and money and sizes divide by floor_div or ceil_div"


def _part(module: str) -> str:
    """The part of the drawing a module belongs to, or its own name when nobody drew it."""
    return max((part for part in HEIGHTS if _within(module, part)), key=len, default=module)


def _within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_every_module_keeps_to_the_drawing() -> None:
    assert violations(ROOT) == []


def test_every_package_is_listed_for_installation() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        ".".join([package, *path.parent.relative_to(ROOT / folder).parts])
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        (
            "retrieval/wire/codec.py",
            "from retrieval.deal import terms",
            "imports retrieval.deal, which does not stand below retrieval.wire",
        ),
        (
            "retrieval/units.py",
            "def f():\n    import retrieval.wire.cbor",
            "imports retrieval.wire, which does not stand below retrieval.units",
        ),
        (
            "retrieval/ledger/book.py",
            "from retrieval.payment.voucher import Voucher",
            "imports retrieval.payment, which does not stand below",
        ),
        ("retrieval/ledger/book.py", "from ..payment import voucher", "imports retrieval.payment, which does not stand below"),
        ("retrieval/payment/voucher.py", "from retrieval.payment import evm", "imports retrieval.payment.evm, which does not stand below"),
        ("retrieval/transport/__init__.py", "from ..store import lmdb", "imports retrieval.store.lmdb, which does not stand below"),
        ("retrieval/settings/load.py", "from retrieval import devchain", "imports retrieval.devchain"),
        ("retrieval/gossip.py", "import retrieval.errors", "stands in no row"),
        ("provider/retrieval_provider/cli.py", "import retrieval_client.wallet", "imports retrieval_client, which does not stand below"),
        ("client/retrieval_client/cli.py", "from retrieval_provider import node", "imports retrieval_provider, which does not stand below"),
        ("retrieval/deal/client.py", "import libp2p", "whose door is retrieval.transport.libp2p"),
        ("provider/retrieval_provider/node.py", "from web3 import Web3", "whose door is retrieval.payment.evm"),
        ("provider/retrieval_provider/node.py", "import numpy", "whose door is named nowhere"),
        ("retrieval/deal/client.py", "from time import monotonic", "imports time, and the core cannot reach the world"),
        ("retrieval/payment/channel.py", "import trio", "imports trio, and the core cannot reach the world"),
        ("retrieval/deal/terms.py", "half = window / 2", "divides by '/'"),
        ("retrieval/units.py", "x = 3\nx /= 2", "retrieval.units:2: divides by '/'"),
    ],
)
def test_a_module_outside_the_drawing_is_named(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    _write(tmp_path, path, source)
    [found] = violations(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("retrieval/deal/client.py", "from retrieval.payment.voucher import Voucher\nfrom . import terms\nimport hashlib"),
        ("retrieval/payment/evm.py", "import time\nfrom web3 import Web3\nfrom retrieval.payment.voucher import Voucher"),
        ("retrieval/transport/libp2p/__init__.py", "from .host import Host\nimport trio, libp2p.crypto"),
        ("retrieval/devchain/demo.py", "import eth_tester, retrieval_client, retrieval_provider"),
        ("retrieval/dag/importer.py", "import os\nfrom retrieval.store.blocks import BlockStore"),
        ("client/retrieval_client/progress.py", "rate = 1 / 2"),
    ],
)
def test_what_the_drawing_allows_passes(tmp_path: Path, path: str, source: str) -> None:
    _write(tmp_path, path, source)
    assert violations(tmp_path) == []


def _write(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(source)
