#include "node.h"

#include "advert.h"
#include "host.h"
#include "relay.h"
#include "sender.h"

enum {
    EVENTS_MAX = 16, /* of the radio, before it is somebody else's turn */
    FAILURE_DOUBLINGS_MAX = 6,
};

#define CHECK_US 60000000u  /* between two looks at a radio that says nothing */
#define RESTART_US 1000000u /* until a radio that failed is started again; doubled each time */

static void count(struct node *node, enum counter counter)
{
    node->lasting.record.counters[counter] += 1;
}

static struct channel channel_in_force(const struct node *node)
{
    const struct lasting_settings *const settings = &node->lasting.record.settings;
    struct channel channel = channel_default();

    channel.frequency_hz = settings->frequency_hz;
    channel.modulation.bandwidth_hz = settings->bandwidth_hz;
    channel.modulation.spreading_factor = settings->spreading_factor;
    channel.modulation.coding_rate = settings->coding_rate;
    channel.power_dbm = settings->power_dbm;
    return channel;
}

static uint64_t earlier(uint64_t a_us, uint64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

/* Whatever was being sent is over: its airtime stays charged. */
static bool start_radio(struct node *node, uint64_t now_us)
{
    const struct channel channel = channel_in_force(node);

    sender_told(node, SX1262_TIMED_OUT, now_us);
    if (sx1262_start(&node->radio, &channel)) {
        node->radio_check_us = now_us + CHECK_US;
        node->n_radio_failed = 0;
        return true;
    }
    count(node, COUNT_RADIO_FAILED);
    node->radio_check_us = now_us + ((uint64_t)RESTART_US << node->n_radio_failed);
    node->n_radio_failed += node->n_radio_failed < FAILURE_DOUBLINGS_MAX ? 1 : 0;
    return false;
}

bool node_apply_radio(struct node *node, uint64_t now_us)
{
    if (!node->lasting.record.settings.radio_on) {
        sender_told(node, SX1262_TIMED_OUT, now_us);
        sx1262_stop(&node->radio);
        return true;
    }
    if (!start_radio(node, now_us)) {
        return false;
    }
    if (!node->identity.known) {
        identity_start(&node->identity, &node->lasting, &node->radio, now_us);
    }
    return true;
}

/* A device without a key listens for a moment to make one, also where its radio is to stay off: listening is free everywhere. */
void node_start(struct node *node, struct board *board)
{
    const uint64_t now_us = hal_now_us(board);
    uint32_t inherited_us[BAND_COUNT];

    *node = (struct node){.board = board, .radio = {.board = board}};
    lasting_start(&node->lasting, board, now_us);
    for (uint32_t band = 0; band < BAND_COUNT; band++) {
        inherited_us[band] = node->lasting.record.reserved_us[band];
    }
    duty_start(&node->duty, now_us, inherited_us);
    sender_start(node);
    if (node->lasting.record.settings.radio_on || !node->lasting.record.has_seed) {
        start_radio(node, now_us);
    }
    identity_start(&node->identity, &node->lasting, &node->radio, now_us);
    if (!node->lasting.record.settings.radio_on) {
        sx1262_stop(&node->radio);
    }
    advert_start(node, now_us);
}

void node_host(struct node *node, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t size = rmn_kiss_take(&node->kiss, bytes[i], node->host_frame, NODE_HOST_FRAME_MAX);
        if (size > 0) {
            host_handle(node, node->host_frame, size, hal_now_us(node->board));
        }
    }
}

static void hear(struct node *node)
{
    for (uint32_t n = 0; n < EVENTS_MAX; n++) {
        const enum sx1262_event event = sx1262_poll(&node->radio, &node->reception);
        const uint64_t now_us = hal_now_us(node->board);

        if (event == SX1262_NOTHING) {
            return;
        }
        node->sender.hears_us = UINT64_MAX;
        if (event == SX1262_RECEIVED) {
            relay_heard(node, now_us);
        } else if (event == SX1262_GARBLED) {
            count(node, COUNT_GARBLED);
        } else {
            sender_told(node, event, now_us);
        }
    }
}

/* A radio that failed is started again, and one that is silent is asked now and then whether it is still there. */
static void supervise(struct node *node, uint64_t now_us)
{
    const bool failed = node->radio.mode == SX1262_FAILED;

    if (!node->lasting.record.settings.radio_on || (now_us < node->radio_check_us && !(failed && node->n_radio_failed == 0))) {
        return;
    }
    if (failed || (node->radio.mode == SX1262_LISTENING && !sx1262_alive(&node->radio))) {
        node_apply_radio(node, now_us);
        return;
    }
    node->radio_check_us = now_us + CHECK_US;
}

/* What takes long, while nothing waits for it. */
static void sign(struct node *node, uint64_t now_us)
{
    if (!sender_idle(node) || node->radio.mode != SX1262_LISTENING) {
        return;
    }
    advert_step(node, now_us);
    if (now_us >= receipts_wake_us(&node->receipts)) {
        host_say_receipt(node, now_us);
    }
}

uint64_t node_step(struct node *node)
{
    hear(node);
    supervise(node, hal_now_us(node->board));
    sign(node, hal_now_us(node->board));
    sender_step(node, hal_now_us(node->board));
    const uint64_t now_us = hal_now_us(node->board);
    uint64_t wake_us = earlier(sender_wake_us(node), lasting_tend(&node->lasting, now_us));
    if (node->lasting.record.settings.radio_on) {
        wake_us = earlier(wake_us, node->radio_check_us);
    }
    if (sender_idle(node) && node->radio.mode == SX1262_LISTENING) {
        wake_us = earlier(wake_us, earlier(receipts_wake_us(&node->receipts), advert_wake_us(node)));
    }
    return wake_us;
}
