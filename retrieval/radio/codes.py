"""Numbers in few bits: how amounts, milliseconds and bits per second travel in one or two bytes.

A code is an exponent of five bits above a mantissa of ``m`` bits. With exponent 0 the value is the mantissa; with exponent ``e`` it is
``(2^m + mantissa) << (e - 1)``. So codes are in the order of their values, small values are exact, and there is no division::

    code16, m = 11     0 to 4095 exact, then within 1/2048, to 4095 << 30     fees, prices, milliseconds
    code8,  m = 3      0 to 15 exact, then within 1/8, to 15 << 30            bits per second

What is added up rounds up, so that no sum of small parts is ever lost; what is a bottleneck rounds down, so that none is promised that
is not there. A value above the largest saturates.
"""

from __future__ import annotations

from typing import Final

CODE16_MAX: Final = 0xFFFF
CODE8_MAX: Final = 0xFF
CODE16_VALUE_MAX: Final = 4095 << 30
CODE8_VALUE_MAX: Final = 15 << 30
_MANTISSA_16: Final = 11
_MANTISSA_8: Final = 3


def code16_up(value: int) -> int:
    """The smallest 16-bit code that stands for at least ``value``; the largest code above its range."""
    return _encode(value, _MANTISSA_16, CODE16_MAX, up=True)


def value_of_code16(code: int) -> int:
    """What a 16-bit code stands for, exactly."""
    assert 0 <= code <= CODE16_MAX
    return _decode(code, _MANTISSA_16)


def code8_down(value: int) -> int:
    """The largest 8-bit code that stands for at most ``value``."""
    return _encode(value, _MANTISSA_8, CODE8_MAX, up=False)


def value_of_code8(code: int) -> int:
    """What an 8-bit code stands for, exactly."""
    assert 0 <= code <= CODE8_MAX
    return _decode(code, _MANTISSA_8)


def _encode(value: int, mantissa_bits: int, code_max: int, *, up: bool) -> int:
    assert value >= 0
    shift = max(value.bit_length() - mantissa_bits - 1, 0)
    if shift > 30:
        return code_max
    mantissa = value >> shift
    if up and mantissa << shift != value:
        mantissa += 1  # past the last mantissa this carries into the exponent, which is the next code
    return min((shift << mantissa_bits) + mantissa, code_max)


def _decode(code: int, mantissa_bits: int) -> int:
    exponent, mantissa = code >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
    return mantissa if exponent == 0 else ((1 << mantissa_bits) + mantissa) << (exponent - 1)
