"""A page's channel against servers that cheat: nothing leaves that is not kept, and nobody can make it count more than it signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from dapp_worker import run_node

CHEATS: Final = Path(__file__).parent / "cheats.mjs"


def found(program: str) -> Any:
    """What a program says that has everything of ``cheats.mjs``."""
    names = "Channel, PAYER, RESYNC, TOKEN, UNFUNDED, charge, codeOf, entry, offer, puts, required, say, seen, serve, spender, state"
    return run_node(f"const {{ {names} }} = await import('{CHEATS}')\n{program}", None)


def test_a_voucher_is_for_what_was_charged_and_the_price_and_no_more() -> None:
    program = """
    const channel = Channel.open(PAYER, offer)
    const first = await channel.sign(100n)
    channel.answered(100n, 60n, null)
    const exposed = channel.exposure(100n)
    const second = await channel.sign(100n)
    say([first.maxClaimableAmount, exposed, second.maxClaimableAmount, channel.signed, new Channel(channel.toKept()).id === channel.id])
    """
    assert found(program) == ["100", "60", "160", "160", True]


def test_a_server_that_shows_our_own_voucher_puts_a_count_right_and_no_other_does() -> None:
    program = """
    const channel = Channel.open(PAYER, offer)
    const signature = Uint8Array.from(Buffer.from((await channel.sign(100n)).signature.slice(2), 'hex'))
    channel.answered(100n, 100n, null)
    const bent = signature.with(5, signature[5] ^ 1)
    const sight = (charged, best) => ({ channelId: channel.id, balance: 1000n, charged, best })
    const ofAnother = { ...sight(0n, null), channelId: '0x' + '00'.repeat(32) }
    const correct = (each) => codeOf(() => channel.correct(each))
    say([
      await correct(sight(101n, { amount: 101n, signature })), await correct(sight(100n, { amount: 100n, signature: bent })),
      await correct(sight(1n, null)), await correct(ofAnother), channel.charged,
      await correct(sight(40n, { amount: 100n, signature })), channel.charged
    ])
    """
    assert found(program) == ["bad_voucher", "bad_voucher", "payment_mismatch", False, "100", True, "40"]


def test_what_is_signed_is_kept_before_it_leaves() -> None:
    program = """
    const paid = (payload) => charge(payload, 100, payload.voucher.maxClaimableAmount)
    const url = await serve((payload) => payload === null ? required([entry(100)]) : paid(payload))
    const ask = spender(500)
    await ask(url)
    await ask(url)
    say([puts, seen.filter(Boolean).map(({ type, voucher }) => [type, voucher.maxClaimableAmount])])
    """
    puts, sent = found(program)
    assert sent == [["deposit", "100"], ["voucher", "200"]]
    assert (puts[0]["signed"], puts[0]["nSeen"]) == ("100", 1)  # the request that paid nothing
    assert (puts[2]["signed"], puts[2]["nSeen"]) == ("200", 3)


def test_a_channel_that_does_not_do_any_more_is_kept_beside_the_new_one() -> None:
    program = """
    let withdrawDelay = 86400
    const paid = (payload) => charge(payload, 100, payload.voucher.maxClaimableAmount)
    const url = await serve((payload) => payload === null ? required([entry(100, { withdrawDelay })]) : paid(payload))
    const ask = spender(500)
    await ask(url)
    withdrawDelay = 172800
    await ask(url)
    say([seen.filter(Boolean).map(({ voucher }) => voucher.channelId), puts.map(({ key }) => key)])
    """
    (old, new), keys = found(program)
    assert old != new
    assert f"retired {old}" in keys


CHEATING = {
    "charges more than was agreed": ("charge(payload, 101, 101)", "payment_mismatch"),
    "counts more than was charged": ("charge(payload, 100, 5000)", "payment_mismatch"),
    "shows a voucher nobody signed": (
        "required([entry(100, state(payload.voucher.channelId, 700, { ...payload.voucher, maxClaimableAmount: 700 }))], RESYNC)",
        "bad_voucher",
    ),
    "wants a deposit after the deposit": ("required([entry(100)], UNFUNDED)", "payment_required"),
    "corrects nothing": ("required([entry(100)], RESYNC)", "payment_required"),
    "wants its payment for another": (
        "required([{ ...entry(100, state(payload.voucher.channelId, 0, payload.voucher)), payTo: TOKEN }], RESYNC)",
        "payment_required",
    ),
    "says nothing of the charge": ("({ status: 200, headers: { 'PAYMENT-RESPONSE': 'e30' } })", "malformed_payment"),
    "sends the payment elsewhere": ("({ status: 307, headers: { Location: 'http://127.0.0.1:1/' } })", "dial_failed"),
}


@pytest.mark.parametrize("how", CHEATING)
def test_a_server_that_cheats_is_an_error(how: str) -> None:
    answer, code = CHEATING[how]
    program = f"""
    const url = await serve((payload) => payload === null ? required([entry(100)]) : {answer})
    say([await spender(500)(url), seen.length])
    """
    said, n_seen = found(program)
    assert said == code
    assert n_seen <= 4


def test_a_server_that_corrects_without_end_gets_no_more_than_may_be_spent() -> None:
    program = """
    const url = await serve((payload) => {
      if (payload === null) return required([entry(100)])
      const { channelId, maxClaimableAmount } = payload.voucher
      return required([entry(100, state(channelId, maxClaimableAmount, payload.voucher))], RESYNC)
    })
    const [ask, said] = [spender(250), []]
    for (let turn = 0; turn < 4; turn++) said.push(await ask(url))
    say([said, seen.filter(Boolean).map(({ voucher }) => Number(voucher.maxClaimableAmount))])
    """
    said, signed = found(program)
    assert said[-1] == "over_budget"
    assert max(signed) <= 250


def test_an_answer_that_fails_again_and_again_is_promised_once() -> None:
    program = """
    const url = await serve((payload) => payload === null ? required([entry(100)]) : { status: 500 })
    const ask = spender(150)
    say([await ask(url), await ask(url), seen.filter(Boolean).map(({ voucher }) => voucher.maxClaimableAmount)])
    """
    assert found(program) == [500, 500, ["100", "100"]]
