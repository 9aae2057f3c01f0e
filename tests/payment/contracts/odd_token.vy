# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title A token that can misbehave: it takes a fee, says false, or calls somebody in the middle of a transfer
"""

balanceOf: public(HashMap[address, uint256])
fee: public(uint256)
says: public(bool)
calls: public(address)
callData: public(Bytes[1024])


@external
def mint(to: address, amount: uint256):
    self.balanceOf[to] += amount - self.fee


@external
def configure(fee: uint256, says: bool, calls: address, callData: Bytes[1024]):
    self.fee = fee
    self.says = says
    self.calls = calls
    self.callData = callData


@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount - self.fee
    if self.calls != empty(address):
        raw_call(self.calls, self.callData)
    return self.says
