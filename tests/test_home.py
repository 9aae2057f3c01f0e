"""Homes on a real disk: what is made, with which rights, and what is refused."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import (
    SECRET_BYTES,
    Home,
    Secret,
    create_file,
    ensure_secret,
    file_error,
    read_secret,
    replace_file,
    write_secret,
)

KEY = bytes(range(SECRET_BYTES))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(call: object, *arguments: object) -> LocalProtocolError:
    assert callable(call)
    with pytest.raises(LocalProtocolError) as caught:
        call(*arguments)
    return caught.value


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "a home", "retrieval-client")


def test_the_flag_beats_the_environment_and_the_environment_beats_the_default(tmp_path: Path) -> None:
    environ = {"RETRIEVAL_HOME": str(tmp_path / "variable")}
    assert Home.locate("retrieval-client", tmp_path / "flag", environ).path == tmp_path / "flag"
    assert Home.locate("retrieval-client", None, environ).path == tmp_path / "variable"
    assert Home.locate("retrieval-client", None, {"RETRIEVAL_HOME": ""}).path.name == "retrieval-client"


def test_the_two_programs_have_different_default_homes() -> None:
    assert Home.locate("retrieval-client", None, {}).path != Home.locate("retrieval-provider", None, {}).path


def test_a_relative_home_is_made_absolute_and_a_tilde_is_expanded() -> None:
    assert Home.locate("p", "here", {}).path == Path.cwd() / "here"
    assert Home.locate("p", "~/here", {}).path == Path.home() / "here"


def test_create_makes_directories_only_their_owner_may_enter(home: Home) -> None:
    home.create()
    assert {mode_of(path) for path in (home.path, home.state_path, home.blocks_path)} == {0o700}


def test_create_can_be_repeated_until_the_configuration_is_written(home: Home) -> None:
    home.create()
    home.create()
    create_file(home.config_path, b"", mode=0o600)
    assert home.require() is home
    assert refusal(home.create).code is ErrorCode.ALREADY_INITIALISED


def test_a_home_that_was_never_made_names_the_command_that_makes_it(home: Home) -> None:
    error = refusal(home.require)
    assert error.code is ErrorCode.NOT_INITIALISED
    assert f"`retrieval-client init --home '{home.path}'`" in error.detail


def test_the_default_home_needs_no_flag_in_that_command() -> None:
    assert Home.locate("retrieval-provider", None, {}).command("init") == "retrieval-provider init"


@pytest.mark.parametrize("name", ["", "state", "blocks"])
def test_a_file_where_a_directory_should_be_is_named(home: Home, name: str) -> None:
    if name:
        home.path.mkdir()
    (home.path / name).write_bytes(b"")
    error = refusal(home.create)
    assert error.code is ErrorCode.FILE_UNREADABLE
    assert str(home.path / name) in error.detail


def test_a_home_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    below = Home(tmp_path / "file" / "home", "retrieval-client")
    assert refusal(below.create).code is ErrorCode.FILE_UNREADABLE
    assert refusal(below.require).code is ErrorCode.FILE_UNREADABLE


def test_a_name_the_file_system_refuses_is_an_error_of_the_registry(tmp_path: Path) -> None:
    too_long = Home(tmp_path / ("n" * 300), "retrieval-client")
    assert refusal(too_long.create).code is ErrorCode.FILE_UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_we_may_not_write_is_an_error_of_the_registry(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert refusal(Home(tmp_path / "home", "p").create).code is ErrorCode.FILE_UNREADABLE
    assert refusal(write_secret, tmp_path / "k", Secret(KEY)).code is ErrorCode.FILE_UNREADABLE


def test_a_secret_comes_back_from_a_file_only_its_owner_can_open(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    write_secret(path, Secret(KEY))
    assert read_secret(path).reveal() == KEY
    assert mode_of(path) == 0o600
    assert path.read_text() == KEY.hex() + "\n"
    assert os.listdir(tmp_path) == ["identity.key"]


def test_a_secret_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    write_secret(path, Secret(KEY))
    assert refusal(write_secret, path, Secret(bytes(32))).code is ErrorCode.ALREADY_INITIALISED
    assert read_secret(path).reveal() == KEY
    assert os.listdir(tmp_path) == ["identity.key"]


def test_ensure_secret_keeps_what_is_there_and_makes_what_is_not(tmp_path: Path) -> None:
    path = tmp_path / "wallet.key"
    assert ensure_secret(path, lambda: KEY).reveal() == KEY
    assert ensure_secret(path, lambda: bytes(32)).reveal() == KEY


def test_a_secret_shows_nothing_when_printed() -> None:
    secret = Secret(KEY)
    assert f"{secret} {secret!r} {[secret]}" == "Secret(hidden) Secret(hidden) [Secret(hidden)]"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660, 0o777])
def test_a_secret_that_others_can_open_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "my key"
    write_secret(path, Secret(KEY))
    path.chmod(mode)
    error = refusal(read_secret, path)
    assert error.code is ErrorCode.SECRET_EXPOSED
    assert error.detail == f"run `chmod 600 '{path}'`"
    path.chmod(0o600)
    assert read_secret(path).reveal() == KEY


def test_a_key_pasted_as_wallets_show_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wallet.key"
    create_file(path, b"  0x" + KEY.hex().upper().encode() + b"\r\n", mode=0o600)
    assert read_secret(path).reveal() == KEY


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"0x",
        KEY.hex()[:-2].encode(),
        KEY.hex().encode() + b"00",
        KEY.hex()[:-1].encode() + b"g",
        b"\xff" * 64,
        " ".join(f"{byte:02x}" for byte in KEY).encode(),
        KEY.hex().encode() + b"\n" * 300 + b"00",
    ],
    ids=["empty", "only 0x", "short", "long", "not hex", "not text", "spaced", "too large"],
)
def test_a_secret_of_another_shape_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    create_file(path, content, mode=0o600)
    error = refusal(read_secret, path)
    assert error.code is ErrorCode.CONFIG_INVALID
    assert KEY.hex()[:8] not in repr(error)
    assert error.__cause__ is None


@given(content=st.binary(max_size=300))
def test_no_content_of_a_key_file_raises_anything_but_the_registry(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "generated.key"
    replace_file(path, content, mode=0o600)
    assert refusal(read_secret, path).code is ErrorCode.CONFIG_INVALID  # 32 hex-coded bytes do not come up by chance


def test_a_missing_secret_and_one_that_is_no_file_are_named(tmp_path: Path) -> None:
    assert str(tmp_path / "absent") in refusal(read_secret, tmp_path / "absent").detail
    assert refusal(read_secret, tmp_path).code is ErrorCode.FILE_UNREADABLE
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refusal(read_secret, tmp_path / "pipe").code is ErrorCode.FILE_UNREADABLE


def test_replace_file_leaves_the_new_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    replace_file(path, b"old", mode=0o600)
    replace_file(path, b"new", mode=0o644)
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o644
    assert os.listdir(tmp_path) == ["config.toml"]


def test_a_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").write_bytes(b"")
    assert refusal(lambda: replace_file(tmp_path / "taken", b"", mode=0o600)).code is ErrorCode.FILE_UNREADABLE
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.DISK_FULL),
        (errno.EDQUOT, ErrorCode.DISK_FULL),
        (errno.EEXIST, ErrorCode.ALREADY_INITIALISED),
        (errno.EACCES, ErrorCode.FILE_UNREADABLE),
        (errno.EIO, ErrorCode.FILE_UNREADABLE),
    ],
)
def test_what_the_system_says_becomes_the_registrys_error(number: int, code: ErrorCode) -> None:
    assert file_error(OSError(number, os.strerror(number)), Path("somewhere")).code is code
