/* The radio's frame: what an origin fixed, what relays write behind it, and how it is refused. retrieval/radio specifies it.
 *
 *   immutable   version << 4 | type, hop limit << 4 | flags, payload size, packet id (4), origin (8), destination (8), fee cap code (2), payload
 *   relays'     hops, latency code (2), bandwidth code, MTU, token (8), trail of relay tag (4) and fee code (2), CRC-16 over all before it
 *
 * The functions work on the frame as it lies, so that a relay needs no second copy of it. */
#ifndef RMN_PACKET_H
#define RMN_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RMN_PACKET_VERSION 1u
#define RMN_PACKET_HEAD_SIZE 25u
#define RMN_PACKET_COST_SIZE 5u
#define RMN_PACKET_TOKEN_SIZE 8u
#define RMN_PACKET_ENTRY_SIZE 6u
#define RMN_PACKET_CRC_SIZE 2u
#define RMN_PACKET_OVERHEAD (RMN_PACKET_HEAD_SIZE + RMN_PACKET_COST_SIZE + RMN_PACKET_TOKEN_SIZE + RMN_PACKET_CRC_SIZE)
#define RMN_PACKET_SIZE_MAX 255u
#define RMN_PACKET_HOPS_MAX 8u
#define RMN_RADIO_ID_SIZE 8u
#define RMN_RELAY_TAG_SIZE 4u
#define RMN_PACKET_HASH_SIZE 16u

enum rmn_packet_type {
    RMN_PACKET_ADVERT = 1,
    RMN_PACKET_WANT = 2,
    RMN_PACKET_QUOTE = 3,
    RMN_PACKET_VOUCHER = 4,
    RMN_PACKET_RECEIPT = 5,
    RMN_PACKET_FRAGMENT = 6,
    RMN_PACKET_ACK = 7,
    RMN_PACKET_RECORD = 8,
};

/* Why bytes are no packet; of several reasons the one with the lowest number. Shared with Python. */
enum rmn_packet_verdict {
    RMN_PACKET_OK = 0,
    RMN_PACKET_BAD_SIZE = 1,
    RMN_PACKET_BAD_CRC = 2,
    RMN_PACKET_BAD_VERSION = 3,
    RMN_PACKET_BAD_TYPE = 4,
    RMN_PACKET_BAD_FLAGS = 5,
    RMN_PACKET_BAD_PAYLOAD = 6,
    RMN_PACKET_BAD_HOPS = 7,
    RMN_PACKET_BAD_LENGTH = 8,
    RMN_PACKET_BAD_DESTINATION = 9,
    RMN_PACKET_BAD_FEE_CAP = 10,
};

/* Whether a relay carries a packet on; of several reasons against it the one with the lowest number. Shared with Python. */
enum rmn_carriage {
    RMN_CARRIED = 0,
    RMN_CARRY_OWN = 1,
    RMN_CARRY_ARRIVED = 2,
    RMN_CARRY_HOPS_SPENT = 3,
    RMN_CARRY_NOT_NEXT = 4,
    RMN_CARRY_OVER_CAP = 5,
    RMN_CARRY_ABOVE_MTU = 6,
};

/* What a relay says of itself when it carries a packet on. */
struct rmn_hop {
    uint8_t relay[RMN_RADIO_ID_SIZE];
    uint16_t fee_code;
    uint8_t mtu;
    uint32_t latency_ms; /* from the end of the frame that came to the end of the one that leaves */
    uint32_t bandwidth_bps;
};

/* Whether bytes are a packet. All functions below require that they are. */
enum rmn_packet_verdict rmn_packet_check(const uint8_t *frame, size_t size);

enum rmn_packet_type rmn_packet_type(const uint8_t *frame);

/* Whether it goes along a way that the origin chose, rather than to whoever hears it. */
bool rmn_packet_direct(const uint8_t *frame);

/* Whether its type is carried without a fee. */
bool rmn_packet_free(const uint8_t *frame);

uint32_t rmn_packet_hop_limit(const uint8_t *frame);
uint32_t rmn_packet_hops(const uint8_t *frame);
const uint8_t *rmn_packet_origin(const uint8_t *frame);      /* 8 bytes */
const uint8_t *rmn_packet_destination(const uint8_t *frame); /* 8 bytes */

/* Whether it is for whoever hears it. */
bool rmn_packet_for_everyone(const uint8_t *frame);

/* Entry n of the trail: tag (4) and fee code (2). Requires n below the hops of a flood, or the hop limit of a direct packet. */
const uint8_t *rmn_packet_entry(const uint8_t *frame, uint32_t n);

/* The tag of who sent it last: a relay, or its origin. */
const uint8_t *rmn_packet_sender(const uint8_t *frame);

/* What the trail asks in all: in a flood what carried it so far, in a direct packet the whole way. */
uint64_t rmn_packet_price(const uint8_t *frame);

/* The first 16 bytes of SHA-256 over the immutable part: what identifies the packet on its whole way. */
void rmn_packet_hash(const uint8_t *frame, uint8_t hash[RMN_PACKET_HASH_SIZE]);

/* Whether this relay carries this packet on; duplicates are not looked at. */
enum rmn_carriage rmn_packet_carriage(const uint8_t *frame, size_t size, const struct rmn_hop *hop);

/* Turns the packet into what this relay sends, and returns its size. Requires RMN_CARRIED, its hash, and room for one more entry. */
size_t rmn_packet_carry(uint8_t *frame, size_t size, const struct rmn_hop *hop, const uint8_t hash[RMN_PACKET_HASH_SIZE]);

/* Writes the CRC behind `size` bytes and returns the size with it. */
size_t rmn_packet_seal(uint8_t *frame, size_t size);

#endif
