"""What the gateway spends: within every budget, whatever is asked, and remembered across its own death."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from counter_gateway import DOLLAR, Running, funded, open_counter
from shop import PRICE_PER_GIB, Shop

from retrieval.cid import format_cid
from retrieval.deal import allowance, fold
from retrieval.deal.audit import check
from retrieval.deal.records import HoldRecord, LineRecord, record
from retrieval.home import Home
from retrieval.payment.rate import Rate
from retrieval.store.blocks import Root
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import MIB, format_amount

PRICE = Rate(price_per_gib=PRICE_PER_GIB)
EACH = 2 * MIB


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@contextmanager
def counter_of(shop: Shop, **values: object) -> Iterator[tuple[Running, Home]]:
    with shop.serving() as node:
        home = shop.client(**{"gateway__providers": [node.addresses[0]], **values})
        funded(home, node)
        with open_counter(home) as counter:
            yield counter, home
            counter.until_idle()


def files(shop: Shop, n: int) -> list[Root]:
    """That all cost the same."""
    roots = []
    for number in range(n):
        (shop.folder / f"{number}.bin").write_bytes(os.urandom(EACH))
        roots.append(shop.add(shop.folder / f"{number}.bin"))
    return roots


def usd(amount: int) -> str:
    return format_amount(amount, decimals=6)


def budgets(counter: Running, token: str) -> dict[str, str]:
    left: dict[str, str] = counter.json("/v1/budget", token=token)["left"]
    return left


def get(counter: Running, root: Root, token: str, **headers: str) -> int:
    status = counter.get(f"/ipfs/{format_cid(root.cid)}", token=token, **headers).status
    counter.until_idle()
    return status


def test_a_token_is_spent_to_its_cap_and_no_further(shop: Shop) -> None:
    roots = files(shop, 3)
    cost = PRICE.owed(roots[0].n_bytes)
    with counter_of(shop) as (counter, _):
        token = counter.new_token(cap=2 * cost + cost // 2)
        assert [get(counter, root, token) for root in roots] == [200, 200, 402]
        assert budgets(counter, token)["token"] == str(cost // 2)
        refused = counter.get(f"/ipfs/{format_cid(roots[2].cid)}", token=token)
        assert refused.code == (402, "over_budget")
        assert "by this token" in refused.problem["detail"]
        assert get(counter, roots[2], counter.new_token()) == 200
        assert get(counter, roots[2], token) == 200, "it is here now"


def test_a_day_is_shared_by_all_tokens(shop: Shop) -> None:
    roots = files(shop, 2)
    cost = PRICE.owed(roots[0].n_bytes)
    with counter_of(shop, gateway__per_day=usd(cost + cost // 2)) as (counter, _):
        assert get(counter, roots[0], counter.new_token()) == 200
        assert get(counter, roots[1], counter.new_token()) == 402


def test_a_web_page_has_a_budget_of_its_own(shop: Shop) -> None:
    roots = files(shop, 3)
    cost = PRICE.owed(roots[0].n_bytes)
    with counter_of(shop, gateway__per_origin=usd(cost + cost // 2)) as (counter, _):
        token = counter.new_token()
        assert get(counter, roots[0], token, Origin="https://a.example") == 200
        assert get(counter, roots[1], token, Origin="https://a.example") == 402
        assert get(counter, roots[1], token, Origin="https://b.example") == 200
        assert get(counter, roots[2], token) == 200


def test_a_request_costs_no_more_than_it_says(shop: Shop) -> None:
    (root,) = files(shop, 1)
    cost = PRICE.owed(root.n_bytes)
    with counter_of(shop) as (counter, home):
        token = counter.new_token()
        refused = counter.get(f"/ipfs/{format_cid(root.cid)}", token=token, Retrieval_Max_Spend=str(cost - 1))
        assert refused.code == (402, "over_budget")
        small = counter.new_token(per_request=cost - 1)
        assert get(counter, root, small, Retrieval_Max_Spend=str(10 * cost)) == 402
        assert budgets(counter, token)["token"] == str(DOLLAR), "nothing was spent, and nothing is held"
        assert get(counter, root, token, Retrieval_Max_Spend=str(cost)) == 200
    assert spent(home) == cost


def test_requests_at_once_cannot_spend_more_together(shop: Shop) -> None:
    roots = files(shop, 8)
    cost = PRICE.owed(roots[0].n_bytes)
    with counter_of(shop) as (counter, home):
        token = counter.new_token(cap=3 * cost)
        with ThreadPoolExecutor(8) as asking:
            statuses = list(asking.map(lambda root: counter.get(f"/ipfs/{format_cid(root.cid)}", token=token).status, roots))
        counter.until_idle()
        assert statuses.count(200) == 3
        assert set(statuses) == {200, 402}
    assert spent(home) == 3 * cost


def test_who_may_spend_is_not_held_up_by_who_may_not(shop: Shop) -> None:
    """Both want the same; the errand of the one without a token fails for the price, and is not the other's answer."""
    (root,) = files(shop, 1)
    with counter_of(shop) as (counter, home):
        token, target = counter.new_token(), f"/ipfs/{format_cid(root.cid)}"
        with ThreadPoolExecutor(16) as asking:
            replies = list(asking.map(lambda n: counter.get(target, token=token if n % 2 else ""), range(16)))
        assert {reply.status for reply in replies[1::2]} == {200}
        assert {reply.status for reply in replies[::2]} <= {200, 402}
    assert spent(home) == PRICE.owed(root.n_bytes)


def test_a_restart_forgets_nothing(shop: Shop) -> None:
    roots = files(shop, 2)
    cost = PRICE.owed(roots[0].n_bytes)
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            token = counter.new_token(cap=cost + cost // 2)
            assert get(counter, roots[0], token) == 200
            before = budgets(counter, token)
        with open_counter(home) as counter:
            assert budgets(counter, token) == before
            assert get(counter, roots[1], token) == 402


def test_what_a_dead_gateway_held_becomes_what_its_deals_cost(shop: Shop) -> None:
    (root,) = files(shop, 1)
    cost = PRICE.owed(root.n_bytes)
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            token = counter.new_token(cap=2 * cost)
            assert get(counter, root, token) == 200
            with_hold_again(counter, held=2 * cost)
            assert allowance_of(counter, token)["held"] == str(2 * cost)
        with open_counter(home) as counter:
            row = allowance_of(counter, token)
            assert (row["held"], int(row["spent"])) == ("0", 2 * cost)


def with_hold_again(counter: Running, *, held: int) -> None:
    """Write what a gateway writes before it signs, and nothing after it: it died there. Its deal is the one that is in the journal."""
    state, journal = counter.gateway.wallet.state, counter.gateway.wallet.journal
    ((deal_id, deal),) = counter.deals()
    spending = next(key for key, kept in counter.tokens() if kept.cap)
    hold = HoldRecord(
        token=spending,
        origin="",
        day=deal.opened_ms // 86_400_000,
        held=held,
        spent=0,
        selection_digest=deal.selection.digest,
        before=0,
        opened_ms=deal.opened_ms,
    )
    assert fold.get(state, HoldRecord, bytes(16)) is None
    assert deal_id
    trio.from_thread.run_sync(journal.append, [record(bytes(16), hold)], deal.opened_ms, trio_token=counter.token)


def allowance_of(counter: Running, token: str) -> dict[str, str]:
    spending = next(key for key, kept in counter.tokens() if kept.cap)
    used = allowance.used(counter.gateway.wallet.state, allowance.token_key(spending))
    return {"spent": str(used.spent), "held": str(used.held), "token": token}


def spent(home: Home) -> int:
    """By vouchers; the journal has checked, and nothing is held any more."""
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        check(state)
        assert not list(fold.scan(state, HoldRecord))
        return sum(line.best.amount for _, line in fold.scan(state, LineRecord) if line.best is not None)
