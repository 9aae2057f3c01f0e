# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Deposits by EIP-3009 authorization, for tokens such as USDC
@license MIT
@notice The payer signs `ReceiveWithAuthorization` to this address; whoever submits the deposit pays the gas.
@dev One rule: only the channel contract may collect. Authorizations are public once submitted, so anybody else who could call
     would send the payer's tokens to themselves. The authorization's nonce is keccak256(abi.encode(channelId, salt)), which ties
     it to one channel of one contract on one chain.

     The contract's address is a constant, as this code has no constructor: another deployment compiles its own.
"""

from ethereum.ercs import IERC20


interface Token:
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
    ): nonpayable


CHANNELS: constant(address) = 0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003
SIGNATURE_MAX: constant(uint256) = 256
DATA_MAX: constant(uint256) = 1024


@external
def collect(payer: address, token: address, amount: uint256, channelId: bytes32, caller: address, data: Bytes[DATA_MAX]):
    """
    @param data abi.encode(uint256 validAfter, uint256 validBefore, uint256 salt, bytes signature)
    """
    assert msg.sender == CHANNELS, "NotChannels"
    valid_after: uint256 = 0
    valid_before: uint256 = 0
    salt: uint256 = 0
    signature: Bytes[SIGNATURE_MAX] = b""
    valid_after, valid_before, salt, signature = abi_decode(data, (uint256, uint256, uint256, Bytes[SIGNATURE_MAX]))
    nonce: bytes32 = keccak256(abi_encode(channelId, salt))

    if len(signature) == 65:
        # The form of the standard, which every EIP-3009 token has.
        extcall Token(token).receiveWithAuthorization(
            payer,
            self,
            amount,
            valid_after,
            valid_before,
            nonce,
            convert(slice(signature, 64, 1), uint8),
            extract32(signature, 0),
            extract32(signature, 32),
        )
    else:
        # Smart accounts: tokens that know EIP-1271 (USDC from 2.2) take the signature as bytes, under the same name.
        raw_call(
            token,
            abi_encode(
                payer,
                self,
                amount,
                valid_after,
                valid_before,
                nonce,
                signature,
                method_id=method_id("receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"),
            ),
        )
    assert extcall IERC20(token).transfer(CHANNELS, amount, default_return_value=True), "TransferFailed"
