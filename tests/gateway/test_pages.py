from html.parser import HTMLParser

from dag_builder import Builder, identity
from documents import documents
from hypothesis import given, settings

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.dag.datamodel import Link, Value
from retrieval.gateway import pages
from retrieval.gateway.ask import read_ask

EMPTY = cid_of(RAW, b"")
EVIL = b"\"><script>alert('1')</script>&amp;\x01 .txt"


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: dict[str, str] = {}
        self._open: str | None = None
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self._open = dict(attrs).get("href") if tag == "a" else None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.links[data] = self._open

    def handle_endtag(self, tag: str) -> None:
        self._open = None


ALLOWED = {"html", "head", "meta", "title", "style", "body", "h1", "p", "a", "table", "tr", "td", "pre"}


def listing(dag: Builder, *entries: tuple[str | bytes, bytes], rest: str = "/") -> Reader:
    root = dag.directory(*((name, dag.raw(content)) for name, content in entries))
    page = pages.directory_page(dag.store, read_ask(f"/ipfs/{format_cid(root)}{rest}", {}), root)
    return Reader(page)


def test_a_directory_lists_its_names_as_links() -> None:
    dag = Builder()
    found = listing(dag, ("ą b.txt", b"x"), ("100%", b"y"), rest="/up/down/")
    root = next(iter(found.links))
    assert found.links["ą b.txt"] == f"/ipfs/{root}/up/down/%C4%85%20b.txt"
    assert found.links["100%"] == f"/ipfs/{root}/up/down/100%25"
    assert found.links[".."] == f"/ipfs/{root}/up/down/.."
    assert (found.links[root], found.links["up"], found.links["down"]) == (f"/ipfs/{root}", f"/ipfs/{root}/up", f"/ipfs/{root}/up/down")


def test_the_root_has_nothing_above_it() -> None:
    assert ".." not in listing(Builder(), ("a", b"")).links


def test_names_of_strangers_stay_text() -> None:
    found = listing(Builder(), (EVIL, b"x"), (b"\xff\xfe", b"y"), rest="/%22%3E%3Cscript%3E/")
    assert found.tags <= ALLOWED
    assert any("<script>alert" in text for text in found.links)


def test_a_large_directory_is_listed_in_part_and_says_so() -> None:
    dag = Builder()
    entries = [(f"{n:05}", EMPTY) for n in range(pages.ENTRIES_MAX + 1)]
    root = dag.directory(*entries)
    page = pages.directory_page(dag.store, read_ask(f"/ipfs/{format_cid(root)}/", {}), root).decode()
    assert page.count("<tr>") == pages.ENTRIES_MAX
    assert f"Only the first {pages.ENTRIES_MAX} entries" in page


@given(value=documents)
@settings(max_examples=60)
def test_any_document_is_shown_and_its_links_can_be_followed(value: Value) -> None:
    cid = identity(b"")
    found = Reader(pages.document_page(read_ask(f"/ipfs/{format_cid(cid)}/", {}), cid, {"link": Link(EMPTY), "value": value}))
    assert found.tags <= ALLOWED
    assert found.links[format_cid(EMPTY)] == f"/ipfs/{format_cid(EMPTY)}"


def test_a_document_without_end_is_shown_in_part() -> None:
    cid = identity(b"")
    page = pages.document_page(read_ask(f"/ipfs/{format_cid(cid)}/", {}), cid, {"<b>": ["<i>" * pages.TEXT_MAX] * (2 * pages.VALUES_MAX)})
    assert b"Only the first" in page
    assert Reader(page).tags <= ALLOWED
    assert len(page) < 16 << 20
