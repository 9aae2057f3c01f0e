/* What this relay has sent on: a packet that was only heard, or refused, is not in here.
 *
 * One rule: a copy over a dear way must not block the cheap one. So a flood is carried again when it comes cheaper than ever before. */
#ifndef RELAY_SEEN_H
#define RELAY_SEEN_H

#include <stdbool.h>
#include <stdint.h>

#define SEEN_MAX 128u
#define SEEN_HASH_SIZE 8u
#define SEEN_S 600u
#define SEEN_CARRIED_MAX 3u

struct seen_packet {
    uint8_t hash[SEEN_HASH_SIZE];
    uint32_t at_s;       /* when it was last sent on */
    uint16_t price_code; /* the lowest it came with */
    uint8_t n_carried;   /* 0 in a place that is not used */
};

struct seen {
    struct seen_packet packets[SEEN_MAX];
    uint32_t oldest; /* the place that is overwritten next */
};

/* Whether a packet that came with this price may be sent on, as far as what was sent on before tells. */
bool seen_allows(const struct seen *seen, const uint8_t *hash, uint16_t price_code, bool direct, uint32_t now_s);

/* Remembers that it was sent on. */
void seen_mark(struct seen *seen, const uint8_t *hash, uint16_t price_code, uint32_t now_s);

#endif
