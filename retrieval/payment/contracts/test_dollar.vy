# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Test Dollar: six decimals, EIP-3009, minted by anyone
@license MIT
@notice Stands in for a dollar token on development chains. It is worth nothing.
"""

from ethereum.ercs import IERC20

from . import signatures

implements: IERC20


event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256


event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256


event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


name: public(constant(String[11])) = "Test Dollar"
symbol: public(constant(String[3])) = "USD"
decimals: public(constant(uint8)) = 6
version: public(constant(String[1])) = "1"

DOMAIN_TYPEHASH: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
TRANSFER_TYPEHASH: constant(bytes32) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
RECEIVE_TYPEHASH: constant(bytes32) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@external
def mint(to: address, amount: uint256):
    """
    @notice New money for anyone who asks: this is a test dollar.
    """
    assert to != empty(address), "ZeroReceiver"
    self.totalSupply += amount
    self.balanceOf[to] += amount
    log Transfer(sender=empty(address), receiver=to, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._transfer(msg.sender, to, amount)
    return True


@external
def transferFrom(sender: address, to: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[sender][msg.sender]
    assert amount <= allowed, "AboveAllowance"
    self.allowance[sender][msg.sender] = allowed - amount
    self._transfer(sender, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    log Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def transferWithAuthorization(
    sender: address,
    to: address,
    amount: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice A transfer that `sender` signed and anyone may submit (EIP-3009).
    """
    self._use_authorization(TRANSFER_TYPEHASH, sender, to, amount, validAfter, validBefore, nonce, v, r, s)


@external
def receiveWithAuthorization(
    sender: address,
    to: address,
    amount: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice The same, for the receiver alone to submit, so that no one can come first and skip what goes with it (EIP-3009).
    """
    assert msg.sender == to, "NotReceiver"
    self._use_authorization(RECEIVE_TYPEHASH, sender, to, amount, validAfter, validBefore, nonce, v, r, s)


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return self._domain_separator()


@internal
def _use_authorization(
    typehash: bytes32,
    sender: address,
    to: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    assert block.timestamp > valid_after, "AuthorizationNotYetValid"
    assert block.timestamp < valid_before, "AuthorizationExpired"
    assert not self.authorizationState[sender][nonce], "AuthorizationUsed"
    struct_hash: bytes32 = keccak256(abi_encode(typehash, sender, to, amount, valid_after, valid_before, nonce))
    digest: bytes32 = keccak256(concat(0x1901, self._domain_separator(), struct_hash))
    signature: Bytes[65] = concat(r, s, convert(v, bytes1))
    assert signatures._is_key(sender, digest, signature), "BadAuthorizationSignature"
    self.authorizationState[sender][nonce] = True
    log AuthorizationUsed(authorizer=sender, nonce=nonce)
    self._transfer(sender, to, amount)


@internal
def _transfer(sender: address, to: address, amount: uint256):
    assert to != empty(address), "ZeroReceiver"
    assert amount <= self.balanceOf[sender], "AboveBalance"
    self.balanceOf[sender] -= amount
    self.balanceOf[to] += amount
    log Transfer(sender=sender, receiver=to, value=amount)


@internal
@view
def _domain_separator() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPEHASH, keccak256(name), keccak256(version), chain.id, self))
