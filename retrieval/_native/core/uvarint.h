/* Unsigned varints as multiformats restricts them: at most nine bytes, minimal, so below 2^63. */
#ifndef RMN_UVARINT_H
#define RMN_UVARINT_H

#include <stddef.h>
#include <stdint.h>

#include "result.h"

#define RMN_UVARINT_SIZE_MAX 9u
#define RMN_UVARINT_VALUE_MAX ((UINT64_C(1) << 63) - 1)

/* Reads the uvarint at in[*at] and moves *at behind it. On failure neither *value nor *at changes. Requires *at <= in_len. */
enum rmn_result rmn_uvarint_decode(const uint8_t *in, size_t in_len, size_t *at, uint64_t *value);

/* Writes `value` to out and its size to *out_size. */
enum rmn_result rmn_uvarint_encode(uint64_t value, uint8_t *out, size_t out_len, size_t *out_size);

#endif
