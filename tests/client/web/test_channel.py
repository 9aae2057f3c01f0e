"""A channel's own count, by what its books take and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from paid_gateway import PaidGateway
from retrieval_client.web.channel import WebChannel, new_config, new_record

from retrieval.deal.outlay import Outlay
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import channel_id
from retrieval.payment.voucher import VoucherSigner
from retrieval.payment.x402.offer import ChannelSight, PaymentRequired
from retrieval.payment.x402.reasons import RESYNC
from retrieval.store.blocks import MemoryBlockStore

KEY = EvmKey.from_secret(bytes((1,)) * 32)
SIGNER = VoucherSigner(KEY, DEVCHAIN.chain_id, DEVCHAIN.contract)


def test_a_count_that_was_refused_is_taken_once_the_deposit_behind_it_is_known() -> None:
    """The journal knows nothing of the channel, and a chain that was asked too early knew of too little money."""
    offer = PaidGateway(MemoryBlockStore()).offer()
    config = new_config(offer, KEY.address, 86_400)
    key = channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)
    short = replace(new_record(config, DEVCHAIN), balance=50)
    channel = WebChannel(Outlay(key=key, channel=short), SIGNER)
    sight = ChannelSight(
        channel_id=key,
        balance=1_000,
        total_claimed=0,
        withdraw_requested_at=0,
        refund_nonce=0,
        charged=60,
        signed=100,
        signature=SIGNER.sign(key, 100).signature,
    )
    required = PaymentRequired(url="", description="", accepts=(replace(offer, channel=sight),), error=RESYNC)
    with pytest.raises(RemoteProtocolError) as refused:
        channel.correct(required, 1.0)
    assert refused.value.code is ErrorCode.VOUCHER_OVER_DEPOSIT
    channel.outlay.channel_seen(replace(short, balance=1_000), 2.0)
    channel.correct(required, 3.0)
    assert (channel.outlay.charged, channel.outlay.signed) == (60, 100)
