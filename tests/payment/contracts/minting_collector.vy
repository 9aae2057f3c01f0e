# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title A collector that brings freshly minted tokens: the amount asked, or another; and calls back first when told to
"""


interface Token:
    def mint(to: address, amount: uint256): nonpayable


brings: public(int256)


@external
def configure(brings: int256):
    """
    @param brings How much more (or less) than the amount asked.
    """
    self.brings = brings


@external
def collect(payer: address, token: address, amount: uint256, channelId: bytes32, caller: address, data: Bytes[1024]):
    if len(data) != 0:
        raw_call(msg.sender, data)
    extcall Token(token).mint(msg.sender, convert(convert(amount, int256) + self.brings, uint256))
