# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Signature checks shared by the channel contract and the test dollar
@notice One rule: a signature is a proof, never a key. Nothing is looked up or stored by its bytes.
"""

interface SmartAccount:
    def isValidSignature(digest: bytes32, signature: Bytes[SIGNATURE_MAX]) -> bytes4: view

SIGNATURE_MAX: constant(uint256) = 256  # bytes; room for the EIP-1271 signatures of common smart accounts
ECDSA_LENGTH: constant(uint256) = 65  # r, s, v; the 64-byte form of EIP-2098 is refused, so that a voucher has one spelling
S_MAX: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168  # n / 2
EIP1271_MAGIC: constant(bytes32) = 0x1626ba7e00000000000000000000000000000000000000000000000000000000


@internal
@pure
def _recover(digest: bytes32, signature: Bytes[SIGNATURE_MAX]) -> address:
    """
    @notice The signer of an ECDSA signature r, s, v, or the zero address when it is none.
    @dev s above n / 2 is refused: otherwise (n - s, v flipped) would be a second signature of the same signer.
    """
    if len(signature) != ECDSA_LENGTH:
        return empty(address)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if s > S_MAX or (v != 27 and v != 28):
        return empty(address)
    return ecrecover(digest, v, extract32(signature, 0, output_type=uint256), s)


@internal
@pure
def _is_key(signer: address, digest: bytes32, signature: Bytes[SIGNATURE_MAX]) -> bool:
    """
    @notice Whether a plain key signed. Code at the address does not matter, so what was signed stays signed (EIP-7702).
    """
    return signer != empty(address) and self._recover(digest, signature) == signer


@internal
@view
def _is_account(signer: address, digest: bytes32, signature: Bytes[SIGNATURE_MAX]) -> bool:
    """
    @notice Whether an account signed: by EIP-1271 where there is code, by its key where there is none.
    """
    if not signer.is_contract:
        return self._is_key(signer, digest, signature)
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        signer,
        abi_encode(digest, signature, method_id=method_id("isValidSignature(bytes32,bytes)")),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    return success and len(answer) == 32 and convert(answer, bytes32) == EIP1271_MAGIC
