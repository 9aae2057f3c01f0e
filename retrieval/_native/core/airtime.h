/* How long a LoRa frame is on the air (SX1261/2 data sheet, 6.1.4), in whole microseconds, exactly.
 *
 * Only the bandwidths 500 kHz / 2^n are known: there a chip lasts whole microseconds, so nothing is rounded and nothing divided by what a
 * host said. */
#ifndef RMN_AIRTIME_H
#define RMN_AIRTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RMN_SPREADING_FACTOR_MIN 5u
#define RMN_SPREADING_FACTOR_MAX 12u
#define RMN_CODING_RATE_MIN 5u /* the denominator: 4/5 to 4/8 */
#define RMN_CODING_RATE_MAX 8u
#define RMN_PREAMBLE_MIN 6u
#define RMN_PREAMBLE_MAX 1024u
#define RMN_AIR_FRAME_SIZE_MAX 255u

/* Frames with an explicit header and a CRC, as all of ours are. */
struct rmn_modulation {
    uint32_t bandwidth_hz;
    uint8_t spreading_factor;
    uint8_t coding_rate;
    uint16_t preamble; /* symbols */
};

/* Microseconds of one chip at a bandwidth, 2 to 64; 0 for a bandwidth that is not known. */
uint32_t rmn_chip_us(uint32_t bandwidth_hz);

/* Whether every field is within the bounds above. */
bool rmn_modulation_valid(const struct rmn_modulation *modulation);

/* Microseconds of one symbol. Requires a valid modulation, as all below do. */
uint32_t rmn_symbol_us(const struct rmn_modulation *modulation);

/* Whether symbols are so long, 16 ms, that the low data rate optimisation must be on. */
bool rmn_low_data_rate(const struct rmn_modulation *modulation);

/* Microseconds of a frame of `size` bytes. Requires size <= RMN_AIR_FRAME_SIZE_MAX. */
uint32_t rmn_airtime_us(const struct rmn_modulation *modulation, size_t size);

#endif
