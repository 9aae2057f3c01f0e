/* Where a relay may send, for how long, and how strongly: the sub-bands of ETSI EN 300 220-2 between 863 and 870 MHz.
 *
 * One rule: what is in no row is refused. National rules differ; the operator answers for them. */
#ifndef RELAY_BAND_H
#define RELAY_BAND_H

#include <stdint.h>

#define BAND_COUNT 6u
#define BAND_NONE BAND_COUNT
#define BAND_HOUR_US 3600000000u

struct band {
    uint32_t low_hz;
    uint32_t high_hz;
    uint16_t duty_per_10000; /* of every hour */
    int8_t power_max_dbm;    /* at the antenna's foot; an antenna with gain takes its share */
};

/* The row that a channel lies in with all of its width, or BAND_NONE. */
uint32_t band_of(uint32_t frequency_hz, uint32_t bandwidth_hz);

/* Requires index < BAND_COUNT. */
const struct band *band_at(uint32_t index);

/* Microseconds of every hour in which a device may send in a band. */
uint32_t band_budget_us(uint32_t index);

#endif
