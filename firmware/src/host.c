#include "host.h"

#include "band.h"
#include "commands.h"
#include "core/airtime.h"
#include "core/bytes.h"
#include "link.h"
#include "relay.h"

enum {
    TERMS_SIZE = 1 + 2 + LASTING_OPERATOR_SIZE,
    NEIGHBOUR_SIZE = RMN_RELAY_TAG_SIZE + 4,
    WHOLE = 10000, /* RNodes say shares in hundredths of a per cent */
};

static uint32_t counter(const struct node *node, enum counter which)
{
    return node->lasting.record.counters[which];
}

static uint16_t load_be16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static void copy(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = in[i];
    }
}

static struct channel channel_of(const struct lasting_settings *settings)
{
    return (struct channel){
        .frequency_hz = settings->frequency_hz,
        .modulation =
            {
                .bandwidth_hz = settings->bandwidth_hz,
                .spreading_factor = settings->spreading_factor,
                .coding_rate = settings->coding_rate,
                .preamble = CHANNEL_PREAMBLE,
            },
        .power_dbm = settings->power_dbm,
    };
}

/* Takes settings over if they are allowed as a whole. While the radio is off they need not fit each other yet: hosts set one after the other. */
static void set(struct node *node, const struct lasting_settings *wanted, uint64_t now_us)
{
    const struct channel channel = channel_of(wanted);

    if (wanted->radio_on && !channel_allowed(&channel)) {
        return;
    }
    node->lasting.record.settings = *wanted;
    node->lasting.dirty = true;
    if (wanted->radio_on) {
        node_apply_radio(node, now_us);
    }
}

static void on_frequency(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    struct lasting_settings wanted = node->lasting.record.settings;

    if (size == 4 && band_of(rmn_load_be32(data), 0) != BAND_NONE) {
        wanted.frequency_hz = rmn_load_be32(data);
        set(node, &wanted, now_us);
    }
    link_put_word(node->board, COMMAND_FREQUENCY, node->lasting.record.settings.frequency_hz);
}

static void on_bandwidth(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    struct lasting_settings wanted = node->lasting.record.settings;

    if (size == 4 && rmn_chip_us(rmn_load_be32(data)) != 0) {
        wanted.bandwidth_hz = rmn_load_be32(data);
        set(node, &wanted, now_us);
    }
    link_put_word(node->board, COMMAND_BANDWIDTH, node->lasting.record.settings.bandwidth_hz);
}

static void on_power(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    struct lasting_settings wanted = node->lasting.record.settings;

    if (size == 1 && (int8_t)data[0] >= CHANNEL_POWER_MIN_DBM && (int8_t)data[0] <= CHANNEL_POWER_MAX_DBM) {
        wanted.power_dbm = (int8_t)data[0];
        set(node, &wanted, now_us);
    }
    link_put_byte(node->board, COMMAND_POWER, (uint8_t)node->lasting.record.settings.power_dbm);
}

static void on_spreading_factor(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    struct lasting_settings wanted = node->lasting.record.settings;

    if (size == 1 && data[0] >= RMN_SPREADING_FACTOR_MIN && data[0] <= RMN_SPREADING_FACTOR_MAX) {
        wanted.spreading_factor = data[0];
        set(node, &wanted, now_us);
    }
    link_put_byte(node->board, COMMAND_SPREADING_FACTOR, node->lasting.record.settings.spreading_factor);
}

static void on_coding_rate(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    struct lasting_settings wanted = node->lasting.record.settings;

    if (size == 1 && data[0] >= RMN_CODING_RATE_MIN && data[0] <= RMN_CODING_RATE_MAX) {
        wanted.coding_rate = data[0];
        set(node, &wanted, now_us);
    }
    link_put_byte(node->board, COMMAND_CODING_RATE, node->lasting.record.settings.coding_rate);
}

static void on_radio_state(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    struct lasting_settings *const settings = &node->lasting.record.settings;

    if (size == 1 && data[0] <= 1 && settings->radio_on != (data[0] == 1)) {
        const struct channel channel = channel_of(settings);
        const bool on = data[0] == 1 && channel_allowed(&channel);

        node->lasting.dirty = node->lasting.dirty || on != settings->radio_on;
        settings->radio_on = on;
        if ((data[0] == 1 && !on) || !node_apply_radio(node, now_us)) {
            link_put_byte(node->board, COMMAND_ERROR, ERROR_RADIO);
        }
    }
    link_put_byte(node->board, COMMAND_RADIO_STATE, settings->radio_on ? 1 : 0);
}

/* In hundredths of a per cent of every hour, 0 for none of the host's own. */
static void on_airtime_long(struct node *node, const uint8_t *data, size_t size)
{
    struct duty *const duty = &node->duty;

    if (size == 2) {
        const uint32_t per_10000 = load_be16(data);
        duty_limit(duty, per_10000 == 0 || per_10000 >= WHOLE ? DUTY_UNLIMITED_US : per_10000 * (BAND_HOUR_US / WHOLE));
    }
    const uint32_t in_force = duty->limit_us == DUTY_UNLIMITED_US ? 0 : duty->limit_us / (BAND_HOUR_US / WHOLE);
    const uint8_t answer[] = {(uint8_t)(in_force >> 8), (uint8_t)in_force};
    link_put(node->board, COMMAND_AIRTIME_LONG, answer, sizeof answer);
}

/* There is no limit over some seconds, and never was: so says the answer. */
static void on_airtime_short(struct node *node)
{
    const uint8_t none[] = {0, 0};

    link_put(node->board, COMMAND_AIRTIME_SHORT, none, sizeof none);
}

static void refuse(struct node *node, uint8_t command, uint8_t reason)
{
    const uint8_t refusal[] = {command, reason};

    link_put(node->board, COMMAND_REFUSED, refusal, sizeof refusal);
}

static void on_data(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    const enum relay_refusal refusal = size == 0 || size > RMN_PACKET_SIZE_MAX ? RELAY_NO_PACKET : relay_send(node, data, size, now_us);

    if (refusal != RELAY_TAKEN) {
        refuse(node, COMMAND_DATA, (uint8_t)refusal);
    }
    link_put_byte(node->board, COMMAND_READY, 1);
}

static void on_detect(struct node *node, const uint8_t *data, size_t size)
{
    if (size == 1 && data[0] == DETECT_ASK) {
        link_put_byte(node->board, COMMAND_DETECT, DETECT_ANSWER);
    }
}

static void on_n_received(struct node *node)
{
    link_put_word(node->board, COMMAND_N_RECEIVED, counter(node, COUNT_RECEIVED));
}

static void on_n_sent(struct node *node)
{
    link_put_word(node->board, COMMAND_N_SENT, counter(node, COUNT_SENT));
}

static void on_random(struct node *node)
{
    link_put_byte(node->board, COMMAND_RANDOM, (uint8_t)hal_entropy(node->board));
}

static void on_platform(struct node *node)
{
    link_put_byte(node->board, COMMAND_PLATFORM, PLATFORM_ESP32);
}

static void on_mcu(struct node *node)
{
    link_put_byte(node->board, COMMAND_MCU, MCU_ESP32);
}

static void on_version(struct node *node)
{
    const uint8_t version[] = {VERSION_MAJOR, VERSION_MINOR};

    link_put(node->board, COMMAND_VERSION, version, sizeof version);
}

static void on_identity(struct node *node)
{
    link_put(node->board, COMMAND_IDENTITY, node->identity.public_key, node->identity.known ? ED25519_KEY_SIZE : 0);
}

static void on_host_id(struct node *node, const uint8_t *data, size_t size)
{
    struct lasting_settings *const settings = &node->lasting.record.settings;

    if (size == LASTING_ID_SIZE && !rmn_equal(settings->host_id, data, LASTING_ID_SIZE)) {
        copy(settings->host_id, data, LASTING_ID_SIZE);
        node->lasting.dirty = true;
    }
    link_put(node->board, COMMAND_HOST_ID, settings->host_id, LASTING_ID_SIZE);
}

static void on_terms(struct node *node, const uint8_t *data, size_t size)
{
    struct lasting_settings *const settings = &node->lasting.record.settings;
    uint8_t answer[TERMS_SIZE];

    if (size == TERMS_SIZE && data[0] <= 1) {
        settings->carries = data[0] == 1;
        settings->fee_code = load_be16(data + 1);
        copy(settings->operator_address, data + 3, LASTING_OPERATOR_SIZE);
        node->lasting.dirty = true;
    }
    answer[0] = settings->carries ? 1 : 0;
    answer[1] = (uint8_t)(settings->fee_code >> 8);
    answer[2] = (uint8_t)settings->fee_code;
    copy(answer + 3, settings->operator_address, LASTING_OPERATOR_SIZE);
    link_put(node->board, COMMAND_TERMS, answer, sizeof answer);
}

static void on_counters(struct node *node)
{
    uint8_t answer[4 * COUNTERS];

    for (uint32_t i = 0; i < COUNTERS; i++) {
        rmn_store_be32(answer + 4 * (size_t)i, node->lasting.record.counters[i]);
    }
    link_put(node->board, COMMAND_COUNTERS, answer, sizeof answer);
}

void host_say_receipt(struct node *node, uint64_t now_us)
{
    uint8_t receipt[RECEIPT_SIZE_MAX];
    const uint32_t since_s = (uint32_t)((now_us - node->time_at_us) / 1000000);
    const bool new = node->receipts.n_formed == 0;
    const uint32_t size = receipts_say(&node->receipts, &node->lasting, &node->identity, node->time_s == 0 ? 0 : node->time_s + since_s, now_us,
                                       receipt);

    node->lasting.record.counters[COUNT_RECEIPTS] += new && size > 0 ? 1 : 0;
    link_put(node->board, COMMAND_RECEIPT, receipt, size);
}

/* With a sequence: that receipt is safe with the host. Then, or without one, the next is said; an empty one when there is none. */
static void on_receipt(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    if (size == 4) {
        receipts_acknowledge(&node->receipts, rmn_load_be32(data), now_us);
        return;
    }
    host_say_receipt(node, now_us);
}

static void on_raw(struct node *node, const uint8_t *data, size_t size)
{
    if (size == 1 && data[0] <= 1) {
        node->raw = data[0] == 1;
    }
    link_put_byte(node->board, COMMAND_RAW, node->raw ? 1 : 0);
}

static void on_duty(struct node *node, uint64_t now_us)
{
    uint8_t answer[8 * BAND_COUNT];

    for (uint32_t band = 0; band < BAND_COUNT; band++) {
        rmn_store_be32(answer + 8 * (size_t)band, duty_spent_us(&node->duty, band, now_us));
        rmn_store_be32(answer + 8 * (size_t)band + 4, duty_budget_us(&node->duty, band));
    }
    link_put(node->board, COMMAND_DUTY, answer, sizeof answer);
}

static void on_clock(struct node *node, const uint8_t *data, size_t size, uint64_t now_us)
{
    if (size == 4) {
        node->time_s = rmn_load_be32(data);
        node->time_at_us = now_us;
    }
    link_put_word(node->board, COMMAND_CLOCK, node->time_s == 0 ? 0 : node->time_s + (uint32_t)((now_us - node->time_at_us) / 1000000));
}

static void on_neighbours(struct node *node, uint64_t now_us)
{
    uint8_t answer[NEIGHBOURS_MAX * NEIGHBOUR_SIZE];
    uint8_t *at = answer;

    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        const struct neighbour *const neighbour = &node->neighbours.places[i];
        if (neighbour->heard_s == 0) {
            continue;
        }
        const uint32_t minutes = ((uint32_t)(now_us / 1000000) + 1 - neighbour->heard_s) / 60;
        const uint32_t age = minutes < UINT16_MAX ? minutes : UINT16_MAX;
        copy(at, neighbour->tag, RMN_RELAY_TAG_SIZE);
        at[4] = (uint8_t)(neighbour->rssi_dbm + 157);
        at[5] = (uint8_t)neighbour->snr_quarter_db;
        at[6] = (uint8_t)(age >> 8);
        at[7] = (uint8_t)age;
        at += NEIGHBOUR_SIZE;
    }
    link_put(node->board, COMMAND_NEIGHBOURS, answer, (size_t)(at - answer));
}

/* A switch rather than a table of pointers, so that the deepest stack can be told from the call graph. */
void host_handle(struct node *node, const uint8_t *frame, size_t size, uint64_t now_us)
{
    const uint8_t *const data = frame + 1;
    const size_t n = size - 1;

    switch (frame[0]) {
    case COMMAND_DATA:
        on_data(node, data, n, now_us);
        break;
    case COMMAND_FREQUENCY:
        on_frequency(node, data, n, now_us);
        break;
    case COMMAND_BANDWIDTH:
        on_bandwidth(node, data, n, now_us);
        break;
    case COMMAND_POWER:
        on_power(node, data, n, now_us);
        break;
    case COMMAND_SPREADING_FACTOR:
        on_spreading_factor(node, data, n, now_us);
        break;
    case COMMAND_CODING_RATE:
        on_coding_rate(node, data, n, now_us);
        break;
    case COMMAND_RADIO_STATE:
        on_radio_state(node, data, n, now_us);
        break;
    case COMMAND_DETECT:
        on_detect(node, data, n);
        break;
    case COMMAND_LEAVE: /* a relay goes on without its host */
        break;
    case COMMAND_AIRTIME_SHORT:
        on_airtime_short(node);
        break;
    case COMMAND_AIRTIME_LONG:
        on_airtime_long(node, data, n);
        break;
    case COMMAND_N_RECEIVED:
        on_n_received(node);
        break;
    case COMMAND_N_SENT:
        on_n_sent(node);
        break;
    case COMMAND_RANDOM:
        on_random(node);
        break;
    case COMMAND_PLATFORM:
        on_platform(node);
        break;
    case COMMAND_MCU:
        on_mcu(node);
        break;
    case COMMAND_VERSION:
        on_version(node);
        break;
    case COMMAND_IDENTITY:
        on_identity(node);
        break;
    case COMMAND_HOST_ID:
        on_host_id(node, data, n);
        break;
    case COMMAND_TERMS:
        on_terms(node, data, n);
        break;
    case COMMAND_COUNTERS:
        on_counters(node);
        break;
    case COMMAND_RECEIPT:
        on_receipt(node, data, n, now_us);
        break;
    case COMMAND_RAW:
        on_raw(node, data, n);
        break;
    case COMMAND_DUTY:
        on_duty(node, now_us);
        break;
    case COMMAND_CLOCK:
        on_clock(node, data, n, now_us);
        break;
    case COMMAND_NEIGHBOURS:
        on_neighbours(node, now_us);
        break;
    default:
        refuse(node, frame[0], REFUSED_UNKNOWN);
        break;
    }
}
