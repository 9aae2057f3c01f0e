#include "routing.h"

enum { HOLDS = 40 }; /* one part in so many of the budget, 2.5 % */

#define LEAK_US UINT64_C(48000000000) /* an hour divided by 7.5 %: in so many microseconds the whole budget leaks */

/* Microseconds for one microsecond of airtime to leak away. */
static uint64_t leak_us(uint32_t budget_us)
{
    return (LEAK_US + budget_us - 1) / budget_us;
}

static void leak(struct routing *routing, uint32_t budget_us, uint64_t now_us)
{
    const uint64_t leaked_us = (now_us - routing->at_us) / leak_us(budget_us);

    if (leaked_us >= routing->debt_us) {
        *routing = (struct routing){.at_us = now_us};
        return;
    }
    routing->debt_us -= leaked_us;
    routing->at_us += leaked_us * leak_us(budget_us); /* what did not make a whole microsecond counts next time */
}

uint64_t routing_free_at_us(struct routing *routing, uint32_t budget_us, uint32_t airtime_us, uint64_t now_us)
{
    if (budget_us == 0) {
        return UINT64_MAX;
    }
    leak(routing, budget_us, now_us);
    const uint64_t wanted_us = routing->debt_us + airtime_us;
    /* A bucket that is empty takes one advert of any length, or a narrow band would never know anybody. */
    if (wanted_us <= budget_us / HOLDS || routing->debt_us == 0) {
        return now_us;
    }
    const uint64_t over_us = wanted_us - budget_us / HOLDS;
    return now_us + (over_us < routing->debt_us ? over_us : routing->debt_us) * leak_us(budget_us);
}

void routing_charge(struct routing *routing, uint32_t budget_us, uint32_t airtime_us, uint64_t now_us)
{
    leak(routing, budget_us, now_us);
    routing->debt_us += airtime_us;
}
