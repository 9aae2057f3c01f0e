#include "neighbours.h"

#include "core/bytes.h"

static uint32_t place_for(const struct neighbours *neighbours, const uint8_t *tag)
{
    uint32_t oldest = 0;

    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        const struct neighbour *const place = &neighbours->places[i];
        if (place->heard_s > 0 && rmn_equal(place->tag, tag, RMN_RELAY_TAG_SIZE)) {
            return i;
        }
        if (place->heard_s < neighbours->places[oldest].heard_s) {
            oldest = i;
        }
    }
    return oldest;
}

void neighbours_heard(struct neighbours *neighbours, const uint8_t *tag, int16_t rssi_dbm, int8_t snr_quarter_db, uint32_t now_s)
{
    struct neighbour *const place = &neighbours->places[place_for(neighbours, tag)];

    *place = (struct neighbour){.heard_s = now_s + 1, .rssi_dbm = rssi_dbm, .snr_quarter_db = snr_quarter_db};
    for (uint32_t i = 0; i < RMN_RELAY_TAG_SIZE; i++) {
        place->tag[i] = tag[i];
    }
}

uint32_t neighbours_count(const struct neighbours *neighbours, uint32_t now_s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        const uint32_t heard_s = neighbours->places[i].heard_s;
        n += heard_s > 0 && now_s + 1 - heard_s < NEIGHBOURS_S ? 1 : 0;
    }
    return n;
}
