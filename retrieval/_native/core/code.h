/* Numbers in few bits: how amounts, milliseconds and bits per second travel in one or two bytes.
 *
 * A code is an exponent of five bits above a mantissa of m bits, 11 in code16 and 3 in code8. With exponent 0 the value is the mantissa; with
 * exponent e it is (2^m + mantissa) << (e - 1). So codes are in the order of their values and nothing is divided. What is added up rounds
 * up, what is a bottleneck rounds down; a value above the largest saturates. */
#ifndef RMN_CODE_H
#define RMN_CODE_H

#include <stdint.h>

#define RMN_CODE16_VALUE_MAX (UINT64_C(4095) << 30)
#define RMN_CODE8_VALUE_MAX (UINT64_C(15) << 30)

/* The smallest code that stands for at least `value`. */
uint16_t rmn_code16_up(uint64_t value);

/* The largest code that stands for at most `value`. */
uint8_t rmn_code8_down(uint64_t value);

/* What a code stands for, exactly. */
uint64_t rmn_value_of_code16(uint16_t code);
uint64_t rmn_value_of_code8(uint8_t code);

#endif
