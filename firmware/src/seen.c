#include "seen.h"

#include "core/bytes.h"

static bool fresh(const struct seen_packet *packet, uint32_t now_s)
{
    return packet->n_carried > 0 && now_s - packet->at_s < SEEN_S;
}

/* The place of a packet that is still remembered, or SEEN_MAX. */
static uint32_t find(const struct seen *seen, const uint8_t *hash, uint32_t now_s)
{
    for (uint32_t i = 0; i < SEEN_MAX; i++) {
        if (fresh(&seen->packets[i], now_s) && rmn_equal(seen->packets[i].hash, hash, SEEN_HASH_SIZE)) {
            return i;
        }
    }
    return SEEN_MAX;
}

bool seen_allows(const struct seen *seen, const uint8_t *hash, uint16_t price_code, bool direct, uint32_t now_s)
{
    const uint32_t place = find(seen, hash, now_s);

    if (place == SEEN_MAX) {
        return true;
    }
    return !direct && price_code < seen->packets[place].price_code && seen->packets[place].n_carried < SEEN_CARRIED_MAX;
}

void seen_mark(struct seen *seen, const uint8_t *hash, uint16_t price_code, uint32_t now_s)
{
    uint32_t place = find(seen, hash, now_s);

    if (place == SEEN_MAX) {
        place = seen->oldest;
        seen->oldest = (seen->oldest + 1) % SEEN_MAX;
        seen->packets[place] = (struct seen_packet){.price_code = price_code};
        for (uint32_t i = 0; i < SEEN_HASH_SIZE; i++) {
            seen->packets[place].hash[i] = hash[i];
        }
    }
    struct seen_packet *const packet = &seen->packets[place];
    packet->at_s = now_s;
    packet->n_carried = (uint8_t)(packet->n_carried + 1);
    if (price_code < packet->price_code) {
        packet->price_code = price_code;
    }
}
