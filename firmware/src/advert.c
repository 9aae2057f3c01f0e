#include "advert.h"

#include "commands.h"
#include "core/bytes.h"
#include "link.h"
#include "relay.h"
#include "sender.h"

enum {
    HOP_LIMIT = 3, /* relays beyond are learnt of by the trails of packets */
    VERSION_AND_ROLES = 1 << 4 | 1, /* version 1, a relay */
    BODY_SIZE = 62,
    PAYLOAD_SIZE = BODY_SIZE + ED25519_SIGNATURE_SIZE,
    NEIGHBOURS_A_STEP = 8, /* with so many neighbours more, an advert comes half as often, a third as often, ... */
    FIRST_S = 60,
    EVERY_S = 1800,
    LIVES_TIMES = 3, /* it is believed until so many have failed to come */
    SECOND_US = 1000000,
    BANDWIDTH_BEST = 0xFF,
    CARRIAGE_SIZE = RMN_PACKET_COST_SIZE + RMN_PACKET_TOKEN_SIZE,
};

void advert_start(struct node *node, uint64_t now_us)
{
    node->advert_us = now_us + SECOND_US + sender_jitter_us(node, (uint64_t)FIRST_S * SECOND_US);
}

uint64_t advert_wake_us(const struct node *node)
{
    const bool speaks = node->identity.known && node->lasting.record.settings.carries && !node->raw;

    return speaks ? node->advert_us : UINT64_MAX;
}

static uint32_t every_s(const struct node *node, uint64_t now_us)
{
    const uint32_t n = neighbours_count(&node->neighbours, (uint32_t)(now_us / SECOND_US));

    return EVERY_S * (1 + n / NEIGHBOURS_A_STEP);
}

static uint8_t *put(uint8_t *at, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        at[i] = bytes[i];
    }
    return at + n;
}

/* The immutable part up to the signature: a flood to everyone, without a fee. */
static void write_body(const struct node *node, uint32_t sequence, uint32_t lifetime_min, uint8_t *frame)
{
    const struct lasting_settings *const settings = &node->lasting.record.settings;
    const uint8_t head[] = {RMN_PACKET_VERSION << 4 | RMN_PACKET_ADVERT, HOP_LIMIT << 4, PAYLOAD_SIZE};
    const uint8_t roles = VERSION_AND_ROLES;
    const uint8_t everyone[RMN_RADIO_ID_SIZE] = {0}, no_fee_cap[2] = {0};
    const uint8_t rest[] = {(uint8_t)(lifetime_min >> 8), (uint8_t)lifetime_min, (uint8_t)(settings->fee_code >> 8), (uint8_t)settings->fee_code,
                            0 /* no endpoint */};
    uint8_t number[4];
    uint8_t *at = frame;

    rmn_store_be32(number, sequence);
    at = put(at, head, sizeof head);
    at = put(at, number, sizeof number);
    at = put(at, node->identity.id, RMN_RADIO_ID_SIZE);
    at = put(at, everyone, sizeof everyone);
    at = put(at, no_fee_cap, sizeof no_fee_cap);
    at = put(at, &roles, 1);
    at = put(at, node->identity.public_key, ED25519_KEY_SIZE);
    at = put(at, settings->operator_address, LASTING_OPERATOR_SIZE);
    at = put(at, number, sizeof number);
    put(at, rest, sizeof rest);
}

/* Nobody is owed anything for an advert, so its token may start from zeros. */
static size_t write_advert(const struct node *node, uint32_t sequence, uint32_t lifetime_min, uint8_t *frame)
{
    const uint8_t carriage[CARRIAGE_SIZE] = {0, 0, 0, BANDWIDTH_BEST, RMN_PACKET_SIZE_MAX};
    const size_t signed_size = RMN_PACKET_HEAD_SIZE + BODY_SIZE;

    write_body(node, sequence, lifetime_min, frame);
    ed25519_sign(node->lasting.record.seed, node->identity.public_key, "retrieval/radio-advert/1", frame, signed_size, frame + signed_size);
    put(frame + signed_size + ED25519_SIGNATURE_SIZE, carriage, sizeof carriage);
    return rmn_packet_seal(frame, signed_size + ED25519_SIGNATURE_SIZE + sizeof carriage);
}

void advert_step(struct node *node, uint64_t now_us)
{
    const uint32_t interval_s = every_s(node, now_us);
    uint8_t frame[RMN_PACKET_SIZE_MAX];
    uint32_t sequence = 0;

    if (now_us < advert_wake_us(node)) {
        return;
    }
    node->advert_us = now_us + (uint64_t)interval_s * SECOND_US + sender_jitter_us(node, (uint64_t)interval_s * SECOND_US / 4);
    if (lasting_take_sequence(&node->lasting, now_us, &sequence)) {
        const size_t size = write_advert(node, sequence, interval_s * LIVES_TIMES / 60, frame);
        relay_send(node, frame, size, now_us);
        link_put(node->board, COMMAND_DATA, frame, size); /* who claims what we are owed shows it, and cannot hear us */
    }
}
