from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import parse_cid
from retrieval.dag.byterange import ByteRange
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.gateway.ask import ADDRESS_MAX, FILENAME_MAX, Ask, read_ask
from retrieval.wire.messages import PATH_SEGMENTS_MAX, Scope

ROOT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def ask(rest: str = "", **headers: str) -> Ask:
    return read_ask(f"/ipfs/{ROOT}{rest}", {name.replace("_", "-"): value for name, value in headers.items()})


def code_of(target: str) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as refused:
        read_ask(target, {})
    return refused.value.code


@pytest.mark.parametrize(
    ("rest", "path", "url_path"),
    [
        ("", (), ""),
        ("/", (), "/"),
        ("/a/b.txt", ("a", "b.txt"), "/a/b.txt"),
        ("//a///b/", ("a", "b"), "/a/b/"),
        ("/%C4%85/%c4%99", ("ą", "ę"), "/%C4%85/%C4%99"),
        ("/100%25%2C%20ja", ("100%, ja",), "/100%25,%20ja"),
        ("/%FF", ("\udcff",), "/%FF"),
        ("/a?b/c", ("a",), "/a"),
        ("/q%3F%23", ("q?#",), "/q%3F%23"),
    ],
)
def test_a_path_is_read_once_and_written_in_one_way(rest: str, path: tuple[str, ...], url_path: str) -> None:
    found = ask(rest)
    assert (found.root, found.path, found.url_path) == (parse_cid(ROOT), path, f"/ipfs/{ROOT}{url_path}")
    assert found.names_folder == url_path.endswith("/")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (f"/ipfs/{ROOT}/..", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/a/%2e%2E/b", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/./a", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/a%2Fb", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/a%00", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/%zz", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/%", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}/{'a' * 256}", ErrorCode.INVALID_PATH),
        (f"/ipfs/{ROOT}{'/a' * (PATH_SEGMENTS_MAX + 1)}", ErrorCode.INVALID_PATH),
        ("/ipfs/", ErrorCode.INVALID_CID),
        ("/ipfs/hello", ErrorCode.INVALID_CID),
        (f"/ipfs/ipfs:%2F%2F{ROOT}", ErrorCode.INVALID_CID),
        (f"/ipfs/%20{ROOT}", ErrorCode.INVALID_CID),
        (f"/ipfs/{ROOT}%00", ErrorCode.INVALID_CID),
        (f"http://elsewhere/ipfs/{ROOT}", ErrorCode.UNKNOWN_ROUTE),
        (f"/ipfs/{ROOT}/{'a/' * ADDRESS_MAX}", ErrorCode.ADDRESS_TOO_LONG),
        (f"/ipfs/{ROOT}?dag-scope=some", ErrorCode.MALFORMED_REQUEST),
        (f"/ipfs/{ROOT}?dag-scope=all&entity-bytes=0:1", ErrorCode.MALFORMED_REQUEST),
        (f"/ipfs/{ROOT}?format=raw&format=car", ErrorCode.MALFORMED_REQUEST),
        (f"/ipfs/{ROOT}?{'a=b&' * 40}", ErrorCode.MALFORMED_REQUEST),
        (f"/ipfs/{ROOT}?filename=%ff", ErrorCode.MALFORMED_REQUEST),
        (f"/ipfs/{ROOT}?entity-bytes=abc", ErrorCode.INVALID_RANGE),
        (f"/ipfs/{ROOT}?entity-bytes=5:2", ErrorCode.INVALID_RANGE),
        (f"/ipfs/{ROOT}?format=tar", ErrorCode.UNSUPPORTED_FORMAT),
    ],
)
def test_what_is_not_one_clear_question_is_refused(target: str, code: ErrorCode) -> None:
    assert code_of(target) is code


def test_a_part_of_a_file_is_a_part_of_an_entity() -> None:
    for rest in ("?format=car&entity-bytes=0:*", "?dag-scope=entity&entity-bytes=0:*"):
        assert (ask(rest).scope, ask(rest).byte_range) == (Scope.ENTITY, ByteRange())
    assert (ask().scope, ask().byte_range) == (Scope.ALL, None)
    assert ask("?dag-scope=block").scope is Scope.BLOCK


def test_headers_and_what_a_download_is_called_are_kept() -> None:
    found = ask(
        "?filename=a%2Fb%0D%0Ac.txt&download=true&who=me", cache_control="max-age=0, Only-If-Cached", if_none_match='"x"', range="r"
    )
    assert (found.filename, found.download, found.only_if_held) == ("bc.txt", True, True)
    assert (found.if_none_match, found.range, found.if_range) == ('"x"', "r", "")
    assert len(ask(f"?filename={'a' * 999}").filename or "") == FILENAME_MAX
    assert ask("?filename=").filename is None


@given(names=st.lists(st.binary(min_size=1, max_size=12), max_size=5), junk=st.text(max_size=60))
def test_any_address_is_read_or_refused(names: list[bytes], junk: str) -> None:
    for target in (f"/ipfs/{ROOT}/{'/'.join(map(quote, names))}", f"/ipfs/{ROOT}/{junk}", f"/ipfs/{junk}", junk):
        try:
            found = read_ask(target, {"accept": junk, "range": junk})
        except RemoteProtocolError:
            continue
        assert read_ask(found.url_path, {}).path == found.path
        assert found.url_path.isascii()
        for name in found.path:
            assert name not in (".", "..")
            assert "/" not in name
