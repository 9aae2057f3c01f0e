#include "packet.h"

#include "bytes.h"
#include "code.h"
#include "crc16.h"
#include "sha256.h"

/* Where the fields lie: those of relays count from the end of the payload. */
enum {
    ORIGIN_AT = 7,
    DESTINATION_AT = 15,
    FEE_CAP_AT = 23,
    HOPS_AT = 0,
    LATENCY_AT = 1,
    BANDWIDTH_AT = 3,
    MTU_AT = 4,
    TOKEN_AT = 5,
    TRAIL_AT = 13,
    ENTRY_FEE_AT = 4,
    FLAG_DIRECT = 1,
};

/* Carried without a fee: an advert is how a relay is found, and receipts are how it is paid. */
#define FREE_TYPES (1u << RMN_PACKET_ADVERT | 1u << RMN_PACKET_RECEIPT | 1u << RMN_PACKET_ACK)

static uint16_t load_be16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static void store_be16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void copy(uint8_t *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = in[i];
    }
}

static size_t immutable_size(const uint8_t *frame)
{
    return RMN_PACKET_HEAD_SIZE + frame[2];
}

static uint32_t n_entries(const uint8_t *frame)
{
    return rmn_packet_direct(frame) ? rmn_packet_hop_limit(frame) : rmn_packet_hops(frame);
}

static bool nobody(const uint8_t *id)
{
    uint8_t any = 0;

    for (size_t i = 0; i < RMN_RADIO_ID_SIZE; i++) {
        any |= id[i];
    }
    return any == 0;
}

enum rmn_packet_type rmn_packet_type(const uint8_t *frame)
{
    return (enum rmn_packet_type)(frame[0] & 0x0F);
}

bool rmn_packet_direct(const uint8_t *frame)
{
    return (frame[1] & FLAG_DIRECT) != 0;
}

bool rmn_packet_free(const uint8_t *frame)
{
    return (FREE_TYPES >> (frame[0] & 0x0F) & 1) != 0;
}

uint32_t rmn_packet_hop_limit(const uint8_t *frame)
{
    return frame[1] >> 4;
}

uint32_t rmn_packet_hops(const uint8_t *frame)
{
    return frame[immutable_size(frame) + HOPS_AT];
}

const uint8_t *rmn_packet_origin(const uint8_t *frame)
{
    return frame + ORIGIN_AT;
}

const uint8_t *rmn_packet_destination(const uint8_t *frame)
{
    return frame + DESTINATION_AT;
}

bool rmn_packet_for_everyone(const uint8_t *frame)
{
    return nobody(frame + DESTINATION_AT);
}

enum rmn_packet_verdict rmn_packet_check(const uint8_t *frame, size_t size)
{
    if (size < RMN_PACKET_OVERHEAD || size > RMN_PACKET_SIZE_MAX) {
        return RMN_PACKET_BAD_SIZE;
    }
    if (rmn_crc16(RMN_CRC16_START, frame, size - RMN_PACKET_CRC_SIZE) != load_be16(frame + size - RMN_PACKET_CRC_SIZE)) {
        return RMN_PACKET_BAD_CRC;
    }
    if (frame[0] >> 4 != RMN_PACKET_VERSION) {
        return RMN_PACKET_BAD_VERSION;
    }
    if (rmn_packet_type(frame) < RMN_PACKET_ADVERT || rmn_packet_type(frame) > RMN_PACKET_RECORD) {
        return RMN_PACKET_BAD_TYPE;
    }
    const size_t hop_limit = rmn_packet_hop_limit(frame);
    if (hop_limit > RMN_PACKET_HOPS_MAX || (frame[1] & 0x0F & ~FLAG_DIRECT) != 0) {
        return RMN_PACKET_BAD_FLAGS;
    }
    /* With a trail of hop_limit entries the frame must still fit. */
    if (frame[2] > RMN_PACKET_SIZE_MAX - RMN_PACKET_OVERHEAD - RMN_PACKET_ENTRY_SIZE * hop_limit
        || RMN_PACKET_OVERHEAD + frame[2] > size) {
        return RMN_PACKET_BAD_PAYLOAD;
    }
    if (rmn_packet_hops(frame) > hop_limit) {
        return RMN_PACKET_BAD_HOPS;
    }
    if (size != RMN_PACKET_OVERHEAD + frame[2] + RMN_PACKET_ENTRY_SIZE * n_entries(frame)) {
        return RMN_PACKET_BAD_LENGTH;
    }
    if (rmn_packet_direct(frame) && rmn_packet_for_everyone(frame)) {
        return RMN_PACKET_BAD_DESTINATION;
    }
    if (rmn_packet_free(frame) && load_be16(frame + FEE_CAP_AT) != 0) {
        return RMN_PACKET_BAD_FEE_CAP;
    }
    return RMN_PACKET_OK;
}

const uint8_t *rmn_packet_entry(const uint8_t *frame, uint32_t n)
{
    return frame + immutable_size(frame) + TRAIL_AT + (size_t)n * RMN_PACKET_ENTRY_SIZE;
}

const uint8_t *rmn_packet_sender(const uint8_t *frame)
{
    const uint32_t hops = rmn_packet_hops(frame);

    return hops == 0 ? rmn_packet_origin(frame) : rmn_packet_entry(frame, hops - 1);
}

uint64_t rmn_packet_price(const uint8_t *frame)
{
    uint64_t sum = 0;

    for (uint32_t n = 0; n < n_entries(frame); n++) {
        sum += rmn_value_of_code16(load_be16(rmn_packet_entry(frame, n) + ENTRY_FEE_AT));
    }
    return sum;
}

void rmn_packet_hash(const uint8_t *frame, uint8_t hash[RMN_PACKET_HASH_SIZE])
{
    uint8_t digest[RMN_SHA256_SIZE];

    rmn_sha256(RMN_SHA256_PLAIN, frame, immutable_size(frame), digest);
    copy(hash, digest, RMN_PACKET_HASH_SIZE);
}

/* In a flood, whether our fee would go above the cap; in a direct packet, whether the origin offers less than our fee, or in all more than
 * its cap. */
static bool asked_too_much(const uint8_t *frame, const struct rmn_hop *hop)
{
    const uint64_t cap = rmn_value_of_code16(load_be16(frame + FEE_CAP_AT));
    const uint64_t price = rmn_packet_price(frame);
    const uint64_t fee = rmn_value_of_code16(hop->fee_code);

    if (rmn_packet_direct(frame)) {
        return rmn_value_of_code16(load_be16(rmn_packet_entry(frame, rmn_packet_hops(frame)) + ENTRY_FEE_AT)) < fee || price > cap;
    }
    return price + fee > cap;
}

enum rmn_carriage rmn_packet_carriage(const uint8_t *frame, size_t size, const struct rmn_hop *hop)
{
    if (rmn_equal(rmn_packet_origin(frame), hop->relay, RMN_RADIO_ID_SIZE)) {
        return RMN_CARRY_OWN;
    }
    if (rmn_equal(rmn_packet_destination(frame), hop->relay, RMN_RADIO_ID_SIZE)) {
        return RMN_CARRY_ARRIVED;
    }
    if (rmn_packet_hops(frame) >= rmn_packet_hop_limit(frame)) {
        return RMN_CARRY_HOPS_SPENT;
    }
    if (rmn_packet_direct(frame) && !rmn_equal(rmn_packet_entry(frame, rmn_packet_hops(frame)), hop->relay, RMN_RELAY_TAG_SIZE)) {
        return RMN_CARRY_NOT_NEXT;
    }
    if (!rmn_packet_free(frame) && asked_too_much(frame, hop)) {
        return RMN_CARRY_OVER_CAP;
    }
    if (size + (rmn_packet_direct(frame) ? 0 : RMN_PACKET_ENTRY_SIZE) > hop->mtu) {
        return RMN_CARRY_ABOVE_MTU;
    }
    return RMN_CARRIED;
}

/* The token behind a relay: the hash of the one before it, the packet, the relay and its fee. */
static void next_token(uint8_t *token, const uint8_t *hash, const uint8_t *relay, const uint8_t *fee_code)
{
    uint8_t said[RMN_PACKET_TOKEN_SIZE + RMN_PACKET_HASH_SIZE + RMN_RADIO_ID_SIZE + 2];
    uint8_t digest[RMN_SHA256_SIZE];

    copy(said, token, RMN_PACKET_TOKEN_SIZE);
    copy(said + RMN_PACKET_TOKEN_SIZE, hash, RMN_PACKET_HASH_SIZE);
    copy(said + RMN_PACKET_TOKEN_SIZE + RMN_PACKET_HASH_SIZE, relay, RMN_RADIO_ID_SIZE);
    copy(said + sizeof said - 2, fee_code, 2);
    rmn_sha256(RMN_SHA256_PLAIN, said, sizeof said, digest);
    copy(token, digest, RMN_PACKET_TOKEN_SIZE);
}

size_t rmn_packet_seal(uint8_t *frame, size_t size)
{
    store_be16(frame + size, rmn_crc16(RMN_CRC16_START, frame, size));
    return size + RMN_PACKET_CRC_SIZE;
}

size_t rmn_packet_carry(uint8_t *frame, size_t size, const struct rmn_hop *hop, const uint8_t hash[RMN_PACKET_HASH_SIZE])
{
    uint8_t *const cost = frame + immutable_size(frame);
    uint8_t *const entry = cost + TRAIL_AT + (size_t)cost[HOPS_AT] * RMN_PACKET_ENTRY_SIZE;
    const uint8_t bandwidth_code = rmn_code8_down(hop->bandwidth_bps);

    size -= RMN_PACKET_CRC_SIZE;
    if (!rmn_packet_direct(frame)) {
        copy(entry, hop->relay, RMN_RELAY_TAG_SIZE);
        store_be16(entry + ENTRY_FEE_AT, hop->fee_code);
        size += RMN_PACKET_ENTRY_SIZE;
    }
    next_token(cost + TOKEN_AT, hash, hop->relay, entry + ENTRY_FEE_AT);
    cost[HOPS_AT] = (uint8_t)(cost[HOPS_AT] + 1);
    store_be16(cost + LATENCY_AT, rmn_code16_up(rmn_value_of_code16(load_be16(cost + LATENCY_AT)) + hop->latency_ms));
    if (bandwidth_code < cost[BANDWIDTH_AT]) {
        cost[BANDWIDTH_AT] = bandwidth_code;
    }
    if (hop->mtu < cost[MTU_AT]) {
        cost[MTU_AT] = hop->mtu;
    }
    return rmn_packet_seal(frame, size);
}
