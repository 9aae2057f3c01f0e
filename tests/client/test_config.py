"""What the handbook says of the settings is what the program reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from retrieval_client.config import ClientSettings

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.settings import load, render_reference, write_default

CLIENT = Path(__file__).resolve().parents[2] / "client"


def test_the_example_shows_every_default() -> None:
    assert (CLIENT / "config.example.toml").read_text() == write_default(ClientSettings, {})
    assert load(ClientSettings, CLIENT / "config.example.toml", {}, {})[0] == ClientSettings()


def test_the_handbook_holds_the_table_of_settings() -> None:
    assert render_reference(ClientSettings) in (CLIENT / "README.md").read_text()


def test_nothing_may_be_spent_unless_somebody_says_so() -> None:
    wallet = ClientSettings().wallet
    assert (wallet.per_fetch, wallet.auto_open_max) == (0, 0)


def test_a_mistyped_limit_is_refused_with_the_key_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[wallet]\nper_fetsh = "1 USD"\n')
    with pytest.raises(LocalProtocolError) as refused:
        load(ClientSettings, tmp_path / "config.toml", {}, {})
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert "per_fetch" in refused.value.detail
