"""Denylists: what a rule withholds, which of several has its way, and lists that change while they are in force."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import multibase
from retrieval.cid import BLAKE3, DAG_PB, RAW, Cid, cid_of, format_cid, parse_cid, parts
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.gateway import denylist
from retrieval.gateway.denylist import LOOKED_AT_S, Denylist, WatchedDenylist

BAD, OTHER = cid_of(DAG_PB, b"bad"), cid_of(DAG_PB, b"other")
TEXT = format_cid(BAD)
GONE, RESTRICTED = ErrorCode.CONTENT_GONE, ErrorCode.CONTENT_RESTRICTED


def listed(text: str) -> Denylist:
    return Denylist.read(io.BytesIO(text.encode()))


def refusal(rules: Denylist, root: Cid, path: str = "") -> ErrorCode | None:
    try:
        rules.require_allowed(root, tuple(filter(None, path.split("/"))))
    except LocalProtocolError as error:
        return error.code
    return None


def base58_multihash(cid: Cid) -> str:
    fields = parts(cid)
    return multibase.to_base58(bytes((fields.hash_code, len(fields.digest))) + fields.digest)


def hidden(name: str) -> str:
    """As lists hide a name today: the multihash of its text."""
    return multibase.to_base58(b"\x12\x20" + hashlib.sha256(name.encode()).digest())


def test_a_cid_is_withheld_whatever_its_codec_version_and_base() -> None:
    for spelled in (TEXT, format_cid(Cid(BAD[2:])), base58_multihash(BAD), "f" + BAD.hex()):
        rules = listed(f"/ipfs/{spelled}")
        assert refusal(rules, BAD) == refusal(rules, cid_of(RAW, b"bad")) == refusal(rules, Cid(BAD[2:])) == GONE
        assert refusal(rules, BAD, "below") == GONE, "who leads there leads through it"
        assert refusal(rules, OTHER) is None


def test_a_multihash_of_another_function_is_one_too() -> None:
    cid = Cid(b"\x01\x55" + bytes((BLAKE3, 32)) + bytes(32))
    assert refusal(listed(f"/ipfs/{base58_multihash(cid)}"), cid) == GONE


@pytest.mark.parametrize(
    ("rule", "withheld", "let_pass"),
    [
        ("/a/b", ["a/b"], ["", "a", "a/b/c", "a/bc"]),
        ("/a/b/", ["a/b"], ["a/b/c"]),
        ("/a/b*", ["a/b", "a/b/c", "a/bc"], ["a", "b"]),
        ("/a/*", ["a", "a/b"], ["b", ""]),
        ("/*", ["", "a", "a/b"], []),
        ("/a%20b", ["a b"], ["a", "a%20b"]),
    ],
)
def test_a_path_is_withheld_below_its_root(rule: str, withheld: list[str], let_pass: list[str]) -> None:
    rules = listed(f"/ipfs/{TEXT}{rule}")
    assert {path: refusal(rules, BAD, path) for path in withheld + let_pass} == dict.fromkeys(withheld, GONE) | dict.fromkeys(let_pass)
    assert refusal(rules, OTHER, "a/b") is None


def test_the_last_rule_that_fits_has_its_way() -> None:
    rules = listed(f"/ipfs/{TEXT}/blocked*\n!/ipfs/{TEXT}/blockednot\n!/ipfs/{TEXT}/blocked/not\n!/ipfs/{TEXT}/blocked/but*")
    assert [refusal(rules, BAD, path) for path in ("blocked", "blocked/x", "blockednot", "blocked/not", "blocked/but/x")] == [
        GONE,
        GONE,
        None,
        None,
        None,
    ]
    assert refusal(listed(f"!/ipfs/{TEXT}\n/ipfs/{TEXT}"), BAD) == GONE
    assert refusal(listed(f"/ipfs/{TEXT}\n!/ipfs/{TEXT}"), BAD) is None


def test_a_list_can_hide_what_it_withholds() -> None:
    version_1 = "b" + multibase.to_base32(BAD)
    old = hashlib.sha256(f"{version_1}/".encode()).hexdigest()
    old_path = hashlib.sha256(f"{version_1}/a/b".encode()).hexdigest()
    multihash = base58_multihash(BAD)
    for rule, path in ((hidden(multihash), ""), (hidden(f"{multihash}/a/b"), "a/b"), (old, ""), (old_path, "a/b"), (old.upper(), "")):
        rules = listed(f"//{rule}")
        assert rules.n_rules == 1
        assert refusal(rules, BAD, path) == GONE
        assert refusal(rules, BAD, "elsewhere") is None
        assert refusal(rules, OTHER, path) is None


def test_the_format_s_own_examples_are_understood() -> None:
    rules = listed("//QmX9dhRcQcKUw3Ws8485T5a9dtjrSCQaUAHnG4iK9i4ceM\n//d9d295bde21f422d471a90f2a37ec53049fdf3e5fa3ee2e8f20e10003da429e7")
    assert refusal(rules, parse_cid("QmVTF1yEejXd9iMgoRTFDxBv7HAz9kuZcQNBzHrceuK9HR")) == GONE
    assert refusal(rules, parse_cid("bafybeidjwik6im54nrpfg7osdvmx7zojl5oaxqel5cmsz46iuelwf5acja")) == GONE
    assert refusal(rules, parse_cid("bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e")) == GONE


@pytest.mark.parametrize("hint", ["gateway_status:451", "gateway_status=451", "reason:x gateway_status:451"])
def test_a_hint_says_that_the_law_forbids_it(hint: str) -> None:
    assert refusal(listed(f"/ipfs/{TEXT} {hint}"), BAD) == RESTRICTED


def test_a_header_gives_hints_for_all_and_a_line_has_the_last_word() -> None:
    header = 'version: 1\nname: "a: b"\nhints:\n  gateway_status: 451\n  other: x\nauthor: me\n---\n'
    rules = listed(f"{header}/ipfs/{TEXT}\n/ipfs/{format_cid(OTHER)} gateway_status:410")
    assert (refusal(rules, BAD), refusal(rules, OTHER)) == (RESTRICTED, GONE)


def test_a_version_that_is_not_known_is_refused() -> None:
    with pytest.raises(LocalProtocolError) as refused:
        listed("version: 2\n---\n/ipfs/x")
    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_what_cannot_be_read_is_passed_over_and_the_rest_counts(caplog: pytest.LogCaptureFixture) -> None:
    rules = listed(f"# a comment\n\nnonsense\n/ipfs/nonsense\n//!!\n/ipns/example.org\n/ipfs/{TEXT} hint\n/ipfs/{TEXT}\n")
    assert (rules.n_rules, refusal(rules, BAD)) == (1, GONE)
    assert [record.args for record in caplog.records] == [(3,), (4,), (5,), (7,)]


@given(st.binary(max_size=300))
def test_any_file_is_read_or_refused(content: bytes) -> None:
    with suppress(LocalProtocolError):
        assert refusal(Denylist.read(io.BytesIO(content)), BAD, "a") in (None, GONE, RESTRICTED)


def test_limits_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denylist, "RULES_MAX", 1)
    monkeypatch.setattr(denylist, "LINE_MAX", 128)
    for text in (f"/ipfs/{TEXT}\n" * 2, "#" * 200):
        with pytest.raises(LocalProtocolError) as refused:
            listed(text)
        assert refused.value.code is ErrorCode.CONFIG_INVALID


class Watched:
    """A list in a file, and the time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.deny"
        self.now = 0.0
        self.n_written = 0
        self.write(f"/ipfs/{TEXT}")
        self.rules = WatchedDenylist(self.path, clock=lambda: self.now)

    def write(self, text: str) -> None:
        self.n_written += 1
        self.path.write_text(text)
        os.utime(self.path, ns=(0, self.n_written))  # a clock of files may be too coarse to see two writes

    def later(self) -> Denylist:
        self.now += LOOKED_AT_S
        return self.rules.now()


def test_a_list_that_changes_counts_without_a_restart(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write(f"/ipfs/{format_cid(OTHER)}")
    assert refusal(watched.rules.now(), BAD) == GONE, "it is not looked at on every request"
    assert (refusal(watched.later(), BAD), refusal(watched.rules.now(), OTHER)) == (None, GONE)


@pytest.mark.parametrize("spoil", [lambda watched: watched.path.unlink(), lambda watched: watched.write("version: 9\n---\n")])
def test_a_list_that_cannot_be_read_leaves_the_one_before_in_force(tmp_path: Path, spoil: object, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(tmp_path)
    assert callable(spoil)
    spoil(watched)
    assert refusal(watched.later(), BAD) == GONE
    assert "stays in force" in caplog.text
    watched.write(f"/ipfs/{format_cid(OTHER)}")
    assert refusal(watched.later(), OTHER) == GONE


def test_a_list_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        WatchedDenylist(tmp_path / "none")
    assert refused.value.code is ErrorCode.FILE_UNREADABLE
