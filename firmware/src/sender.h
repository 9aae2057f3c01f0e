/* When the next frame leaves: listen, sense, count the airtime, send, and rest.
 *
 * One rule: what a frame costs in airtime is safe in flash before the channel is sensed, and charged before the radio is told to send. */
#ifndef RELAY_SENDER_H
#define RELAY_SENDER_H

#include "node.h"

void sender_start(struct node *node);

/* What the radio said about sensing or sending. */
void sender_told(struct node *node, enum sx1262_event event, uint64_t now_us);

/* Begins to send what is due, and notices a radio that does not come back. */
void sender_step(struct node *node, uint64_t now_us);

/* When it wants to be stepped again. */
uint64_t sender_wake_us(const struct node *node);

/* Whether nothing is being sent or about to be: the time for signatures. */
bool sender_idle(const struct node *node);

/* What this relay says of itself in a packet that it carries. */
struct rmn_hop sender_hop(const struct node *node, uint32_t latency_ms);

/* A number of microseconds below a bound, at random. */
uint64_t sender_jitter_us(struct node *node, uint64_t below_us);

#endif
