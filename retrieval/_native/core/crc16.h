/* CRC-16/IBM-3740: polynomial 1021, begun with FFFF, not reflected, not inverted; "123456789" gives 29B1. */
#ifndef RMN_CRC16_H
#define RMN_CRC16_H

#include <stddef.h>
#include <stdint.h>

#define RMN_CRC16_START 0xFFFFu

/* Goes on from `crc`, so that a checksum can skip what it does not cover. */
uint16_t rmn_crc16(uint16_t crc, const uint8_t *in, size_t in_len);

#endif
