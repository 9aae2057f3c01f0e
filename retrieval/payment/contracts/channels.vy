# pragma version ==0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title Payment channels of the x402 `batch-settlement` scheme
@license MIT
@notice A payer locks tokens for one receiver and signs cumulative vouchers off chain. The receiver claims the best voucher of
        many channels at once, then settles the sum in one transfer. The payer may leave after a delay in which the receiver can
        still claim.
@dev One rule: for every token, what the contract holds covers every channel's unclaimed rest and every receiver's unsettled sum.

     Interface, type strings and behaviour are those of the x402 scheme for EVM; this is another implementation of them. There
     is no constructor, no owner and no immutable, so the code works wherever it is put, a genesis block included.

     Two uint128 share a storage slot, low half first: one read and one write where Vyper's own layout takes two of each.
     Arrays and byte strings have small bounds on purpose: Vyper reserves the memory of the largest in every call.
"""

from ethereum.ercs import IERC20

from . import signatures


interface DepositCollector:
    def collect(payer: address, token: address, amount: uint256, channelId: bytes32, caller: address, data: Bytes[COLLECTOR_DATA_MAX]): nonpayable


struct ChannelConfig:
    payer: address
    payerAuthorizer: address  # the key that signs vouchers; zero leaves them to the payer's account, EIP-1271 included
    receiver: address
    receiverAuthorizer: address
    token: address
    withdrawDelay: uint40  # seconds
    salt: bytes32


struct Voucher:
    channel: ChannelConfig
    maxClaimableAmount: uint128


struct VoucherClaim:
    voucher: Voucher
    signature: Bytes[SIGNATURE_MAX]
    totalClaimed: uint128  # what the receiver takes, cumulative: at most what the voucher allows


event ChannelCreated:
    channelId: indexed(bytes32)
    config: ChannelConfig


event ChannelClosed:
    channelId: indexed(bytes32)
    config: ChannelConfig


event Deposited:
    channelId: indexed(bytes32)
    sender: indexed(address)
    amount: uint128
    newBalance: uint128


event Claimed:
    channelId: indexed(bytes32)
    sender: indexed(address)
    claimAmount: uint128
    newTotalClaimed: uint128


event Settled:
    receiver: indexed(address)
    token: indexed(address)
    sender: indexed(address)
    amount: uint128


event WithdrawInitiated:
    channelId: indexed(bytes32)
    amount: uint128
    finalizeAfter: uint40


event WithdrawFinalized:
    channelId: indexed(bytes32)
    sender: indexed(address)
    amount: uint128


event Refunded:
    channelId: indexed(bytes32)
    sender: indexed(address)
    amount: uint128


CLAIMS_MAX: constant(uint256) = 32  # a hundred would cost every single claim 10,000 gas more (measured)
CALLS_MAX: constant(uint256) = 4
CALL_DATA_MAX: constant(uint256) = 8192  # bytes; claimWithSignature of 16 vouchers
CALL_RESULT_MAX: constant(uint256) = 64  # bytes; the widest view returns two words
SIGNATURE_MAX: constant(uint256) = signatures.SIGNATURE_MAX
COLLECTOR_DATA_MAX: constant(uint256) = 1024

WITHDRAW_DELAY_MIN: constant(uint40) = 900  # 15 minutes
WITHDRAW_DELAY_MAX: constant(uint40) = 2_592_000  # 30 days
LOW_HALF: constant(uint256) = 2**128 - 1

NAME: constant(String[21]) = "x402 Batch Settlement"
VERSION: constant(String[1]) = "1"
DOMAIN_TYPEHASH: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
CHANNEL_CONFIG_TYPEHASH: constant(bytes32) = keccak256(
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
VOUCHER_TYPEHASH: constant(bytes32) = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)")
REFUND_TYPEHASH: constant(bytes32) = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)")
CLAIM_ENTRY_TYPEHASH: constant(bytes32) = keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)")
CLAIM_BATCH_TYPEHASH: constant(bytes32) = keccak256(
    "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
)

_channels: HashMap[bytes32, uint256]  # channel id -> balance, total claimed
_withdrawals: HashMap[bytes32, uint256]  # channel id -> amount, started at
_receivers: HashMap[address, HashMap[address, uint256]]  # receiver -> token -> total claimed, total settled
_refund_nonces: HashMap[bytes32, uint256]


# Money in


@external
@nonreentrant
def deposit(config: ChannelConfig, amount: uint128, collector: address, collectorData: Bytes[COLLECTOR_DATA_MAX]):
    """
    @notice Open or top up a channel. Anyone may submit; `collector` brings the payer's tokens here.
    @dev The collector is the caller's choice and not trusted: exactly `amount` must have arrived. A token that takes a fee fails.
    """
    assert amount != 0, "ZeroAmount"
    assert config.payer != empty(address), "ZeroPayer"
    assert config.receiver != empty(address), "ZeroReceiver"
    assert config.receiverAuthorizer != empty(address), "ZeroReceiverAuthorizer"
    assert config.token != empty(address), "ZeroToken"
    assert config.withdrawDelay >= WITHDRAW_DELAY_MIN and config.withdrawDelay <= WITHDRAW_DELAY_MAX, "WithdrawDelayOutOfRange"

    channel_id: bytes32 = self._channel_id(self._domain_separator(), config)
    held_before: uint256 = staticcall IERC20(config.token).balanceOf(self)
    extcall DepositCollector(collector).collect(
        config.payer, config.token, convert(amount, uint256), channel_id, msg.sender, collectorData
    )
    held: uint256 = staticcall IERC20(config.token).balanceOf(self)
    assert held >= held_before and held - held_before == convert(amount, uint256), "DepositMismatch"

    balance: uint128 = 0
    claimed: uint128 = 0
    balance, claimed = self._unpack(self._channels[channel_id])
    if balance == 0 and claimed == 0:
        log ChannelCreated(channelId=channel_id, config=config)
    balance += amount
    self._channels[channel_id] = self._pack(balance, claimed)
    log Deposited(channelId=channel_id, sender=msg.sender, amount=amount, newBalance=balance)


# Vouchers


@external
@nonreentrant
def claim(voucherClaims: DynArray[VoucherClaim, CLAIMS_MAX]):
    """
    @notice Book what vouchers allow. The caller is the receiver or the receiver's authorizer of every row. No tokens move.
    """
    domain: bytes32 = self._domain_separator()
    for row: VoucherClaim in voucherClaims:
        assert msg.sender == row.voucher.channel.receiver or msg.sender == row.voucher.channel.receiverAuthorizer, "NotReceiver"
        self._claim(domain, self._channel_id(domain, row.voucher.channel), row)


@external
@nonreentrant
def claimWithSignature(voucherClaims: DynArray[VoucherClaim, CLAIMS_MAX], authorizerSignature: Bytes[SIGNATURE_MAX]):
    """
    @notice Book what vouchers allow, for a receiver's authorizer who signed the batch. Anyone may submit it.
    """
    assert len(voucherClaims) != 0, "NoClaims"
    authorizer: address = voucherClaims[0].voucher.channel.receiverAuthorizer
    domain: bytes32 = self._domain_separator()
    channel_ids: DynArray[bytes32, CLAIMS_MAX] = []
    entries: DynArray[bytes32, CLAIMS_MAX] = []
    for row: VoucherClaim in voucherClaims:
        assert row.voucher.channel.receiverAuthorizer == authorizer, "MixedAuthorizers"
        channel_id: bytes32 = self._channel_id(domain, row.voucher.channel)
        channel_ids.append(channel_id)
        entries.append(self._claim_entry(channel_id, row.voucher.maxClaimableAmount, row.totalClaimed))
    digest: bytes32 = self._digest(domain, self._claim_batch(entries))
    assert signatures._is_account(authorizer, digest, authorizerSignature), "BadAuthorizerSignature"

    index: uint256 = 0
    for row: VoucherClaim in voucherClaims:
        self._claim(domain, channel_ids[index], row)
        index += 1


@external
@nonreentrant
def settle(receiver: address, token: address):
    """
    @notice Send a receiver everything claimed and not yet sent, in one transfer. Anyone may submit; nothing to send is no error.
    """
    claimed: uint128 = 0
    settled: uint128 = 0
    claimed, settled = self._unpack(self._receivers[receiver][token])
    amount: uint128 = claimed - settled
    if amount == 0:
        return
    self._receivers[receiver][token] = self._pack(claimed, claimed)
    self._send(token, receiver, amount)
    log Settled(receiver=receiver, token=token, sender=msg.sender, amount=amount)


# Money back


@external
@nonreentrant
def initiateWithdraw(config: ChannelConfig, amount: uint128):
    """
    @notice The payer announces that it leaves with `amount`. Until the delay is over the receiver can still claim.
    """
    channel_id: bytes32 = self._channel_id(self._domain_separator(), config)
    self._check_payer(config)
    assert amount != 0, "ZeroAmount"
    assert self._withdrawals[channel_id] == 0, "WithdrawalPending"
    balance: uint128 = 0
    claimed: uint128 = 0
    balance, claimed = self._unpack(self._channels[channel_id])
    assert amount <= balance - claimed, "AboveUnclaimed"
    self._withdrawals[channel_id] = self._pack(amount, convert(block.timestamp, uint128))
    log WithdrawInitiated(
        channelId=channel_id, amount=amount, finalizeAfter=convert(block.timestamp, uint40) + config.withdrawDelay
    )


@external
@nonreentrant
def finalizeWithdraw(config: ChannelConfig):
    """
    @notice Complete a withdrawal after its delay: what was announced, or what claims have left of it.
    """
    channel_id: bytes32 = self._channel_id(self._domain_separator(), config)
    self._check_payer(config)
    amount: uint128 = 0
    started_at: uint128 = 0
    amount, started_at = self._unpack(self._withdrawals[channel_id])
    assert amount != 0, "NoWithdrawal"
    assert block.timestamp >= convert(started_at, uint256) + convert(config.withdrawDelay, uint256), "WithdrawDelayNotElapsed"
    self._withdrawals[channel_id] = 0
    amount = self._pay_back(channel_id, config, amount)
    log WithdrawFinalized(channelId=channel_id, sender=msg.sender, amount=amount)


@external
@nonreentrant
def refund(config: ChannelConfig, amount: uint128):
    """
    @notice The receiver's side gives back up to `amount` of the unclaimed rest at once.
    """
    assert msg.sender == config.receiver or msg.sender == config.receiverAuthorizer, "NotReceiver"
    domain: bytes32 = self._domain_separator()
    self._refund(self._channel_id(domain, config), config, amount)


@external
@nonreentrant
def refundWithSignature(config: ChannelConfig, amount: uint128, nonce: uint256, receiverAuthorizerSignature: Bytes[SIGNATURE_MAX]):
    """
    @notice The same, for a receiver's authorizer who signed it. Anyone may submit it, once.
    """
    domain: bytes32 = self._domain_separator()
    channel_id: bytes32 = self._channel_id(domain, config)
    assert nonce == self._refund_nonces[channel_id], "BadRefundNonce"
    digest: bytes32 = self._digest(domain, keccak256(abi_encode(REFUND_TYPEHASH, channel_id, nonce, amount)))
    assert signatures._is_account(config.receiverAuthorizer, digest, receiverAuthorizerSignature), "BadAuthorizerSignature"
    self._refund(channel_id, config, amount)


@external
def multicall(data: DynArray[Bytes[CALL_DATA_MAX], CALLS_MAX]) -> DynArray[Bytes[CALL_RESULT_MAX], CALLS_MAX]:
    """
    @notice Several calls in one transaction: all happen, or none. Each takes the lock for itself.
    """
    results: DynArray[Bytes[CALL_RESULT_MAX], CALLS_MAX] = []
    for call: Bytes[CALL_DATA_MAX] in data:
        results.append(raw_call(self, call, max_outsize=CALL_RESULT_MAX, is_delegate_call=True))
    return results


# Views


@external
@view
def channels(channelId: bytes32) -> (uint128, uint128):
    """
    @return The balance (deposits less what went back; claims do not reduce it) and the total claimed.
    """
    return self._unpack(self._channels[channelId])


@external
@view
def pendingWithdrawals(channelId: bytes32) -> (uint128, uint40):
    """
    @return The amount announced and the block time it was announced at; zeros when none is pending.
    """
    amount: uint128 = 0
    started_at: uint128 = 0
    amount, started_at = self._unpack(self._withdrawals[channelId])
    return amount, convert(started_at, uint40)


@external
@view
def receivers(receiver: address, token: address) -> (uint128, uint128):
    """
    @return The total claimed and the total settled.
    """
    return self._unpack(self._receivers[receiver][token])


@external
@view
def refundNonce(channelId: bytes32) -> uint256:
    return self._refund_nonces[channelId]


@external
@view
def getChannelId(config: ChannelConfig) -> bytes32:
    return self._channel_id(self._domain_separator(), config)


@external
@view
def getVoucherDigest(channelId: bytes32, maxClaimableAmount: uint128) -> bytes32:
    return self._voucher_digest(self._domain_separator(), channelId, maxClaimableAmount)


@external
@view
def getRefundDigest(channelId: bytes32, nonce: uint256, amount: uint128) -> bytes32:
    return self._digest(self._domain_separator(), keccak256(abi_encode(REFUND_TYPEHASH, channelId, nonce, amount)))


@external
@view
def getClaimBatchDigest(voucherClaims: DynArray[VoucherClaim, CLAIMS_MAX]) -> bytes32:
    domain: bytes32 = self._domain_separator()
    entries: DynArray[bytes32, CLAIMS_MAX] = []
    for row: VoucherClaim in voucherClaims:
        channel_id: bytes32 = self._channel_id(domain, row.voucher.channel)
        entries.append(self._claim_entry(channel_id, row.voucher.maxClaimableAmount, row.totalClaimed))
    return self._digest(domain, self._claim_batch(entries))


@external
@view
def eip712Domain() -> (bytes1, String[21], String[1], uint256, address, bytes32, DynArray[uint256, 1]):
    """
    @notice The signing domain (EIP-5267): name, version, chain and this contract, no salt, no extensions.
    """
    return 0x0f, NAME, VERSION, chain.id, self, empty(bytes32), []


# Inside


@internal
def _claim(domain: bytes32, channel_id: bytes32, row: VoucherClaim):
    """
    @dev A row at or below what is claimed already changes nothing, so that a claim may be repeated.
    """
    balance: uint128 = 0
    claimed: uint128 = 0
    balance, claimed = self._unpack(self._channels[channel_id])
    if row.totalClaimed <= claimed:
        return
    assert row.totalClaimed <= row.voucher.maxClaimableAmount, "AboveVoucher"
    assert row.totalClaimed <= balance, "AboveBalance"
    config: ChannelConfig = row.voucher.channel
    digest: bytes32 = self._voucher_digest(domain, channel_id, row.voucher.maxClaimableAmount)
    if config.payerAuthorizer != empty(address):
        assert signatures._is_key(config.payerAuthorizer, digest, row.signature), "BadVoucherSignature"
    else:
        assert signatures._is_account(config.payer, digest, row.signature), "BadVoucherSignature"

    amount: uint128 = row.totalClaimed - claimed
    self._channels[channel_id] = self._pack(balance, row.totalClaimed)
    total: uint128 = 0
    settled: uint128 = 0
    total, settled = self._unpack(self._receivers[config.receiver][config.token])
    self._receivers[config.receiver][config.token] = self._pack(total + amount, settled)
    log Claimed(channelId=channel_id, sender=msg.sender, claimAmount=amount, newTotalClaimed=row.totalClaimed)


@internal
def _refund(channel_id: bytes32, config: ChannelConfig, amount: uint128):
    """
    @dev The nonce moves first, whatever happens next, so that one signature is good for one refund. A withdrawal under way
         shrinks by what is refunded: the payer is not paid the same sum twice.
    """
    assert amount != 0, "ZeroAmount"
    self._refund_nonces[channel_id] += 1
    waiting: uint128 = 0
    started_at: uint128 = 0
    waiting, started_at = self._unpack(self._withdrawals[channel_id])
    paid: uint128 = min(amount, self._unclaimed(channel_id))
    if paid == 0:
        return
    if waiting != 0:
        self._withdrawals[channel_id] = 0 if paid >= waiting else self._pack(waiting - paid, started_at)
    self._pay_back(channel_id, config, paid)
    log Refunded(channelId=channel_id, sender=msg.sender, amount=paid)


@internal
def _pay_back(channel_id: bytes32, config: ChannelConfig, amount: uint128) -> uint128:
    """
    @return What was sent to the payer: `amount`, or the unclaimed rest where that is less.
    """
    balance: uint128 = 0
    claimed: uint128 = 0
    balance, claimed = self._unpack(self._channels[channel_id])
    paid: uint128 = min(amount, balance - claimed)
    if paid == 0:
        return 0
    self._channels[channel_id] = self._pack(balance - paid, claimed)
    self._send(config.token, config.payer, paid)
    if balance == paid:
        log ChannelClosed(channelId=channel_id, config=config)
    return paid


@internal
def _send(token: address, to: address, amount: uint128):
    """
    @dev Tokens that return nothing are taken at their word; tokens that return false are not.
    """
    assert extcall IERC20(token).transfer(to, convert(amount, uint256), default_return_value=True), "TransferFailed"


@internal
@view
def _check_payer(config: ChannelConfig):
    assert msg.sender == config.payer or msg.sender == config.payerAuthorizer, "NotPayer"


@internal
@view
def _unclaimed(channel_id: bytes32) -> uint128:
    balance: uint128 = 0
    claimed: uint128 = 0
    balance, claimed = self._unpack(self._channels[channel_id])
    return balance - claimed


@internal
@pure
def _pack(low: uint128, high: uint128) -> uint256:
    return convert(low, uint256) | (convert(high, uint256) << 128)


@internal
@pure
def _unpack(slot: uint256) -> (uint128, uint128):
    return convert(slot & LOW_HALF, uint128), convert(slot >> 128, uint128)


@internal
@view
def _domain_separator() -> bytes32:
    """
    @dev Computed each time: a stored one would be wrong after a chain split, and would need a constructor.
    """
    return keccak256(abi_encode(DOMAIN_TYPEHASH, keccak256(NAME), keccak256(VERSION), chain.id, self))


@internal
@pure
def _digest(domain: bytes32, struct_hash: bytes32) -> bytes32:
    return keccak256(concat(0x1901, domain, struct_hash))


@internal
@pure
def _channel_id(domain: bytes32, config: ChannelConfig) -> bytes32:
    return self._digest(domain, keccak256(abi_encode(CHANNEL_CONFIG_TYPEHASH, config)))


@internal
@pure
def _voucher_digest(domain: bytes32, channel_id: bytes32, amount_max: uint128) -> bytes32:
    return self._digest(domain, keccak256(abi_encode(VOUCHER_TYPEHASH, channel_id, amount_max)))


@internal
@pure
def _claim_entry(channel_id: bytes32, amount_max: uint128, total_claimed: uint128) -> bytes32:
    return keccak256(abi_encode(CLAIM_ENTRY_TYPEHASH, channel_id, amount_max, total_claimed))


@internal
@pure
def _claim_batch(entries: DynArray[bytes32, CLAIMS_MAX]) -> bytes32:
    """
    @dev EIP-712 hashes an array without its length; ABI encoding puts an offset and the length before the items.
    """
    encoded: Bytes[64 + 32 * CLAIMS_MAX] = abi_encode(entries)
    return keccak256(abi_encode(CLAIM_BATCH_TYPEHASH, keccak256(slice(encoded, 64, 32 * len(entries)))))
