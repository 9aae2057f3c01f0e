"""What the door answers, request by request; the tables restate what the public conformance suite expects of gateways."""

from __future__ import annotations

import io
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from dag_builder import Builder, identity
from documents import to_cbor, to_json
from http_door import Caller, fixture_store, open_door
from tills import Ledger

from retrieval.cid import CBOR, DAG_CBOR, DAG_JSON, JSON, Cid, cid_of, format_cid, parse_cid
from retrieval.dag.datamodel import Link
from retrieval.gateway.denylist import Denylist
from retrieval.store.car import CarReader

CAR = "application/vnd.ipld.car"
RAW = "application/vnd.ipld.raw"
FOR_EVER = "public, max-age=29030400, immutable"
PAGE = "<!doctype html><p>hi"
MIXED = "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"  # subdir-with-mixed-block-files.car
DUPLICATES = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"  # dir-with-duplicate-files.car
MISSING = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"  # file-3k-and-3-blocks-missing-block.car


class Site:
    """A small site, and its addresses."""

    def __init__(self) -> None:
        dag = self.dag = Builder()
        self.text = dag.raw(b"hello, world\n")
        self.chunked = dag.file(dag.raw(b"abcd"), dag.raw(b"efgh"), dag.raw(b"ij"), sizes=(4, 4, 2))
        self.gap = dag.file(dag.raw(b"abcd"), cid_of(0x55, b"gone"), sizes=(4, 4))
        self.folder = dag.directory(("index.html", dag.raw(PAGE.encode())))
        self.document = dag.block(DAG_CBOR, to_cbor({"a": {"b": 1}, "link": Link(self.text)}))
        self.json_document = dag.block(DAG_JSON, to_json({"a": {"b": 1}, "link": Link(self.text)}))
        self.plain = dag.block(JSON, b'{"a": 1}')
        self.plain_cbor = dag.block(CBOR, b"\xa0")
        self.root = dag.directory(
            ("a b%.txt", self.text),
            ("chunked", self.chunked),
            ("doc", self.document),
            ("folder", self.folder),
            ("gap", self.gap),
            ("link", dag.symlink(b"a b%.txt")),
            ("page.svg", dag.raw(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
        )


SITE = Site()
ROOT = f"/ipfs/{format_cid(SITE.root)}"


def at(cid: Cid, rest: str = "") -> str:
    return f"/ipfs/{format_cid(cid)}{rest}"


@pytest.fixture(scope="module")
def door() -> Iterator[Caller]:
    with open_door(SITE.dag.store) as caller:
        yield caller


@pytest.fixture(scope="module")
def suite() -> Iterator[Caller]:
    """A door with the blocks of the public suite behind it."""
    with open_door(fixture_store("trustless_gateway_car/*.car")) as caller:
        yield caller


def blocks(body: bytes) -> list[str]:
    """The CIDs of a CAR, whose blocks it verifies."""
    return [format_cid(cid) for cid, _ in CarReader(io.BytesIO(body))]


# blocks


@pytest.mark.parametrize(("query", "accept"), [("?format=raw", ""), ("", RAW), ("?format=raw", CAR)])
def test_a_block_comes_as_it_is(door: Caller, query: str, accept: str) -> None:
    reply = door.get(f"{ROOT}{query}", accept=accept)
    assert (reply.status, reply.body) == (200, SITE.dag.store.get(SITE.root))
    expected = {
        "content-type": RAW,
        "content-length": str(len(reply.body)),
        "content-disposition": f'attachment; filename="{format_cid(SITE.root)}.bin"',
        "x-content-type-options": "nosniff",
        "x-ipfs-path": ROOT,
        "x-ipfs-roots": format_cid(SITE.root),
        "etag": f'"{format_cid(SITE.root)}.raw"',
        "cache-control": FOR_EVER,
        "accept-ranges": "bytes",
        "vary": "Accept",
    }
    assert {name: reply.headers.get(name) for name in expected} == expected
    assert reply.headers.get("content-location") == (None if query else f"{ROOT}?format=raw")


def test_a_block_below_a_path_has_the_roots_on_its_way(door: Caller) -> None:
    reply = door.get(f"{ROOT}/a%20b%25.txt?format=raw&filename=x%C4%85.bin")
    assert reply.body == b"hello, world\n"
    assert reply.headers["x-ipfs-path"] == f"{ROOT}/a%20b%25.txt"
    assert reply.headers["x-ipfs-roots"].split(",") == [format_cid(SITE.root), format_cid(SITE.text)]
    assert reply.headers["content-disposition"] == "attachment; filename=\"x_.bin\"; filename*=UTF-8''x%C4%85.bin"


def test_the_probe_finds_a_gateway(door: Caller) -> None:
    block = door.get("/ipfs/bafkqaaa?format=raw")
    assert (block.status, block.body, block.headers["content-type"]) == (200, b"", RAW)
    car = door.get("/ipfs/bafkqaaa?format=car")
    reader = CarReader(io.BytesIO(car.body))
    assert (car.status, reader.roots, list(reader)) == (200, (parse_cid("bafkqaaa"),), [])


def test_an_inline_block_is_read_out_of_its_cid(door: Caller) -> None:
    cid = identity(b"hello")
    assert door.get(at(cid, "?format=raw")).body == b"hello"
    assert door.get(at(cid, "?format=raw"), range="bytes=1-2").body == b"el"
    assert door.get(at(cid)).headers["content-type"] == "text/plain; charset=utf-8"


# CARs


CHUNKS = ("bafkreie5noke3mb7hqxukzcy73nl23k6lxszxi5w3dtmuwz62wnvkpsscm", "bafkreih4ephajybraj6wnxsbwjwa77fukurtpl7oj7t7pfq545duhot7cq")
CHUNKS += ("bafkreigu7buvm3cfunb35766dn7tmqyh2um62zcio63en2btvxuybgcpue", "bafkreicll3huefkc3qnrzeony7zcfo7cr3nbx64hnxrqzsixpceg332fhe")
CHUNKS += ("bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm",)  # four of 256 bytes and one of 2


@pytest.mark.parametrize(
    ("entity_bytes", "chunks"),
    [
        ("0:*", CHUNKS),
        ("512:*", CHUNKS[2:]),
        ("512:1023", CHUNKS[2:4]),
        ("512:-256", CHUNKS[2:4]),
        ("-5:*", CHUNKS[3:]),
        ("-9999:*", CHUNKS),
        ("-9999:-3", CHUNKS[:4]),
        ("0:0", CHUNKS[:1]),
        ("9999:*", ()),
    ],
)
def test_a_part_of_a_file_takes_only_the_blocks_it_needs(suite: Caller, entity_bytes: str, chunks: tuple[str, ...]) -> None:
    for query in ("format=car&dag-scope=entity", "format=car"):
        reply = suite.get(f"/ipfs/{MIXED}/subdir/multiblock.txt?{query}&entity-bytes={entity_bytes}")
        assert reply.status == 200
        assert tuple(blocks(reply.body)[3:]) == chunks


@pytest.mark.parametrize(("query", "dups"), [("", "n"), ("&car-dups=y", "y"), ("&car-dups=n&car-order=dfs", "n")])
def test_duplicate_blocks_come_when_they_are_wanted(suite: Caller, query: str, dups: str) -> None:
    reply = suite.get(f"/ipfs/{DUPLICATES}?format=car{query}", accept=f"{CAR}; dups={'n' if dups == 'y' else dups}")
    assert reply.headers["content-type"] == f"{CAR}; version=1; order=dfs; dups={dups}"
    found = blocks(reply.body)
    assert (len(found) > len(set(found))) == (dups == "y")
    assert found[-5:] == list(CHUNKS)


@pytest.mark.parametrize(("scope", "n_blocks"), [("block", 1), ("entity", 4), ("all", 4)])
def test_a_scope_is_that_much_of_the_dag(door: Caller, scope: str, n_blocks: int) -> None:
    reply = door.get(at(SITE.chunked, f"?format=car&dag-scope={scope}"))
    assert (reply.status, reply.is_whole, len(blocks(reply.body))) == (200, True, n_blocks)


def test_what_is_missing_elsewhere_does_not_matter(suite: Caller) -> None:
    parts = {"0:1000": "QmPKt7ptM2ZYSGPUc8PmPT2VBkLDK3iqpG9TBJY7PCE9rF", "2200:*": "QmWXY482zQdwecnfBsj78poUUuPXvyw2JAFAEMw4tzTavV"}
    for entity_bytes, block in parts.items():
        reply = suite.get(f"/ipfs/{MISSING}?format=car&dag-scope=entity&entity-bytes={entity_bytes}")
        assert (reply.is_whole, blocks(reply.body)) == (True, [MISSING, block])
    assert suite.get(f"/ipfs/{MISSING}", range="bytes=2200-2201").headers["content-range"] == "bytes 2200-2201/3072"


def test_a_car_says_what_it_is(door: Caller) -> None:
    reply = door.get(at(SITE.chunked), accept=f"{CAR};dups=y")
    assert reply.headers["content-type"] == f"{CAR}; version=1; order=dfs; dups=y"
    assert (reply.headers["accept-ranges"], reply.headers["cache-control"]) == ("none", FOR_EVER)
    assert reply.headers["content-disposition"] == f'attachment; filename="{format_cid(SITE.chunked)}.car"'
    location = reply.headers["content-location"]
    assert location == at(SITE.chunked, "?format=car&car-dups=y")
    assert door.get(location).body == reply.body


def test_tags_of_cars_tell_all_that_changes_their_bytes(door: Caller) -> None:
    asked = ["", "&dag-scope=block", "&dag-scope=entity", "&entity-bytes=0:1", "&entity-bytes=0:2", "&car-dups=y"]
    tags = [door.head(f"{ROOT}/chunked?format=car{query}").headers["etag"] for query in asked]
    tags.append(door.head(at(SITE.chunked, "?format=car")).headers["etag"])
    assert len(set(tags)) == len(tags)
    assert door.head(f"{ROOT}/chunked?format=car&who=cares").headers["etag"] == tags[0]


# files and folders


def test_a_file_is_served_with_its_type_and_in_parts(door: Caller) -> None:
    whole = door.get(f"{ROOT}/a%20b%25.txt")
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, b"hello, world\n", "text/plain; charset=utf-8")
    assert whole.headers["etag"] == f'"{format_cid(SITE.text)}"'
    assert "content-disposition" not in whole.headers
    parts = {"3-5": b"def", "-3": b"hij", "8-": b"ij", "0-99": b"abcdefghij", "2-4,7-8": b"cde"}
    for field, part in parts.items():
        reply = door.get(f"{ROOT}/chunked", range=f"bytes={field}")
        assert (reply.status, reply.body, reply.headers["content-length"]) == (206, part, str(len(part)))
    assert reply.headers["content-range"] == "bytes 2-4/10"


def test_a_range_outside_is_answered_with_the_size(door: Caller) -> None:
    reply = door.get(f"{ROOT}/chunked", range="bytes=10-")
    assert reply.code == (416, "range_not_satisfiable")
    assert reply.headers["content-range"] == "bytes */10"


def test_a_download_is_called_what_the_address_says(door: Caller) -> None:
    for query, disposition in (
        ("?filename=n.png", 'inline; filename="n.png"'),
        ("?filename=n.png&download=true", 'attachment; filename="n.png"'),
        ("?download=true", 'attachment; filename="chunked"'),
    ):
        assert door.head(f"{ROOT}/chunked{query}").headers["content-disposition"] == disposition
    assert door.head(f"{ROOT}/chunked?filename=n.png").headers["content-type"] == "image/png"


def test_content_that_could_run_runs_in_a_sandbox(door: Caller) -> None:
    reply = door.get(f"{ROOT}/page.svg")
    assert reply.headers["content-type"] == "image/svg+xml"
    assert reply.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in reply.headers["content-security-policy"]
    assert "script-src" not in door.get(f"{ROOT}/").headers["content-security-policy"]


def test_a_folder_is_listed_below_its_slash(door: Caller) -> None:
    redirected = door.get(f"{ROOT}?filename=a%20b&x=1")
    assert (redirected.status, redirected.headers["location"], redirected.body) == (301, f"{ROOT}/?filename=a%20b&x=1", b"")
    page = door.get(f"{ROOT}/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["etag"] == f'"DirIndex-2_CID-{format_cid(SITE.root)}"'
    assert f'href="{ROOT}/a%20b%25.txt"'.encode() in page.body
    assert "immutable" not in page.headers["cache-control"]


def test_a_folder_with_an_index_is_its_index(door: Caller) -> None:
    assert door.get(f"{ROOT}/folder").headers["location"] == f"{ROOT}/folder/"
    reply = door.get(f"{ROOT}/folder/")
    assert (reply.body.decode(), reply.headers["content-type"]) == (PAGE, "text/html; charset=utf-8")
    assert (reply.headers["etag"], reply.headers["cache-control"]) == (f'"{format_cid(SITE.folder)}"', FOR_EVER)
    assert reply.headers["x-ipfs-roots"].split(",") == [format_cid(SITE.root), format_cid(SITE.folder)]


def test_a_symlink_is_shown_and_not_followed(door: Caller) -> None:
    assert door.get(f"{ROOT}/link").body == b"a b%.txt"
    assert door.get(f"{ROOT}/link/x").code == (404, "path_not_found")


def test_a_large_directory_is_walked_through_its_shards() -> None:
    with open_door(fixture_store("trustless_gateway_car/single-layer-hamt-with-multi-block-files.car")) as suite:
        root = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
        listing = suite.get(f"/ipfs/{root}/")
        assert listing.status == 200
        assert b">685.txt<" in listing.body
        assert suite.get(f"/ipfs/{root}/685.txt").headers["content-length"] == str(len(suite.get(f"/ipfs/{root}/685.txt").body))


# documents


@pytest.mark.parametrize(
    ("cid", "form", "media_type", "disposition"),
    [
        (SITE.document, "dag-cbor", "application/vnd.ipld.dag-cbor", "attachment"),
        (SITE.document, "cbor", "application/cbor", "attachment"),
        (SITE.json_document, "dag-json", "application/vnd.ipld.dag-json", "inline"),
        (SITE.json_document, "json", "application/json", "inline"),
        (SITE.plain, "json", "application/json", "inline"),
        (SITE.plain_cbor, "cbor", "application/cbor", "attachment"),
    ],
)
def test_a_document_comes_as_it_is_under_the_name_that_was_asked_for(
    door: Caller, cid: Cid, form: str, media_type: str, disposition: str
) -> None:
    for reply in (door.get(at(cid, f"?format={form}")), door.get(at(cid), accept=media_type)):
        assert (reply.status, reply.body, reply.headers["content-type"]) == (200, SITE.dag.store.get(cid), media_type)
        assert reply.headers["etag"] == f'"{format_cid(cid)}.{form}"'
        assert reply.headers["content-disposition"] == f'{disposition}; filename="{format_cid(cid)}.{media_type[-4:]}"'
    assert door.get(at(cid)).body == SITE.dag.store.get(cid)


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (at(SITE.document), "dag-json"),
        (at(SITE.document), "json"),
        (at(SITE.json_document), "dag-cbor"),
        (at(SITE.plain), "cbor"),
        (ROOT, "dag-json"),
    ],
)
def test_nothing_is_converted(door: Caller, target: str, form: str) -> None:
    assert door.get(f"{target}?format={form}").code == (406, "unsupported_format")


def test_a_browser_sees_a_document_as_a_page(door: Caller) -> None:
    assert door.get(at(SITE.document), accept="text/html").headers["location"] == at(SITE.document, "/")
    page = door.get(at(SITE.document, "/"), accept="text/html")
    assert page.headers["etag"].startswith('"DagIndex-')
    assert f'href="{at(SITE.text)}"'.encode() in page.body
    assert door.get(at(SITE.document, "/?download=true"), accept="text/html").body == SITE.dag.store.get(SITE.document)


def test_paths_lead_through_documents_to_links_only(door: Caller) -> None:
    assert door.get(f"{ROOT}/doc/link").body == b"hello, world\n"
    for query in ("", "?format=dag-cbor", "?format=raw"):
        assert door.get(f"{ROOT}/doc/a{query}").code == (501, "inside_document")
    assert door.get(f"{ROOT}/doc/none").code == (404, "path_not_found")
    assert blocks(door.get(f"{ROOT}/doc/a?format=car&dag-scope=block").body) == [format_cid(SITE.root), format_cid(SITE.document)]


# conditions, methods, refusals


@pytest.mark.parametrize("rest", ["?format=raw", "?format=car", "/chunked", "/", "/folder/", "/doc?format=dag-cbor"])
def test_what_the_client_has_is_not_sent_again(door: Caller, rest: str) -> None:
    first = door.get(f"{ROOT}{rest}")
    again = door.get(f"{ROOT}{rest}", if_none_match=f'"other", W/{first.headers["etag"]}')
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == first.headers["cache-control"]


@pytest.mark.parametrize("rest", ["?format=raw", "?format=car", "/chunked", "/", "/doc?format=dag-cbor", "/none", "?format=tar"])
def test_a_head_is_the_head_of_the_get(door: Caller, rest: str) -> None:
    get, head = door.get(f"{ROOT}{rest}"), door.head(f"{ROOT}{rest}", range="bytes=1-2")
    assert (head.status, head.body) == (get.status, b"")
    apart = {"date", "transfer-encoding"}
    assert {n: v for n, v in head.headers.items() if n not in apart} == {n: v for n, v in get.headers.items() if n not in apart}


@pytest.mark.parametrize("method", ["get", "head"])
def test_what_is_not_held_is_not_found(door: Caller, method: str) -> None:
    absent = at(cid_of(0x55, b"absent"))
    for query in ("", "?format=raw", "?format=car"):
        reply = door.ask(method.upper(), f"{absent}{query}")
        assert (reply.status, reply.headers["cache-control"]) == (404, "no-store")
        assert door.ask(method.upper(), f"{absent}{query}", cache_control="only-if-cached").status == 412
    assert door.get(f"{ROOT}?format=raw", cache_control="only-if-cached").status == 200


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/", (404, "unknown_route")),
        ("GET", "/ipns/k51qzi5uqu5dlxdsdu5fpuu7h69wu4ohp32iwm9pdt9nq3y5rpn3ln9j12zfhe", (404, "unknown_route")),
        ("POST", ROOT, (405, "unsupported_method")),
        ("DELETE", "/healthz", (405, "unsupported_method")),
        ("GET", "/ipfs/hello", (400, "invalid_cid")),
        ("GET", f"{ROOT}/%2e%2e/x", (400, "invalid_path")),
        ("GET", f"{ROOT}/a%2fb", (400, "invalid_path")),
        ("GET", f"{ROOT}?format=car&dag-scope=x", (400, "malformed_request")),
        ("GET", f"{ROOT}?format=car&entity-bytes=1", (400, "invalid_range")),
        ("GET", f"{ROOT}?format=ipns-record", (406, "unsupported_format")),
        ("GET", f"/ipfs/{quote('bafkreiaaaa')}", (400, "invalid_cid")),
        ("GET", at(Cid(b"\x01\x55\x16\x20" + bytes(32))), (406, "unsupported_codec")),
    ],
)
def test_a_refusal_is_a_problem_with_its_code_and_a_hint(door: Caller, method: str, target: str, code: tuple[int, str]) -> None:
    reply = door.ask(method, target)
    assert reply.code == code
    assert reply.problem["hint"]
    assert reply.headers["access-control-allow-origin"] == "*"


def test_any_web_page_may_ask_and_read_what_payment_needs(door: Caller) -> None:
    for reply in (door.ask("OPTIONS", ROOT), door.ask("OPTIONS", "/anything"), door.get(f"{ROOT}/chunked"), door.get("/none")):
        headers = {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
        assert {"Range", "Payment-Signature", "X-Payment"} <= set(headers["access-control-allow-headers"].split(", "))
        exposed = set(headers["access-control-expose-headers"].split(", "))
        assert {"Content-Range", "X-Ipfs-Roots", "Payment-Required", "Payment-Response"} <= exposed
        assert "access-control-allow-credentials" not in headers


def test_a_receipt_is_opened_by_its_order_and_by_nothing_else(door: Caller) -> None:
    assert door.get(f"/v1/receipts/{'0' * 32}").code == (404, "deal_unknown")
    for order in ("", "0" * 31, "0" * 33, "g" * 32, "%2e", "0" * 30 + "%30%30x"):
        assert door.get(f"/v1/receipts/{order}").code == (400, "malformed_request")
    with open_door(SITE.dag.store, Ledger()) as selling:
        reply = selling.get(f"/v1/receipts/{'ab' * 16}")
        assert (reply.body, reply.headers["content-type"]) == (b"receipt of " + b"\xab" * 16, "application/cbor")
        assert (reply.headers["cache-control"], "ab.receipt.cbor" in reply.headers["content-disposition"]) == ("no-store", True)


def test_what_the_denylist_names_is_withheld_on_every_way_to_it() -> None:
    rules = Denylist.read(io.BytesIO(f"/ipfs/{format_cid(SITE.text)}\n{at(SITE.folder)}/index.html* gateway_status:451\n".encode()))
    with open_door(SITE.dag.store, denylist=lambda: rules) as door:
        forms = (at(SITE.text), at(SITE.text, "?format=raw"), at(SITE.text, "?format=car"))
        for target in (*forms, f"{ROOT}/a%20b%25.txt", f"{ROOT}/doc/link"):
            assert door.get(target).code == (410, "content_gone")
            assert door.get(target, range="bytes=999-", if_none_match="*").status == 410
        assert door.get(at(SITE.folder, "/index.html")).code == (451, "content_restricted")
        assert {door.get(f"{ROOT}/chunked").status, door.get(f"{ROOT}/").status, door.get(f"{ROOT}/folder/").status} == {200}


def test_a_folder_s_page_is_withheld_with_the_cid_it_is() -> None:
    rules = Denylist.read(io.BytesIO(f"/ipfs/{format_cid(cid_of(0x55, PAGE.encode()))}".encode()))
    with open_door(SITE.dag.store, denylist=lambda: rules) as door:
        assert door.get(f"{ROOT}/folder/").code == (410, "content_gone")


def test_it_says_that_it_lives_and_can_serve(door: Caller) -> None:
    assert door.get("/healthz").status == door.get("/readyz").status == 200
