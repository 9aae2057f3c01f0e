#include "crc16.h"

/* Bit by bit: a frame is 255 bytes at most and takes longer to send than any table would save. */
uint16_t rmn_crc16(uint16_t crc, const uint8_t *in, size_t in_len)
{
    for (size_t i = 0; i < in_len; i++) {
        crc = (uint16_t)(crc ^ in[i] << 8);
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (uint16_t)((crc & 0x8000u) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
        }
    }
    return crc;
}
