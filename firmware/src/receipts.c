#include "receipts.h"

#include "core/bytes.h"

enum { KIND_RELAY = 0x12 };

#define GATHER_US 60000000u /* a receipt waits so long for more packets of its origin */
#define AGAIN_US 30000000u  /* until one that was not acknowledged is said again */

static uint8_t *put(uint8_t *at, const uint8_t *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        at[i] = bytes[i];
    }
    return at + n;
}

static bool same_origin(const struct carried *a, const struct carried *b)
{
    return rmn_equal(a->origin, b->origin, RMN_RADIO_ID_SIZE);
}

/* Takes out the first n packets of the first one's origin; the others move up. */
static void remove_first(struct receipts *receipts, uint32_t n)
{
    const struct carried first = receipts->pending[0];
    uint32_t n_kept = 0;

    for (uint32_t i = 0; i < receipts->n_pending; i++) {
        if (n > 0 && same_origin(&receipts->pending[i], &first)) {
            n--;
        } else {
            receipts->pending[n_kept++] = receipts->pending[i];
        }
    }
    receipts->n_pending = n_kept;
}

static uint32_t n_of_first_origin(const struct receipts *receipts)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < receipts->n_pending && n < RECEIPT_PACKETS_MAX; i++) {
        n += same_origin(&receipts->pending[i], &receipts->pending[0]) ? 1 : 0;
    }
    return n;
}

/* A full list gives up its oldest packet, unless that is in a receipt that the host may already have: then what came last. */
bool receipts_add(struct receipts *receipts, const struct carried *carried, uint64_t now_us)
{
    const bool full = receipts->n_pending == RECEIPTS_PENDING_MAX;

    if (full && receipts->n_formed > 0) {
        return false;
    }
    if (full) {
        remove_first(receipts, 1);
    }
    if (receipts->n_pending == 0) {
        receipts->due_us = now_us + GATHER_US;
    }
    receipts->pending[receipts->n_pending++] = *carried;
    if (receipts->n_formed == 0 && n_of_first_origin(receipts) == RECEIPT_PACKETS_MAX && receipts->due_us > now_us) {
        receipts->due_us = now_us;
    }
    return !full;
}

uint64_t receipts_wake_us(const struct receipts *receipts)
{
    return receipts->n_pending == 0 ? UINT64_MAX : receipts->due_us;
}

/* Fixes which packets the next receipt is about, its number and its time. */
static bool form(struct receipts *receipts, struct lasting *lasting, uint32_t time_s, uint64_t now_us)
{
    if (receipts->n_formed > 0) {
        return true;
    }
    if (receipts->n_pending == 0 || !lasting_take_sequence(lasting, now_us, &receipts->sequence)) {
        return false;
    }
    receipts->n_formed = n_of_first_origin(receipts);
    receipts->time_s = time_s;
    return true;
}

/* The bytes to sign. */
static uint32_t encode(const struct receipts *receipts, const struct identity *identity, uint8_t *out)
{
    const uint8_t kind = KIND_RELAY;
    const uint8_t n_formed = (uint8_t)receipts->n_formed;
    uint32_t n = receipts->n_formed;
    uint8_t *at = put(out, &kind, 1);

    at = put(at, identity->id, RMN_RADIO_ID_SIZE);
    at = put(at, receipts->pending[0].origin, RMN_RADIO_ID_SIZE);
    rmn_store_be32(at, receipts->sequence);
    rmn_store_be32(at + 4, receipts->time_s);
    at = put(at + 8, &n_formed, 1);
    for (uint32_t i = 0; n > 0; i++) {
        const struct carried *const carried = &receipts->pending[i];
        if (!same_origin(carried, &receipts->pending[0])) {
            continue;
        }
        const uint8_t rest[] = {(uint8_t)(carried->fee_code >> 8), (uint8_t)carried->fee_code, carried->hop};
        at = put(put(at, carried->hash, RMN_PACKET_HASH_SIZE), rest, sizeof rest);
        n--;
    }
    return (uint32_t)(at - out);
}

uint32_t receipts_say(struct receipts *receipts, struct lasting *lasting, const struct identity *identity, uint32_t time_s, uint64_t now_us,
                      uint8_t out[RECEIPT_SIZE_MAX])
{
    receipts->due_us = now_us + AGAIN_US;
    if (!identity->known || !form(receipts, lasting, time_s, now_us)) {
        return 0;
    }
    const uint32_t size = encode(receipts, identity, out);
    ed25519_sign(lasting->record.seed, identity->public_key, "retrieval/radio-relay/1", out, size, out + size);
    return size + ED25519_SIGNATURE_SIZE;
}

void receipts_acknowledge(struct receipts *receipts, uint32_t sequence, uint64_t now_us)
{
    if (receipts->n_formed == 0 || sequence != receipts->sequence) {
        return;
    }
    remove_first(receipts, receipts->n_formed);
    receipts->n_formed = 0;
    receipts->due_us = n_of_first_origin(receipts) == RECEIPT_PACKETS_MAX ? now_us : now_us + GATHER_US;
}
