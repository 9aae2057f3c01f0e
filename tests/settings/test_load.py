"""Reading settings: which source wins, and how each mistake is told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from declared_settings import Level, Settings, config
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.settings import CONFIG_BYTES_MAX, load


def refusal(path: Path | None, environ: dict[str, str] | None = None, overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(LocalProtocolError) as caught:
        load(Settings, path, environ or {}, overrides or {})
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    return caught.value.detail


def test_without_any_source_the_defaults_hold() -> None:
    settings, origins = load(Settings, None, {}, {})
    assert settings == Settings()
    assert settings.serve.price == 10_000
    assert settings.store_bytes_max == 10 << 30
    assert set(origins.values()) == {"default"}


def test_every_kind_is_read_from_the_file(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        """
        rpc = "https://rpc.example:8545/v1"
        name = "büro"
        store_bytes_max = "1 GiB"
        timeout_s = "15 min"
        [serve]
        listen = ["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"]
        price = "0.02 USD/GiB"
        sessions_max = 7
        public = true
        level = "high"
        [wallet.limits]
        per_fetch = "0.05 USD"
        """,
    )
    settings, _ = load(Settings, path, {}, {})
    assert settings.rpc == "https://rpc.example:8545/v1"
    assert settings.name == "büro"
    assert settings.store_bytes_max == 1 << 30
    assert settings.timeout_s == 900
    assert settings.serve.listen == ("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001")
    assert settings.serve.price == 20_000
    assert settings.serve.sessions_max == 7
    assert settings.serve.public is True
    assert settings.serve.level is Level.HIGH
    assert settings.wallet.limits.per_fetch == 50_000
    assert settings.wallet.limits.daily == 1_000_000


def test_every_kind_is_read_from_the_environment() -> None:
    settings, _ = load(
        Settings,
        None,
        {
            "RETRIEVAL_RPC": "http://[::1]:8545",
            "RETRIEVAL_STORE_BYTES_MAX": "512",
            "RETRIEVAL_TIMEOUT_S": " 1 day ",
            "RETRIEVAL_SERVE_LISTEN": "/ip4/1.2.3.4/tcp/1, /ip4/1.2.3.4/tcp/2",
            "RETRIEVAL_SERVE_PRICE": "1 USD/GiB",
            "RETRIEVAL_SERVE_SESSIONS_MAX": "9",
            "RETRIEVAL_SERVE_PUBLIC": "Yes",
            "RETRIEVAL_SERVE_LEVEL": "high",
            "RETRIEVAL_WALLET_LIMITS_PER_FETCH": "0.5",
        },
        {},
    )
    assert settings.rpc == "http://[::1]:8545"
    assert settings.store_bytes_max == 512
    assert settings.timeout_s == 86_400
    assert settings.serve.listen == ("/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/2")
    assert settings.serve.price == 1_000_000
    assert settings.serve.sessions_max == 9
    assert settings.serve.public is True
    assert settings.serve.level is Level.HIGH
    assert settings.wallet.limits.per_fetch == 500_000


def test_a_flag_beats_the_environment_which_beats_the_file_and_each_is_named_as_the_origin(tmp_path: Path) -> None:
    path = config(tmp_path, '# first line\ntimeout_s = 1\nname = "file"\nrpc = "http://file"\n')
    environ = {"RETRIEVAL_TIMEOUT_S": "2", "RETRIEVAL_NAME": "environment"}
    settings, origins = load(Settings, path, environ, {"timeout_s": "3", "rpc": None})
    assert (settings.timeout_s, settings.name, settings.rpc) == (3, "environment", "http://file")
    assert origins["timeout_s"] == "flag"
    assert origins["name"] == "environment RETRIEVAL_NAME"
    assert origins["rpc"] == f"{path}:4"
    assert origins["serve.price"] == "default"


def test_a_flag_may_be_text_or_a_value_already() -> None:
    settings, _ = load(Settings, None, {}, {"timeout_s": 5, "serve.listen": ("/dns4/a/tcp/1",), "serve.sessions_max": "6"})
    assert (settings.timeout_s, settings.serve.listen, settings.serve.sessions_max) == (5, ("/dns4/a/tcp/1",), 6)


@pytest.mark.parametrize(
    ("content", "where", "nearest"),
    [
        ('[wallet.limits]\n# the limit\nper_fech = "1 USD"', "config.toml line 3", "'wallet.limits.per_fetch'"),
        ("[walet]", "config.toml line 1", "'wallet'"),
        ("\n[wallet]\nlimit.daily = 1", "line 3", "'wallet.limits'"),
        ("[serve]\ntimeout_s = 3", "line 2", "'timeout_s'"),
        ("time_out_s = 3", "line 1", "'timeout_s'"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one(tmp_path: Path, content: str, where: str, nearest: str) -> None:
    detail = refusal(config(tmp_path, content))
    assert where in detail
    assert f"did you mean {nearest}?" in detail


def test_an_unknown_key_like_no_other_is_answered_with_those_beside_it(tmp_path: Path) -> None:
    assert "known are wallet.limits.per_fetch, wallet.limits.daily" in refusal(config(tmp_path, "[wallet.limits]\nzzz = 1"))


def test_a_mistyped_variable_of_a_known_section_is_refused() -> None:
    assert "did you mean RETRIEVAL_WALLET_AUTO_OPEN_MAX?" in refusal(None, {"RETRIEVAL_WALLET_AUTO_OPEN": "1"})


def test_variables_of_other_programs_and_other_uses_are_left_alone() -> None:
    environ = {"RETRIEVAL_NATIVE": "off", "RETRIEVAL_HOME": "/x", "RETRIEVAL_CHANNEL_CLOSE": "1", "SERVE_PRICE": "x"}
    assert load(Settings, None, environ, {})[0] == Settings()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[wallet]\nauto_open_max = 5", 'expected an amount in quotes, such as "0.05 USD"; found a whole number'),
        ("[wallet]\nauto_open_max = 0.05", "found a number with a point"),
        ('[wallet]\nauto_open_max = "5 EUR"', "'5 EUR' is not an amount such as '0.05 USD'"),
        ('[wallet]\nauto_open_max = "0.0000001 USD"', "finer than the token's 6 decimals"),
        ("[wallet]\nauto_open_max = [1]", "found a list"),
        ("[wallet]\nauto_open_max = 2026-01-01", "found a date or time"),
        ('[serve]\nprice = "1 USD/mile"', "the unit after '/'"),
        ('[serve]\nlisten = "/ip4/1.2.3.4/tcp/1"', 'such as ["/ip4/127.0.0.1/tcp/4001"]; found text'),
        ('[serve]\nlisten = ["127.0.0.1:80"]', "not a multiaddr"),
        ('[serve]\nlisten = ["/a b"]', "not a multiaddr"),
        ("[serve]\nlisten = [1]", "not a multiaddr"),
        ("[serve]\nlisten = [" + '"/a",' * 17 + "]", "found more than 16"),
        ("[serve]\nsessions_max = 0", "expected a whole number from 1 to 1000; found 0"),
        ("[serve]\nsessions_max = " + "9" * 100, "found a far larger one"),
        ("[serve]\nsessions_max = true", "found true or false"),
        ('[serve]\npublic = "yes"', "expected true or false; found text"),
        ('[serve]\nlevel = "medium"', 'expected one of "low", "high"'),
        ('rpc = "ftp://x"', "expected an http or https address"),
        ('rpc = "http://"', "expected an http or https address"),
        ('rpc = "http://x:99999"', "expected an http or https address"),
        ('rpc = "http://[x"', "expected an http or https address"),
        ('docs = ""', "expected an http or https address"),
        ('name = "a\\nb"', "cannot be printed"),
        (f'name = "{"x" * 513}"', "more than 512 characters"),
        ("timeout_s = 1.5", "found a number with a point"),
        ("timeout_s = -1", "expected whole seconds"),
        ('timeout_s = "400 days"', "more than a year"),
        ("timeout_s = false", "found true or false"),
        ("store_bytes_max = -1", "expected a size"),
        ("store_bytes_max = true", "found true or false"),
        ("serve = 3", "serve is a section, written [serve]"),
        ("[timeout_s]\na = 1", "found a section"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_was_expected(tmp_path: Path, line: str, expected: str) -> None:
    assert expected in refusal(config(tmp_path, line))


def test_an_rpc_address_that_does_not_fit_is_not_shown() -> None:
    assert "hunter2" not in refusal(None, {"RETRIEVAL_RPC": "htp://user:hunter2@rpc.example"})


@pytest.mark.parametrize("text", ["maybe", "", "tru"])
def test_a_switch_in_the_environment_is_one_of_the_usual_words(text: str) -> None:
    assert "expected true or false" in refusal(None, {"RETRIEVAL_SERVE_PUBLIC": text})


@pytest.mark.parametrize("text", ["", "1.0", "ten", "1" * 5_000, "１"])
def test_an_integer_in_the_environment_is_ascii_digits(text: str) -> None:
    assert "environment variable RETRIEVAL_SERVE_SESSIONS_MAX" in refusal(None, {"RETRIEVAL_SERVE_SESSIONS_MAX": text})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = \n", "line 1"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"name = \xff", "not UTF-8 text (byte 7)"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
        (b"a = " + b"[" * 20_000, "is not TOML"),
        (b"#" * (CONFIG_BYTES_MAX + 1), "larger than 65536 bytes"),
    ],
    ids=["no value", "twice", "not text", "huge number", "deep", "too large"],
)
def test_a_file_that_is_not_toml_is_refused_with_its_place(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_a_missing_file_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        load(Settings, tmp_path / "config.toml", {}, {})
    assert caught.value.code is ErrorCode.FILE_UNREADABLE


@given(content=st.binary(max_size=200) | st.text(alphabet='[]={}"\n.# abserv127-', max_size=80).map(str.encode))
def test_no_file_raises_anything_but_the_registry(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "generated.toml"
    path.write_bytes(content)
    with contextlib.suppress(LocalProtocolError):
        load(Settings, path, {}, {})


@given(value=st.text(max_size=80))
def test_no_variable_raises_anything_but_the_registry(value: str) -> None:
    for variable in ("RPC", "NAME", "STORE_BYTES_MAX", "TIMEOUT_S", "SERVE_LISTEN", "SERVE_PRICE", "SERVE_SESSIONS_MAX", "SERVE_LEVEL"):
        with contextlib.suppress(LocalProtocolError):
            load(Settings, None, {f"RETRIEVAL_{variable}": value}, {})
