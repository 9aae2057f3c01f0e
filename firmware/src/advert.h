/* Saying who this relay is, whom its fees are owed to, and what it asks. retrieval/radio/advert.py specifies the bytes.
 *
 * One rule: the denser the air, the rarer. */
#ifndef RELAY_ADVERT_H
#define RELAY_ADVERT_H

#include "node.h"

/* Plans the first one, some seconds after the radio went on, so that relays that got power together do not speak together. */
void advert_start(struct node *node, uint64_t now_us);

/* When one is due; UINT64_MAX when none will be. */
uint64_t advert_wake_us(const struct node *node);

/* Queues one if it is due. Signs, so it belongs where nothing waits. */
void advert_step(struct node *node, uint64_t now_us);

#endif
