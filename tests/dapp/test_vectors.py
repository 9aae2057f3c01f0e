"""The dapp module agrees with the Python path on every byte that both must agree on, in each JavaScript that is here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import mmh3
from chromium import open_browser, open_page
from dapp_pages import DAPP, serve_folder
from dapp_worker import run_node

from retrieval.errors import REGISTRY, ErrorCode

VECTORS: Final = Path(__file__).parents[1] / "vectors"
CHECKS: Final = Path(__file__).parent / "checks.mjs"
NAMES: Final = ("native", "unixfs", "identity", "voucher", "http_receipt")
CHECKED_MIN: Final = 100


def vectors() -> dict[str, Any]:
    found = {name: json.loads((VECTORS / f"{name}.json").read_text()) for name in NAMES}
    found["native"]["uvarint"] = [row for row in found["native"]["uvarint"] if "error" not in row]
    found["native"]["cid"] = [row for row in found["native"]["cid"] if "error" not in row]
    names = ["", *("x" * n for n in range(1, 34)), "naïve 水.txt", "00000041", "a longer name than two blocks of the hash.jpeg"]
    found["hamt"] = [{"name": name, "hash": str(mmh3.hash64(name.encode())[0] % (1 << 64))} for name in names]
    return found


def refused() -> dict[str, list[str]]:
    native = json.loads((VECTORS / "native.json").read_text())
    return {kind: [row["data"] for row in native[kind] if "error" in row] for kind in ("uvarint", "cid")}


def test_node_agrees_with_the_golden_vectors() -> None:
    source = f"const {{ failures }} = await import('{CHECKS}')\nconsole.log(JSON.stringify(await failures('{DAPP}', told)))"
    found = run_node(source, vectors())
    assert found["failed"] == []
    assert found["nChecked"] > CHECKED_MIN


def test_chromium_agrees_with_the_golden_vectors(tmp_path: Path) -> None:
    shutil.copytree(DAPP, tmp_path / "dapp")
    shutil.copy(CHECKS, tmp_path / "checks.js")  # a name that servers know the type of
    with serve_folder(tmp_path) as origin, open_browser() as browser, open_page(browser) as page:
        page.goto(f"{origin}/dapp/package.json")
        found = page.evaluate("async (told) => await (await import('/checks.js')).failures('/dapp', told)", vectors())
    assert found["failed"] == []
    assert found["nChecked"] > CHECKED_MIN


def test_what_the_c_core_refuses_is_refused() -> None:
    source = f"""
    const {{ fromHex }} = await import('{DAPP}/content/bytes.js')
    const {{ readUvarint }} = await import('{DAPP}/content/varint.js')
    const {{ readCid }} = await import('{DAPP}/content/cid.js')
    const codes = (work, rows) => rows.map((row) => {{ try {{ work(fromHex(row)); return null }} catch (error) {{ return error.code }} }})
    const uvarint = codes((bytes) => readUvarint(bytes, 0, 'malformed_car'), told.uvarint)
    console.log(JSON.stringify({{ uvarint, cid: codes((bytes) => readCid(bytes), told.cid) }}))"""
    found = run_node(source, refused())
    assert set(found["uvarint"]) == {"malformed_car"}
    assert set(found["cid"]) == {"invalid_cid"}


def test_the_errors_are_rows_of_the_registry() -> None:
    rows = run_node(f"console.log(JSON.stringify((await import('{DAPP}/errors.js')).ERRORS))", None)
    assert rows == {label: _row(ErrorCode[label.upper()]) for label in rows}


def _row(code: ErrorCode) -> list[object]:
    row = REGISTRY[code]
    return [int(code), row.summary, row.retry.value]
