#include "uvarint.h"

enum rmn_result rmn_uvarint_decode(const uint8_t *in, size_t in_len, size_t *at, uint64_t *value)
{
    const size_t start = *at;
    uint64_t sum = 0;

    for (size_t n = 0; n < RMN_UVARINT_SIZE_MAX; n++) {
        if (n >= in_len - start) {
            return RMN_UVARINT_CUT_SHORT;
        }
        const uint8_t byte = in[start + n];
        sum |= (uint64_t)(byte & 0x7Fu) << (7 * n);
        if ((byte & 0x80u) == 0) {
            if (byte == 0 && n > 0) {
                return RMN_UVARINT_NOT_MINIMAL;
            }
            *value = sum;
            *at = start + n + 1;
            return RMN_OK;
        }
    }
    return RMN_UVARINT_TOO_LONG;
}

enum rmn_result rmn_uvarint_encode(uint64_t value, uint8_t *out, size_t out_len, size_t *out_size)
{
    size_t n = 0;

    if (value > RMN_UVARINT_VALUE_MAX) {
        return RMN_UVARINT_TOO_LARGE;
    }
    for (;;) {
        if (n >= out_len) {
            return RMN_OUT_TOO_SMALL;
        }
        if (value <= 0x7F) {
            out[n++] = (uint8_t)value;
            *out_size = n;
            return RMN_OK;
        }
        out[n++] = (uint8_t)((value & 0x7F) | 0x80);
        value >>= 7;
    }
}
