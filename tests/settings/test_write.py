"""Writing settings: a new file, one changed key, and the table of all keys."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from declared_settings import Settings, config
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.settings import load, render_reference, set_key, write_default
from retrieval.settings.declare import keys_of

LIMIT = "wallet.limits.per_fetch"


def read(path: Path) -> Settings:
    return load(Settings, path, {}, {})[0]


def test_a_new_file_shows_every_default_as_a_comment_and_sets_none() -> None:
    content = write_default(Settings, {})
    assert all(f"# {key.name} = " in content and f"# {key.sentence}\n" in content for key in keys_of(Settings))
    assert tomllib.loads(content) == {"serve": {}, "wallet": {"limits": {}}}


def test_the_comments_of_a_new_file_hold_the_defaults_when_they_are_uncommented(tmp_path: Path) -> None:
    lines = write_default(Settings, {}).splitlines()
    names = {key.name for key in keys_of(Settings)}
    uncommented = [line[2:] if line[2:].partition(" =")[0] in names and " = " in line else line for line in lines]
    path = config(tmp_path, "\n".join(uncommented))
    assert read(path) == Settings()
    assert "default" not in load(Settings, path, {}, {})[1].values()


def test_chosen_values_are_in_force_in_a_new_file(tmp_path: Path) -> None:
    content = write_default(Settings, {LIMIT: "0.05 USD", "serve.sessions_max": 3, "rpc": "http://x"})
    assert '\nper_fetch = "0.05 USD"\n' in content
    settings = read(config(tmp_path, content))
    assert (settings.wallet.limits.per_fetch, settings.serve.sessions_max, settings.rpc) == (50_000, 3, "http://x")


@pytest.mark.parametrize(
    ("dotted", "text"),
    [
        (LIMIT, "0.07 USD"),
        ("serve.listen", "/ip4/1.2.3.4/tcp/1"),
        ("serve.public", "on"),
        ("name", 'quo"te\\'),
        ("store_bytes_max", "1025"),
    ],
)
def test_setting_a_key_takes_the_place_of_its_commented_default_and_changes_no_other_line(tmp_path: Path, dotted: str, text: str) -> None:
    before = write_default(Settings, {})
    path = config(tmp_path, before)
    set_key(Settings, path, dotted, text)
    changed = [(old, new) for old, new in zip(before.splitlines(), path.read_text().splitlines(), strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].startswith(f"# {dotted.rpartition('.')[2]} = ")
    assert read(path) == load(Settings, None, {}, {dotted: text})[0]


def test_setting_a_key_again_keeps_the_comments_around_it(tmp_path: Path) -> None:
    path = config(tmp_path, '# mine\n[wallet.limits]   # why\nper_fetch = "1 USD"  # a lot\n\n# end\n')
    set_key(Settings, path, LIMIT, "2 USD")
    assert path.read_text() == '# mine\n[wallet.limits]   # why\nper_fetch = "2.00 USD"  # a lot\n\n# end\n'


@pytest.mark.parametrize(
    "content",
    [
        "",
        'name = "x"',
        "[serve]\n",
        '[wallet.limits]\ndaily = "3 USD"\n',
        '[wallet]\nlimits = { per_fetch = "1 USD" }\n',
        'wallet.limits.per_fetch = "1 USD"\n',
        '[wallet]\nlimits.per_fetch = "1 USD"\n',
        '["wallet"."limits"]\nper_fetch = "1 USD"\n',
    ],
)
def test_a_key_is_set_in_whichever_way_the_file_is_written(tmp_path: Path, content: str) -> None:
    path = config(tmp_path, content)
    before = read(path)
    set_key(Settings, path, LIMIT, "2 USD")
    after = read(path)
    assert after.wallet.limits.per_fetch == 2_000_000
    assert (after.name, after.serve, after.wallet.limits.daily) == (before.name, before.serve, before.wallet.limits.daily)


def test_a_file_that_cannot_be_changed_safely_is_left_as_it_is(tmp_path: Path) -> None:
    content = 'name = """a\n# timeout_s = 3\n"""\n'.replace("a\n# timeout_s = 3\n", "a\\\n# timeout_s = 3\\\n")
    path = config(tmp_path, content)
    with pytest.raises(LocalProtocolError) as caught:
        set_key(Settings, path, "timeout_s", "5")
    assert "edit it by hand" in caught.value.detail
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("dotted", "text", "said"),
    [
        (LIMIT, "much", "is not an amount"),
        ("wallet.limits.per_fech", "1 USD", "did you mean"),
        ("serve.sessions_max", "0", "from 1 to 1000"),
    ],
)
def test_a_key_or_value_that_does_not_fit_changes_nothing(tmp_path: Path, dotted: str, text: str, said: str) -> None:
    path = config(tmp_path, "timeout_s = 3\n")
    with pytest.raises(LocalProtocolError) as caught:
        set_key(Settings, path, dotted, text)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert said in caught.value.detail
    assert path.read_text() == "timeout_s = 3\n"


def test_a_file_that_was_broken_before_is_not_changed(tmp_path: Path) -> None:
    path = config(tmp_path, "typo = 3\n")
    with pytest.raises(LocalProtocolError, match="no key 'typo'"):
        set_key(Settings, path, LIMIT, "1 USD")
    assert path.read_text() == "typo = 3\n"


def test_a_changed_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = config(tmp_path / "elsewhere", "")
    target.chmod(0o640)
    link = tmp_path / "config.toml"
    link.symlink_to(target)
    set_key(Settings, link, "timeout_s", "5")
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert read(target).timeout_s == 5
    assert os.listdir(target.parent) == ["config.toml"]


@given(text=st.text(max_size=40).filter(str.isprintable))
def test_any_printable_text_survives_being_set(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = config(tmp_path_factory.getbasetemp(), write_default(Settings, {}))
    set_key(Settings, path, "name", text)
    set_key(Settings, path, "name", text)  # first a new assignment, then a replaced one
    assert read(path).name == text.strip()


@given(size_bytes=st.integers(min_value=0, max_value=2**60), price=st.integers(min_value=0, max_value=2**70))
def test_a_number_that_is_shown_reads_back_as_itself(tmp_path_factory: pytest.TempPathFactory, size_bytes: int, price: int) -> None:
    path = config(tmp_path_factory.getbasetemp(), "")
    path.write_text(write_default(Settings, {"store_bytes_max": size_bytes, "serve.price": f"{price // 10**6}.{price % 10**6:06} USD/GiB"}))
    settings = read(path)
    assert (settings.store_bytes_max, settings.serve.price) == (size_bytes, price)


def test_the_reference_has_one_row_for_each_key() -> None:
    rows = render_reference(Settings).splitlines()
    assert len(rows) == 2 + len(list(keys_of(Settings)))
    assert (
        '| `wallet.limits.per_fetch` | amount | `"0.00 USD"` | `RETRIEVAL_WALLET_LIMITS_PER_FETCH` | The most one `get` may spend. |'
        in rows
    )
    assert any("strangers \\| friends" in row for row in rows)


def test_no_two_settings_share_an_environment_variable() -> None:
    variables = [key.variable for key in keys_of(Settings)]
    assert len(set(variables)) == len(variables)
