#include "code.h"

enum { MANTISSA_16 = 11, MANTISSA_8 = 3, SHIFT_MAX = 30 };

/* By how much a value must be shifted to leave its leading bit and a mantissa. Above SHIFT_MAX there is no code for it. */
static unsigned shift_of(uint64_t value, unsigned mantissa_bits)
{
    unsigned shift = 0;

    while (value >> shift >= UINT64_C(2) << mantissa_bits) {
        shift++;
    }
    return shift;
}

static uint64_t decode(uint32_t code, unsigned mantissa_bits)
{
    const uint32_t exponent = code >> mantissa_bits;
    const uint32_t mantissa = code & ((UINT32_C(1) << mantissa_bits) - 1);

    return exponent == 0 ? mantissa : (uint64_t)((UINT32_C(1) << mantissa_bits) + mantissa) << (exponent - 1);
}

uint16_t rmn_code16_up(uint64_t value)
{
    if (value > RMN_CODE16_VALUE_MAX) {
        return UINT16_MAX;
    }
    const unsigned shift = shift_of(value, MANTISSA_16);
    const uint64_t mantissa = value >> shift;
    /* Rounding up past the last mantissa carries into the exponent, which is the next code. */
    return (uint16_t)(((uint64_t)shift << MANTISSA_16) + mantissa + (mantissa << shift != value ? 1 : 0));
}

uint8_t rmn_code8_down(uint64_t value)
{
    if (value > RMN_CODE8_VALUE_MAX) {
        return UINT8_MAX;
    }
    const unsigned shift = shift_of(value, MANTISSA_8);
    return (uint8_t)(((uint64_t)shift << MANTISSA_8) + (value >> shift));
}

uint64_t rmn_value_of_code16(uint16_t code)
{
    return decode(code, MANTISSA_16);
}

uint64_t rmn_value_of_code8(uint8_t code)
{
    return decode(code, MANTISSA_8);
}
