#include "queue.h"

#include "core/bytes.h"

/* By type; type 0 stands for frames of other protocols. */
static const struct {
    uint8_t priority;
    uint16_t deadline_s;
} TYPES[] = {
    [0] = {1, 60},
    [RMN_PACKET_ADVERT] = {QUEUE_PRIORITY_LOWEST, 300},
    [RMN_PACKET_WANT] = {2, 30},
    [RMN_PACKET_QUOTE] = {2, 30},
    [RMN_PACKET_VOUCHER] = {1, 60},
    [RMN_PACKET_RECEIPT] = {1, 120},
    [RMN_PACKET_FRAGMENT] = {3, 120},
    [RMN_PACKET_ACK] = {0, 20},
    [RMN_PACKET_RECORD] = {2, 60},
};

uint8_t queue_priority(enum rmn_packet_type type)
{
    return TYPES[type].priority;
}

uint32_t queue_deadline_s(enum rmn_packet_type type)
{
    return TYPES[type].deadline_s;
}

/* Whether a is worth less than b: of a lower priority, or of the same and younger. */
static bool worth_less(const struct queued *a, const struct queued *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->came_us > b->came_us;
}

/* Kept copies go first: they have been sent once. */
static uint32_t worst(const struct queue *queue, uint32_t held)
{
    uint32_t found = QUEUE_NONE;

    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        const struct queued *const place = &queue->places[i];
        if (i == held) {
            continue;
        }
        if (found == QUEUE_NONE || (place->state == QUEUED_KEPT && queue->places[found].state != QUEUED_KEPT)
            || (place->state == queue->places[found].state && worth_less(place, &queue->places[found]))) {
            found = i;
        }
    }
    return found;
}

uint32_t queue_make_room(struct queue *queue, uint8_t priority, uint32_t held, bool *evicted)
{
    *evicted = false;
    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        if (queue->places[i].state == QUEUED_EMPTY) {
            return i;
        }
    }
    const uint32_t place = worst(queue, held);
    if (queue->places[place].state != QUEUED_KEPT && queue->places[place].priority <= priority) {
        return QUEUE_NONE;
    }
    *evicted = true;
    queue->places[place].state = QUEUED_EMPTY;
    return place;
}

uint32_t queue_next(const struct queue *queue, uint64_t now_us)
{
    const bool floor = queue->n_since_lowest >= QUEUE_FLOOR - 1;
    uint32_t best = QUEUE_NONE;

    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        const struct queued *const place = &queue->places[i];
        if (place->state == QUEUED_EMPTY || place->due_us > now_us) {
            continue;
        }
        const bool lowest = place->priority == QUEUE_PRIORITY_LOWEST;
        const bool best_lowest = best != QUEUE_NONE && queue->places[best].priority == QUEUE_PRIORITY_LOWEST;
        if (best == QUEUE_NONE || (floor && lowest != best_lowest ? lowest : worth_less(&queue->places[best], place))) {
            best = i;
        }
    }
    return best;
}

void queue_left(struct queue *queue, uint8_t priority)
{
    queue->n_since_lowest = priority == QUEUE_PRIORITY_LOWEST ? 0 : queue->n_since_lowest + 1;
}

uint32_t queue_expire(struct queue *queue, uint64_t now_us, uint32_t held)
{
    uint32_t n_lost = 0;

    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        struct queued *const place = &queue->places[i];
        if (i != held && place->state != QUEUED_EMPTY && now_us >= place->deadline_us) {
            n_lost += place->state == QUEUED_WAITING ? 1 : 0;
            place->state = QUEUED_EMPTY;
        }
    }
    return n_lost;
}

uint32_t queue_find(const struct queue *queue, const uint8_t *hash)
{
    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        const struct queued *const place = &queue->places[i];
        if (place->state != QUEUED_EMPTY && !place->raw && rmn_equal(place->hash, hash, RMN_PACKET_HASH_SIZE)) {
            return i;
        }
    }
    return QUEUE_NONE;
}

uint64_t queue_due_us(const struct queue *queue)
{
    uint64_t due_us = UINT64_MAX;

    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        const struct queued *const place = &queue->places[i];
        if (place->state != QUEUED_EMPTY && place->due_us < due_us) {
            due_us = place->due_us;
        }
    }
    return due_us;
}

uint64_t queue_deadline_us(const struct queue *queue)
{
    uint64_t deadline_us = UINT64_MAX;

    for (uint32_t i = 0; i < QUEUE_MAX; i++) {
        const struct queued *const place = &queue->places[i];
        if (place->state != QUEUED_EMPTY && place->deadline_us < deadline_us) {
            deadline_us = place->deadline_us;
        }
    }
    return deadline_us;
}
