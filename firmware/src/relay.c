#include "relay.h"

#include "commands.h"
#include "core/bytes.h"
#include "core/code.h"
#include "link.h"
#include "sender.h"

enum {
    HEARD_MAX = 2, /* others that were heard sending it on make our copy of a flood worthless */
    RSSI_OFFSET = 157,
    SPREAD_NEIGHBOURS_MAX = 8,
    SNR_LIMIT_SF7_QUARTER_DB = -30, /* -7.5 dB, and 2.5 dB less for each step of the spreading factor: what can be demodulated */
    SNR_LIMIT_STEP_QUARTER_DB = 10,
    FAINT_QUARTER_DB = 20, /* above that limit: with less margin every few frames get lost */
    FAINT_AIRTIMES = 40,   /* that a faint flood waits for a copy over a better link */
    HEARD_FAINT_MAX = 1,
    RAW_TYPE = 0,
};

static void count(struct node *node, enum counter counter)
{
    node->lasting.record.counters[counter] += 1;
}

static uint16_t price_code(const uint8_t *frame)
{
    return rmn_code16_up(rmn_packet_price(frame));
}

static void hand_up(struct node *node)
{
    const struct sx1262_reception *const reception = &node->reception;

    link_put_byte(node->board, COMMAND_RSSI, (uint8_t)(reception->rssi_dbm + RSSI_OFFSET));
    link_put_byte(node->board, COMMAND_SNR, (uint8_t)reception->snr_quarter_db);
    link_put(node->board, COMMAND_DATA, reception->frame, reception->size);
}

/* Puts a frame into an emptied place, to leave in `delay_us`. */
static void fill(struct node *node, uint32_t place, const uint8_t *frame, size_t size, uint64_t now_us, uint64_t delay_us)
{
    struct queued *const queued = &node->queue.places[place];
    const enum rmn_packet_type type = node->raw ? (enum rmn_packet_type)RAW_TYPE : rmn_packet_type(frame);

    *queued = (struct queued){
        .size = (uint8_t)size,
        .state = QUEUED_WAITING,
        .raw = node->raw,
        .priority = queue_priority(type),
        .came_us = now_us,
        .due_us = now_us + delay_us,
        .deadline_us = now_us + (uint64_t)queue_deadline_s(type) * 1000000,
    };
    for (size_t i = 0; i < size; i++) {
        queued->frame[i] = frame[i];
    }
    if (!node->raw) {
        rmn_packet_hash(frame, queued->hash);
        queued->price_code = price_code(frame);
    }
}

static uint32_t make_room(struct node *node, uint8_t priority)
{
    bool evicted = false;
    const uint32_t place = queue_make_room(&node->queue, priority, node->sender.place, &evicted);

    if (evicted || place == QUEUE_NONE) {
        count(node, COUNT_DROPPED);
    }
    return place;
}

/* A flood that came over a link near its limit. What it finds would be answered over that link, and each frame of the answer sent twice: so
 * ways are made of better links wherever there are some. */
static bool is_faint(const struct node *node)
{
    const int steps = (int)node->radio.channel.modulation.spreading_factor - 7;
    const int limit = SNR_LIMIT_SF7_QUARTER_DB - SNR_LIMIT_STEP_QUARTER_DB * steps;

    return !rmn_packet_direct(node->reception.frame) && node->reception.snr_quarter_db < limit + FAINT_QUARTER_DB;
}

/* Floods wait a while at random, longer where more relays might send at once; direct packets have one relay to wait for. */
static uint64_t delay_us(struct node *node, bool faint, uint64_t now_us)
{
    const uint32_t n = neighbours_count(&node->neighbours, (uint32_t)(now_us / 1000000));
    const uint32_t airtime_us = channel_airtime_us(&node->radio.channel, node->reception.size);

    if (rmn_packet_direct(node->reception.frame)) {
        return 0;
    }
    return (faint ? (uint64_t)airtime_us * FAINT_AIRTIMES : 0)
           + sender_jitter_us(node, (uint64_t)airtime_us * (2 + (n < SPREAD_NEIGHBOURS_MAX ? n : SPREAD_NEIGHBOURS_MAX)) / 2);
}

/* The packet is in the queue already. The next relay's copy of a direct one tells that it went on; a copy of a flood over a better link, or a
 * cheaper one over a link as good, takes its place; and of a flood that others were heard sending on often enough ours is not needed. */
static void heard_again(struct node *node, uint32_t place, uint64_t now_us)
{
    struct queued *const queued = &node->queue.places[place];
    const uint8_t *const frame = node->reception.frame;

    count(node, COUNT_DUPLICATE);
    if (place == node->sender.place) {
        return;
    }
    if (rmn_packet_direct(frame)) {
        if (rmn_packet_hops(frame) > rmn_packet_hops(queued->frame)) {
            queued->state = QUEUED_EMPTY;
        }
        return;
    }
    if (!queued->carry) {
        return;
    }
    const bool faint = is_faint(node);
    if (queued->faint && !faint) {
        fill(node, place, frame, node->reception.size, now_us, delay_us(node, false, now_us));
        queued->carry = true;
        return;
    }
    if (queued->faint == faint && price_code(frame) < queued->price_code) {
        const uint64_t due_us = queued->due_us;
        fill(node, place, frame, node->reception.size, now_us, 0);
        queued->carry = true;
        queued->faint = faint;
        queued->due_us = due_us;
        return;
    }
    queued->n_heard = (uint8_t)(queued->n_heard + 1);
    if (queued->n_heard >= (queued->faint ? HEARD_FAINT_MAX : HEARD_MAX)) {
        queued->state = QUEUED_EMPTY;
    }
}

static bool concerns_host(const struct node *node, const uint8_t *frame)
{
    const uint8_t *const host = node->lasting.record.settings.host_id;

    return rmn_equal(rmn_packet_origin(frame), host, RMN_RADIO_ID_SIZE)
           || (!rmn_packet_for_everyone(frame) && rmn_equal(rmn_packet_destination(frame), host, RMN_RADIO_ID_SIZE));
}

static void carry_on(struct node *node, const uint8_t *hash, uint64_t now_us)
{
    const uint8_t *const frame = node->reception.frame;
    const struct rmn_hop hop = sender_hop(node, 0);
    const enum rmn_carriage carriage = rmn_packet_carriage(frame, node->reception.size, &hop);

    if (carriage == RMN_CARRY_OVER_CAP) {
        count(node, COUNT_OVER_CAP);
    } else if (carriage == RMN_CARRY_HOPS_SPENT) {
        count(node, COUNT_HOPS_SPENT);
    }
    if (carriage != RMN_CARRIED) {
        return;
    }
    if (!seen_allows(&node->seen, hash, price_code(frame), rmn_packet_direct(frame), (uint32_t)(now_us / 1000000))) {
        count(node, COUNT_DUPLICATE);
        return;
    }
    const uint32_t place = make_room(node, queue_priority(rmn_packet_type(frame)));
    if (place != QUEUE_NONE) {
        fill(node, place, frame, node->reception.size, now_us, delay_us(node, is_faint(node), now_us));
        node->queue.places[place].carry = true;
        node->queue.places[place].faint = is_faint(node);
    }
}

void relay_heard(struct node *node, uint64_t now_us)
{
    const struct sx1262_reception *const reception = &node->reception;
    uint8_t hash[RMN_PACKET_HASH_SIZE];

    count(node, COUNT_RECEIVED);
    if (node->raw) {
        hand_up(node);
        return;
    }
    if (rmn_packet_check(reception->frame, reception->size) != RMN_PACKET_OK) {
        count(node, COUNT_NOT_OURS);
        return;
    }
    hand_up(node);
    neighbours_heard(&node->neighbours, rmn_packet_sender(reception->frame), reception->rssi_dbm, reception->snr_quarter_db,
                     (uint32_t)(now_us / 1000000));
    rmn_packet_hash(reception->frame, hash);
    const uint32_t place = queue_find(&node->queue, hash);
    if (place != QUEUE_NONE) {
        heard_again(node, place, now_us);
    } else if (node->identity.known && node->lasting.record.settings.carries && !concerns_host(node, reception->frame)) {
        carry_on(node, hash, now_us);
    }
}

enum relay_refusal relay_send(struct node *node, const uint8_t *frame, size_t size, uint64_t now_us)
{
    if (!node->raw && rmn_packet_check(frame, size) != RMN_PACKET_OK) {
        return RELAY_NO_PACKET;
    }
    if (!node->lasting.record.settings.radio_on) {
        return RELAY_OFF;
    }
    const uint32_t place = make_room(node, queue_priority(node->raw ? (enum rmn_packet_type)RAW_TYPE : rmn_packet_type(frame)));
    if (place == QUEUE_NONE) {
        return RELAY_FULL;
    }
    fill(node, place, frame, size, now_us, 0);
    return RELAY_TAKEN;
}
