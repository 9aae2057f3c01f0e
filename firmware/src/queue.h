/* Frames that wait to be sent, and control records that wait to be heard going on.
 *
 * One rule: by priority, of one priority the older first, nothing beyond its deadline; but the lowest priority gets every tenth frame that
 * leaves, if one of it waits. */
#ifndef RELAY_QUEUE_H
#define RELAY_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/packet.h"

#define QUEUE_MAX 8u
#define QUEUE_NONE QUEUE_MAX
#define QUEUE_PRIORITY_LOWEST 3u
#define QUEUE_FLOOR 10u /* one of so many frames is of the lowest priority */

enum queued_state {
    QUEUED_EMPTY = 0,
    QUEUED_WAITING, /* to be sent at due_us or later */
    QUEUED_KEPT,    /* sent; to be sent again at due_us unless the next relay is heard carrying it on */
};

struct queued {
    uint8_t frame[RMN_PACKET_SIZE_MAX];
    uint8_t size;
    uint8_t hash[RMN_PACKET_HASH_SIZE];
    enum queued_state state;
    bool carry;          /* this relay still has to write itself into it: it does so when it sends it */
    bool carried;        /* it has, and no receipt is about it yet */
    bool raw;            /* bytes of another protocol: no packet */
    bool faint;          /* a flood that came over a link which loses frames */
    uint8_t priority;
    uint8_t n_sent;
    uint8_t n_heard;     /* copies heard while it waited */
    uint16_t price_code; /* that it came with */
    uint64_t came_us;
    uint64_t due_us;
    uint64_t deadline_us;
};

struct queue {
    struct queued places[QUEUE_MAX];
    uint32_t n_since_lowest; /* frames that left since one of the lowest priority did */
};

/* The priority of a type, and how long it is worth sending; retrieval/radio has the table. */
uint8_t queue_priority(enum rmn_packet_type type);
uint32_t queue_deadline_s(enum rmn_packet_type type);

/* A place for a frame of this priority, emptied: a free one, or the youngest of the lowest priority below it. QUEUE_NONE when there is none.
 * *evicted tells whether a frame was lost for it. A place that is being sent is `held`. */
uint32_t queue_make_room(struct queue *queue, uint8_t priority, uint32_t held, bool *evicted);

/* The frame that leaves next, of those that are due. */
uint32_t queue_next(const struct queue *queue, uint64_t now_us);

/* Tells that a frame of this priority left. */
void queue_left(struct queue *queue, uint8_t priority);

/* Empties the places beyond their deadline, but the held one; returns how many were still waiting. */
uint32_t queue_expire(struct queue *queue, uint64_t now_us, uint32_t held);

/* The place of the packet with this hash, whatever its state. */
uint32_t queue_find(const struct queue *queue, const uint8_t *hash);

/* The earliest time at which a place is due, and at which one expires; UINT64_MAX when all are empty. */
uint64_t queue_due_us(const struct queue *queue);
uint64_t queue_deadline_us(const struct queue *queue);

#endif
