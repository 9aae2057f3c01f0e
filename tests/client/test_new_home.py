from __future__ import annotations

from pathlib import Path

import pytest
from chain_fixture import devchain  # noqa: F401 - a fixture
from retrieval_client.config import ClientSettings
from retrieval_client.new_home import MINTED, set_up

from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.home import Home
from retrieval.payment.evm import EvmChain
from retrieval.settings import load
from retrieval.store.lmdb import LmdbStateStorage


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "client", "retrieval-client")


def test_a_wallet_on_the_development_chain_gets_money_and_a_visible_limit(home: Home, devchain: str) -> None:  # noqa: F811
    made = set_up(home, devchain)
    chain = EvmChain(devchain)
    assert chain.token_balance(made.address) == MINTED == made.minted
    assert chain.native_balance(made.address) > 0
    assert made.gas_from == chain.giver()
    settings, origins = load(ClientSettings, home.config_path, {}, {})
    assert settings.wallet.per_fetch == 50_000
    assert origins["wallet.per_fetch"].startswith(str(home.config_path))
    assert 'per_fetch = "0.05 USD"' in home.config_path.read_text()


def test_without_a_chain_every_limit_is_zero(home: Home) -> None:
    made = set_up(home, "")
    assert (made.chain_id, made.minted, made.gas_from, made.per_fetch) == (None, 0, None, 0)


def test_an_init_that_was_cut_off_keeps_its_keys_and_gives_no_money_twice(home: Home, devchain: str) -> None:  # noqa: F811
    first = set_up(home, devchain)
    home.config_path.unlink()
    second = set_up(home, devchain)
    assert (second.peer_id, second.address) == (first.peer_id, first.address)
    assert EvmChain(devchain).token_balance(first.address) == MINTED


def test_a_chain_that_does_not_answer_leaves_a_home_that_can_be_set_up_again(home: Home) -> None:
    with pytest.raises(RetrievalError) as refused:
        set_up(home, "http://127.0.0.1:9")
    assert refused.value.code is ErrorCode.RPC_UNAVAILABLE
    set_up(home, "")


@pytest.mark.parametrize("rpc", ["127.0.0.1:8545", "ws://127.0.0.1:8545"])
def test_an_rpc_that_is_none_is_refused_before_anything_is_made(home: Home, rpc: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        set_up(home, rpc)
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert not home.path.exists()


def test_a_home_is_set_up_once(home: Home) -> None:
    set_up(home, "")
    with pytest.raises(LocalProtocolError) as refused:
        set_up(home, "")
    assert refused.value.code is ErrorCode.ALREADY_INITIALISED


def test_a_fresh_home_can_be_read(home: Home) -> None:
    set_up(home, "")
    LmdbStateStorage.open_readonly(home.state_path).close()
