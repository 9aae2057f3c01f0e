# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title The part of Multicall3 that clients of the channel contract use, for chains that start without it
@license MIT
@notice One rule: it holds nothing and may call anything. On public chains the well-known deployment is used instead.
"""

struct Call:
    target: address
    callData: Bytes[CALL_DATA_MAX]


struct Call3:
    target: address
    allowFailure: bool
    callData: Bytes[CALL_DATA_MAX]


struct Result:
    success: bool
    returnData: Bytes[RETURN_DATA_MAX]


CALLS_MAX: constant(uint256) = 256
CALL_DATA_MAX: constant(uint256) = 1024  # bytes; a deposit with its authorization takes about 700
RETURN_DATA_MAX: constant(uint256) = 512  # bytes; longer answers are cut


@external
@payable
def aggregate3(calls: DynArray[Call3, CALLS_MAX]) -> DynArray[Result, CALLS_MAX]:
    results: DynArray[Result, CALLS_MAX] = []
    for call: Call3 in calls:
        result: Result = self._call(call.target, call.callData)
        assert result.success or call.allowFailure, "Multicall3: call failed"
        results.append(result)
    return results


@external
@payable
def tryAggregate(requireSuccess: bool, calls: DynArray[Call, CALLS_MAX]) -> DynArray[Result, CALLS_MAX]:
    results: DynArray[Result, CALLS_MAX] = []
    for call: Call in calls:
        result: Result = self._call(call.target, call.callData)
        assert result.success or not requireSuccess, "Multicall3: call failed"
        results.append(result)
    return results


@external
@view
def getCurrentBlockTimestamp() -> uint256:
    return block.timestamp


@external
@view
def getBlockNumber() -> uint256:
    return block.number


@internal
def _call(target: address, call_data: Bytes[CALL_DATA_MAX]) -> Result:
    success: bool = False
    return_data: Bytes[RETURN_DATA_MAX] = b""
    success, return_data = raw_call(target, call_data, max_outsize=RETURN_DATA_MAX, revert_on_failure=False)
    return Result(success=success, returnData=return_data)
