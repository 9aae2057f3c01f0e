/* What this relay carried for whom, and its signed word for it. retrieval/radio/proof.py specifies the bytes.
 *
 * One rule: a receipt that was formed is said again, byte for byte, until the host has acknowledged its sequence. */
#ifndef RELAY_RECEIPTS_H
#define RELAY_RECEIPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/packet.h"
#include "identity.h"
#include "lasting.h"

#define RECEIPTS_PENDING_MAX 48u
#define RECEIPT_PACKETS_MAX 6u
#define RECEIPT_HEAD_SIZE 26u
#define RECEIPT_PACKET_SIZE 19u
#define RECEIPT_SIZE_MAX (RECEIPT_HEAD_SIZE + RECEIPT_PACKETS_MAX * RECEIPT_PACKET_SIZE + ED25519_SIGNATURE_SIZE)

struct carried {
    uint8_t origin[RMN_RADIO_ID_SIZE];
    uint8_t hash[RMN_PACKET_HASH_SIZE];
    uint16_t fee_code;
    uint8_t hop;
};

struct receipts {
    struct carried pending[RECEIPTS_PENDING_MAX]; /* the oldest first */
    uint32_t n_pending;
    uint32_t n_formed; /* of the first ones that have the origin of the first: they are in the receipt that was formed */
    uint32_t sequence; /* of that receipt */
    uint32_t time_s;   /* of that receipt */
    uint64_t due_us; /* when there is something to say, if there are pending ones */
};

/* Notes a packet that was sent on. False when an older one was given up for it. */
bool receipts_add(struct receipts *receipts, const struct carried *carried, uint64_t now_us);

/* When there is something to say to the host: a full receipt, one that waited, or one that was not acknowledged. */
uint64_t receipts_wake_us(const struct receipts *receipts);

/* Signs the receipt about the oldest packets of one origin. Returns its size, or 0 when there is nothing to sign, or no number or key for
 * it. time_s is Unix time, or 0 when it is not known. */
uint32_t receipts_say(struct receipts *receipts, struct lasting *lasting, const struct identity *identity, uint32_t time_s, uint64_t now_us,
                      uint8_t out[RECEIPT_SIZE_MAX]);

/* Forgets the packets of the receipt with this sequence. */
void receipts_acknowledge(struct receipts *receipts, uint32_t sequence, uint64_t now_us);

#endif
