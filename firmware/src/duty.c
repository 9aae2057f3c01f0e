#include "duty.h"

/* Moves on to a minute, clearing those that it takes over. */
static void advance(struct duty *duty, uint64_t minute)
{
    for (uint32_t n = 0; n < DUTY_MINUTES && duty->minute + n < minute; n++) {
        const uint32_t taken_over = (uint32_t)((minute - n) % DUTY_MINUTES);
        for (uint32_t band = 0; band < BAND_COUNT; band++) {
            duty->spent_us[taken_over][band] = 0;
        }
    }
    duty->minute = minute > duty->minute ? minute : duty->minute;
}

void duty_start(struct duty *duty, uint64_t now_us, const uint32_t inherited_us[BAND_COUNT])
{
    *duty = (struct duty){.minute = now_us / DUTY_MINUTE_US, .limit_us = DUTY_UNLIMITED_US};
    for (uint32_t band = 0; band < BAND_COUNT; band++) {
        duty->spent_us[duty->minute % DUTY_MINUTES][band] = inherited_us[band];
    }
}

void duty_limit(struct duty *duty, uint32_t limit_us)
{
    duty->limit_us = limit_us;
}

uint32_t duty_spent_us(struct duty *duty, uint32_t band, uint64_t now_us)
{
    uint32_t sum = 0;

    advance(duty, now_us / DUTY_MINUTE_US);
    for (uint32_t minute = 0; minute < DUTY_MINUTES; minute++) {
        sum += duty->spent_us[minute][band];
    }
    return sum;
}

uint32_t duty_budget_us(const struct duty *duty, uint32_t band)
{
    const uint32_t law_us = band_budget_us(band);

    return duty->limit_us < law_us ? duty->limit_us : law_us;
}

bool duty_allows(struct duty *duty, uint32_t band, uint32_t airtime_us, uint64_t now_us)
{
    const uint32_t spent_us = duty_spent_us(duty, band, now_us);
    const uint32_t budget_us = duty_budget_us(duty, band);

    return spent_us <= budget_us && airtime_us <= budget_us - spent_us;
}

void duty_charge(struct duty *duty, uint32_t band, uint32_t airtime_us, uint64_t now_us)
{
    advance(duty, (now_us + airtime_us) / DUTY_MINUTE_US);
    duty->spent_us[duty->minute % DUTY_MINUTES][band] += airtime_us;
}

uint64_t duty_free_at_us(struct duty *duty, uint32_t band, uint32_t airtime_us, uint64_t now_us)
{
    const uint32_t spent_us = duty_spent_us(duty, band, now_us);
    const uint32_t budget_us = duty_budget_us(duty, band);

    if (duty_allows(duty, band, airtime_us, now_us)) {
        return now_us;
    }
    uint64_t over_us = (uint64_t)spent_us + airtime_us - budget_us;
    for (uint64_t minute = duty->minute + 1; minute <= duty->minute + DUTY_MINUTES; minute++) {
        const uint32_t given_back_us = duty->spent_us[minute % DUTY_MINUTES][band];
        if (over_us <= given_back_us) {
            return minute * DUTY_MINUTE_US;
        }
        over_us -= given_back_us;
    }
    return UINT64_MAX;
}
