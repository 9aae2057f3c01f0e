# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title An account that signs by EIP-1271, and can change its mind
"""

answer: public(bytes32)


@external
def configure(answer: bytes32):
    self.answer = answer


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[256]) -> bytes32:
    return self.answer
