/* What share of the airtime adverts may take, ours and those of others: a tenth of the budget in any hour, so that a mesh that is large does
 * not spend itself on being known. */
#ifndef RELAY_ROUTING_H
#define RELAY_ROUTING_H

#include <stdint.h>

/* A bucket that leaks 7.5 % of the budget an hour and holds 2.5 %: together never more than a tenth of an hour's budget. */
struct routing {
    uint64_t debt_us;
    uint64_t at_us; /* when it last leaked */
};

/* When an advert of this airtime may leave: now, or later. UINT64_MAX without any budget. */
uint64_t routing_free_at_us(struct routing *routing, uint32_t budget_us, uint32_t airtime_us, uint64_t now_us);

void routing_charge(struct routing *routing, uint32_t budget_us, uint32_t airtime_us, uint64_t now_us);

#endif
