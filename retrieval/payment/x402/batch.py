"""The payload of ``batch-settlement``: a cumulative voucher on a channel, alone or with the deposit that opens or tops it up.

A voucher's amount is exactly what the server has charged so far plus the price of this request; what is charged for the request may be
less. The deposit is an EIP-3009 authorization for the channel contract's collector, whose nonce binds it to the channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import DIGEST_SIZE, EVM_SIGNATURE_SIZE, EvmAddress, EvmKey, format_address, keccak256, recover_address
from retrieval.payment.channel import SALT_SIZE, WITHDRAW_DELAY_MAX_S, WITHDRAW_DELAY_MIN_S, ChannelConfig, ChannelId
from retrieval.payment.typed_data import UINT256_MAX, Domain
from retrieval.payment.voucher import ReceiveAuthorization, Voucher, receive_with_authorization_digest

from .fields import Fields, Json, malformed, show_hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """Money for the channel, which its payer signed for the collector. Times in Unix seconds."""

    amount: int
    valid_after: int
    valid_before: int
    salt: bytes
    signature: bytes

    def __post_init__(self) -> None:
        assert self.amount > 0
        assert 0 <= self.valid_after < self.valid_before <= UINT256_MAX
        assert len(self.salt) == SALT_SIZE
        assert len(self.signature) == EVM_SIGNATURE_SIZE

    def authorization(self, config: ChannelConfig, channel: ChannelId, collector: EvmAddress) -> ReceiveAuthorization:
        """What its payer must have signed."""
        return ReceiveAuthorization(
            payer=config.payer,
            payee=collector,
            amount=self.amount,
            valid_after=self.valid_after,
            valid_before=self.valid_before,
            nonce=keccak256(channel + self.salt),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPayment:
    """One payload. Nothing in it is believed yet."""

    config: ChannelConfig
    voucher: Voucher
    deposit: Deposit | None = None

    def to_json(self) -> Json:
        members: Json = {
            "type": "voucher" if self.deposit is None else "deposit",
            "channelConfig": _config_json(self.config),
            "voucher": {
                "channelId": show_hex(self.voucher.channel_id),
                "maxClaimableAmount": str(self.voucher.amount),
                "signature": show_hex(self.voucher.signature),
            },
        }
        if self.deposit is not None:
            authorization = {
                "validAfter": str(self.deposit.valid_after),
                "validBefore": str(self.deposit.valid_before),
                "salt": show_hex(self.deposit.salt),
                "signature": show_hex(self.deposit.signature),
            }
            members["deposit"] = {"amount": str(self.deposit.amount), "authorization": {"erc3009Authorization": authorization}}
        return members

    @classmethod
    def read(cls, payload: Fields) -> BatchPayment:
        """Raises ``RemoteProtocolError(malformed_payment)``."""
        kind = payload.text("type")
        if kind not in _KINDS:
            raise malformed(f"payload.type {kind[:32]!r} is not one of {', '.join(_KINDS)}")
        voucher = payload.fields("voucher")
        return cls(
            config=_read_config(payload.fields("channelConfig")),
            voucher=Voucher(
                channel_id=ChannelId(voucher.blob("channelId", DIGEST_SIZE)),
                amount=voucher.amount("maxClaimableAmount"),
                signature=voucher.blob("signature", EVM_SIGNATURE_SIZE),
            ),
            deposit=_read_deposit(payload.fields("deposit")) if kind == "deposit" else None,
        )


def sign_deposit(
    payer: EvmKey,
    config: ChannelConfig,
    channel: ChannelId,
    amount: int,
    *,
    collector: EvmAddress,
    token_domain: Domain,
    salt: bytes,
    valid_before: int,
) -> Deposit:
    """Let ``collector`` move ``amount`` from the payer into this channel, once, before ``valid_before`` (Unix seconds)."""
    unsigned = Deposit(amount=amount, valid_after=0, valid_before=valid_before, salt=salt, signature=bytes(EVM_SIGNATURE_SIZE))
    digest = receive_with_authorization_digest(unsigned.authorization(config, channel, collector), token_domain)
    return Deposit(amount=amount, valid_after=0, valid_before=valid_before, salt=salt, signature=payer.sign_digest(digest))


def verify_deposit(deposit: Deposit, config: ChannelConfig, channel: ChannelId, *, collector: EvmAddress, token_domain: Domain) -> None:
    """Check that the channel's payer signed it, for this channel and collector. Raises ``RemoteProtocolError(bad_signature)``."""
    digest = receive_with_authorization_digest(deposit.authorization(config, channel, collector), token_domain)
    if recover_address(digest, deposit.signature) != config.payer:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, "the channel's payer did not sign this deposit for this channel")


def _config_json(config: ChannelConfig) -> Json:
    return {
        "payer": format_address(config.payer),
        "payerAuthorizer": format_address(config.payer_authorizer),
        "receiver": format_address(config.receiver),
        "receiverAuthorizer": format_address(config.receiver_authorizer),
        "token": format_address(config.token),
        "withdrawDelay": config.withdraw_delay_s,
        "salt": show_hex(config.salt),
    }


def _read_config(fields: Fields) -> ChannelConfig:
    delay_s = fields.integer("withdrawDelay", WITHDRAW_DELAY_MAX_S)
    if delay_s < WITHDRAW_DELAY_MIN_S:
        raise malformed(f"no channel can have a withdraw delay of {delay_s} s")
    return ChannelConfig(
        payer=fields.address("payer"),
        payer_authorizer=fields.address("payerAuthorizer"),
        receiver=fields.address("receiver"),
        receiver_authorizer=fields.address("receiverAuthorizer"),
        token=fields.address("token"),
        withdraw_delay_s=delay_s,
        salt=fields.blob("salt", SALT_SIZE),
    )


def _read_deposit(fields: Fields) -> Deposit:
    signed = fields.fields("authorization").fields("erc3009Authorization")
    amount = fields.amount("amount")
    valid_after, valid_before = signed.decimal("validAfter"), signed.decimal("validBefore")
    if amount == 0 or valid_after >= valid_before:
        raise malformed("the deposit is of nothing, or never valid")
    return Deposit(
        amount=amount,
        valid_after=valid_after,
        valid_before=valid_before,
        salt=signed.blob("salt", SALT_SIZE),
        signature=signed.blob("signature", EVM_SIGNATURE_SIZE),
    )


_KINDS: Final = ("deposit", "voucher")
"""x402's third, ``refund``, is not offered: who leaves withdraws on chain, and is paid out after the delay it chose."""
