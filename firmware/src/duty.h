/* Airtime spent in the last hour, by sub-band: what the law counts. retrieval/radio/duty.py has the same rules, and tests hold them together.
 *
 * An hour that begins within a minute touches 61. A frame is counted in the minute that it ends in, and all 61 are counted against it before
 * it may start, so that whatever overlaps an hour is in the sum.
 *
 * One rule: airtime is charged before the radio is told to send, whatever becomes of the frame. A host may tighten the budget and never
 * widen it; nothing but time gives airtime back. */
#ifndef RELAY_DUTY_H
#define RELAY_DUTY_H

#include <stdbool.h>
#include <stdint.h>

#include "band.h"

#define DUTY_MINUTES 61u
#define DUTY_MINUTE_US 60000000u
#define DUTY_UNLIMITED_US BAND_HOUR_US

struct duty {
    uint64_t minute;   /* the last one that was counted in, since the board started */
    uint32_t limit_us; /* the host's own bound on every band */
    uint32_t spent_us[DUTY_MINUTES][BAND_COUNT];
};

/* Begins with what was spent before the reboot: when it was sent is not known, so it counts as sent now. */
void duty_start(struct duty *duty, uint64_t now_us, const uint32_t inherited_us[BAND_COUNT]);

/* Sets what the host allows itself of any hour in any band: at most the law's, whatever it says. */
void duty_limit(struct duty *duty, uint32_t limit_us);

/* Microseconds that count against a band now. */
uint32_t duty_spent_us(struct duty *duty, uint32_t band, uint64_t now_us);

/* Microseconds that a band may have in an hour: the law's, or less where the host said so. */
uint32_t duty_budget_us(const struct duty *duty, uint32_t band);

/* Whether a frame may start now. */
bool duty_allows(struct duty *duty, uint32_t band, uint32_t airtime_us, uint64_t now_us);

/* Counts a frame that starts now. Requires that it may. */
void duty_charge(struct duty *duty, uint32_t band, uint32_t airtime_us, uint64_t now_us);

/* When such a frame may start if nothing else is sent: now, the beginning of a minute, or UINT64_MAX for never. */
uint64_t duty_free_at_us(struct duty *duty, uint32_t band, uint32_t airtime_us, uint64_t now_us);

#endif
