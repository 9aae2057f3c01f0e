/* What the radio is set to: where, how fast and how strongly. */
#ifndef RELAY_CHANNEL_H
#define RELAY_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/airtime.h"

#define CHANNEL_POWER_MIN_DBM (-9)
#define CHANNEL_POWER_MAX_DBM 22
/* No frame may be on the air for longer: SF12 at 125 kHz is allowed and takes 9.3 s, and slower is no use to a mesh. */
#define CHANNEL_AIRTIME_MAX_US 10000000u
#define CHANNEL_PREAMBLE 16u /* symbols; RNodes hear it too */

struct channel {
    uint32_t frequency_hz;
    struct rmn_modulation modulation;
    int8_t power_dbm;
};

/* Where a relay begins: 869.525 MHz, 125 kHz, SF7, 4/5, 14 dBm, in the one sub-band that allows 10 %. */
struct channel channel_default(void);

/* Whether the radio can do it, and the law allows it: within one sub-band, not too strong, and no frame too long. */
bool channel_allowed(const struct channel *channel);

/* Microseconds that a frame of this size takes. Requires an allowed channel. */
uint32_t channel_airtime_us(const struct channel *channel, uint32_t size);

/* Bits a second that frames of full size carry, rounded down. */
uint32_t channel_bps(const struct channel *channel);

#endif
