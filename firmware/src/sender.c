#include "sender.h"

#include "band.h"
#include "core/code.h"

enum {
    SLOT_SYMBOLS = 12, /* of waiting: as RNodes count it, between 24 and 100 ms */
    SLOT_MIN_US = 24000,
    SLOT_MAX_US = 100000,
    BUSY_DOUBLINGS_MAX = 4,
    REST_SLOTS = 4,
    SENSE_SYMBOLS = 16, /* until sensing, which takes 4, has failed */
    MARGIN_US = 200000,
    SENT_MAX = 3, /* times that a record is sent before the next relay must have been heard carrying it on */
    SENT_FRAGMENT_MAX = 2,
    ECHO_AIRTIMES = 4, /* the next relay waits, senses, and sends as much again */
    ECHO_US = 1000000,
    AFFORD_US = 10000000,   /* until a frame that could not be afforded is looked at again */
    NO_FLASH_US = 60000000, /* until a promise that the flash did not take is tried again */
};

static void count(struct node *node, enum counter counter)
{
    node->lasting.record.counters[counter] += 1;
}

static uint32_t slot_us(const struct node *node)
{
    const uint32_t slot = SLOT_SYMBOLS * rmn_symbol_us(&node->radio.channel.modulation);

    return slot < SLOT_MIN_US ? SLOT_MIN_US : slot > SLOT_MAX_US ? SLOT_MAX_US : slot;
}

static uint32_t band(const struct node *node)
{
    return band_of(node->radio.channel.frequency_hz, node->radio.channel.modulation.bandwidth_hz);
}

uint64_t sender_jitter_us(struct node *node, uint64_t below_us)
{
    return (uint64_t)hal_entropy(node->board) * (below_us >> 8) >> 24;
}

void sender_start(struct node *node)
{
    node->sender = (struct sender){.place = QUEUE_NONE, .hears_us = UINT64_MAX};
}

bool sender_idle(const struct node *node)
{
    return node->sender.place == QUEUE_NONE;
}

/* Airtime of a frame as it will leave, with this relay's entry in a flood. */
static uint32_t airtime_us(const struct node *node, const struct queued *queued)
{
    const bool grows = queued->carry && !rmn_packet_direct(queued->frame);

    return channel_airtime_us(&node->radio.channel, queued->size + (grows ? RMN_PACKET_ENTRY_SIZE : 0u));
}

static void drop(struct node *node, struct queued *queued)
{
    queued->state = QUEUED_EMPTY;
    count(node, COUNT_DROPPED);
}

/* Whether a frame is coming in; what looks like one for longer than the longest frame was none. */
static bool hears(struct node *node, uint64_t now_us)
{
    const uint64_t since_us = node->sender.hears_us;
    const bool stale = since_us != UINT64_MAX && now_us - since_us > channel_airtime_us(&node->radio.channel, RMN_AIR_FRAME_SIZE_MAX);

    if (!sx1262_hears(&node->radio, stale) || stale) {
        node->sender.hears_us = UINT64_MAX;
        return false;
    }
    if (since_us == UINT64_MAX) {
        node->sender.hears_us = now_us;
    }
    return true;
}

/* Whether the law, the host and the share of routing allow the frame now. If not, it becomes due when they will. */
static bool affordable(struct node *node, struct queued *queued, uint64_t now_us)
{
    const uint32_t cost_us = airtime_us(node, queued);
    uint64_t free_us = duty_free_at_us(&node->duty, band(node), cost_us, now_us);

    if (free_us > now_us) {
        count(node, COUNT_DUTY_WAITS);
    } else if (!queued->raw && rmn_packet_type(queued->frame) == RMN_PACKET_ADVERT) {
        free_us = routing_free_at_us(&node->routing, duty_budget_us(&node->duty, band(node)), cost_us, now_us);
    }
    /* Asked again before that: the host may let go of a limit of its own. */
    queued->due_us = free_us < now_us + AFFORD_US ? free_us : now_us + AFFORD_US;
    return free_us <= now_us;
}

static bool promise(struct node *node, const struct queued *queued, uint64_t now_us)
{
    const uint32_t spent_us = duty_spent_us(&node->duty, band(node), now_us) + airtime_us(node, queued);

    if (lasting_reserve_airtime(&node->lasting, band(node), spent_us, duty_budget_us(&node->duty, band(node)), now_us)) {
        return true;
    }
    node->sender.rest_us = now_us + NO_FLASH_US;
    return false;
}

static void begin(struct node *node, uint64_t now_us)
{
    uint32_t place = queue_next(&node->queue, now_us);

    /* What cannot be afforded is not due any more, so that this ends. */
    while (place != QUEUE_NONE && !affordable(node, &node->queue.places[place], now_us)) {
        place = queue_next(&node->queue, now_us);
    }
    if (place == QUEUE_NONE) {
        return;
    }
    if (hears(node, now_us)) {
        node->sender.rest_us = now_us + slot_us(node);
        return;
    }
    if (!promise(node, &node->queue.places[place], now_us)) {
        return;
    }
    node->sender.place = place;
    node->sender.limit_us = now_us + (uint64_t)SENSE_SYMBOLS * rmn_symbol_us(&node->radio.channel.modulation) + MARGIN_US;
    sx1262_sense(&node->radio);
}

struct rmn_hop sender_hop(const struct node *node, uint32_t latency_ms)
{
    struct rmn_hop hop = {
        .fee_code = node->lasting.record.settings.fee_code,
        .mtu = RMN_PACKET_SIZE_MAX,
        .latency_ms = latency_ms,
    };

    /* What the air carries, times the share of an hour that it may be used: bits a second that can be relied on. */
    if (band(node) != BAND_NONE) {
        hop.bandwidth_bps = channel_bps(&node->radio.channel) * (duty_budget_us(&node->duty, band(node)) / 360000u) / 10000u;
    }
    for (uint32_t i = 0; i < RMN_RADIO_ID_SIZE; i++) {
        hop.relay[i] = node->identity.id[i];
    }
    return hop;
}

/* Writes this relay into the frame. False when it may no longer be carried: the fee has changed, or it was carried in the meantime. */
static bool carry(struct node *node, struct queued *queued, uint64_t now_us)
{
    const uint64_t latency_us = now_us - queued->came_us + airtime_us(node, queued);
    const struct rmn_hop hop = sender_hop(node, (uint32_t)(latency_us / 1000));

    if (rmn_packet_carriage(queued->frame, queued->size, &hop) != RMN_CARRIED) {
        return false;
    }
    queued->size = (uint8_t)rmn_packet_carry(queued->frame, queued->size, &hop, queued->hash);
    queued->carry = false;
    queued->carried = true;
    return true;
}

/* The channel is free. Time has passed since the frame was chosen, so what it costs is asked again. */
static void transmit(struct node *node, uint64_t now_us)
{
    struct queued *const queued = &node->queue.places[node->sender.place];
    const uint32_t cost_us = airtime_us(node, queued);

    if (!duty_allows(&node->duty, band(node), cost_us, now_us)
        || duty_spent_us(&node->duty, band(node), now_us) + cost_us > node->lasting.record.reserved_us[band(node)]) {
        node->sender.place = QUEUE_NONE;
        sx1262_listen(&node->radio);
        return;
    }
    if (queued->carry && !carry(node, queued, now_us)) {
        drop(node, queued);
        node->sender.place = QUEUE_NONE;
        sx1262_listen(&node->radio);
        return;
    }
    duty_charge(&node->duty, band(node), cost_us, now_us);
    if (!queued->raw && rmn_packet_type(queued->frame) == RMN_PACKET_ADVERT) {
        routing_charge(&node->routing, duty_budget_us(&node->duty, band(node)), cost_us, now_us);
    }
    node->sender.limit_us = now_us + cost_us + MARGIN_US;
    queued->n_sent = (uint8_t)(queued->n_sent + 1);
    sx1262_send(&node->radio, queued->frame, queued->size);
}

static void back_off(struct node *node, uint64_t now_us)
{
    struct sender *const sender = &node->sender;
    const uint32_t doublings = sender->n_busy < BUSY_DOUBLINGS_MAX ? sender->n_busy : BUSY_DOUBLINGS_MAX;

    count(node, COUNT_CHANNEL_BUSY);
    sender->place = QUEUE_NONE;
    sender->n_busy += 1;
    sender->rest_us = now_us + slot_us(node) + sender_jitter_us(node, (uint64_t)slot_us(node) << (2 + doublings));
}

/* Whether the next relay will be heard carrying it on. */
static bool echoes(const struct queued *queued)
{
    const bool fragment = rmn_packet_type(queued->frame) == RMN_PACKET_FRAGMENT;

    return rmn_packet_direct(queued->frame) && rmn_packet_hops(queued->frame) < rmn_packet_hop_limit(queued->frame)
           && queued->n_sent < (fragment ? SENT_FRAGMENT_MAX : SENT_MAX);
}

static void note_carried(struct node *node, struct queued *queued, uint64_t now_us)
{
    const uint32_t hop = rmn_packet_hops(queued->frame) - 1;
    const uint8_t *const entry = rmn_packet_entry(queued->frame, hop);
    struct carried carried = {.fee_code = (uint16_t)(entry[4] << 8 | entry[5]), .hop = (uint8_t)hop};

    queued->carried = false;
    count(node, COUNT_CARRIED);
    for (uint32_t i = 0; i < RMN_RADIO_ID_SIZE; i++) {
        carried.origin[i] = rmn_packet_origin(queued->frame)[i];
    }
    for (uint32_t i = 0; i < RMN_PACKET_HASH_SIZE; i++) {
        carried.hash[i] = queued->hash[i];
    }
    if (!rmn_packet_free(queued->frame) && !receipts_add(&node->receipts, &carried, now_us)) {
        count(node, COUNT_RECEIPTS_LOST);
    }
}

static void sent(struct node *node, struct queued *queued, uint64_t now_us)
{
    count(node, queued->n_sent == 1 ? COUNT_SENT : COUNT_SENT_AGAIN);
    queue_left(&node->queue, queued->priority);
    queued->state = QUEUED_EMPTY;
    if (queued->raw) {
        return;
    }
    if (queued->n_sent == 1) {
        seen_mark(&node->seen, queued->hash, queued->price_code, (uint32_t)(now_us / 1000000));
    }
    if (queued->carried) {
        note_carried(node, queued, now_us);
    }
    if (echoes(queued)) {
        queued->state = QUEUED_KEPT;
        queued->due_us = now_us + (uint64_t)ECHO_AIRTIMES * airtime_us(node, queued) + ECHO_US + sender_jitter_us(node, ECHO_US);
    }
}

void sender_told(struct node *node, enum sx1262_event event, uint64_t now_us)
{
    struct sender *const sender = &node->sender;

    if (sender->place == QUEUE_NONE) {
        return;
    }
    struct queued *const queued = &node->queue.places[sender->place];
    if (event == SX1262_CHANNEL_BUSY) {
        back_off(node, now_us);
        return;
    }
    if (event == SX1262_CHANNEL_FREE) {
        transmit(node, now_us);
        return;
    }
    if (event == SX1262_SENT) {
        sent(node, queued, now_us);
    } else {
        drop(node, queued);
        count(node, COUNT_SEND_FAILED);
    }
    sender->place = QUEUE_NONE;
    sender->n_busy = 0;
    sender->rest_us = now_us + sender_jitter_us(node, (uint64_t)REST_SLOTS * slot_us(node));
}

void sender_step(struct node *node, uint64_t now_us)
{
    struct sender *const sender = &node->sender;

    for (uint32_t n = queue_expire(&node->queue, now_us, sender->place); n > 0; n--) {
        count(node, COUNT_DROPPED);
    }
    if (sender->place != QUEUE_NONE) {
        if (now_us >= sender->limit_us || node->radio.mode == SX1262_FAILED) {
            node->radio.mode = SX1262_FAILED;
            sender_told(node, SX1262_TIMED_OUT, now_us);
        }
        return;
    }
    if (node->radio.mode == SX1262_LISTENING && now_us >= sender->rest_us) {
        begin(node, now_us);
    }
}

uint64_t sender_wake_us(const struct node *node)
{
    const struct sender *const sender = &node->sender;

    if (sender->place != QUEUE_NONE) {
        return sender->limit_us;
    }
    const uint64_t deadline_us = queue_deadline_us(&node->queue);
    if (node->radio.mode != SX1262_LISTENING) {
        return deadline_us;
    }
    const uint64_t due_us = queue_due_us(&node->queue);
    const uint64_t begin_us = due_us < sender->rest_us ? sender->rest_us : due_us;
    return begin_us < deadline_us ? begin_us : deadline_us;
}
