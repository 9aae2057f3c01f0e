/* Who was heard directly of late: how dense the air is here. */
#ifndef RELAY_NEIGHBOURS_H
#define RELAY_NEIGHBOURS_H

#include <stdint.h>

#include "core/packet.h"

#define NEIGHBOURS_MAX 32u
#define NEIGHBOURS_S 3600u

struct neighbour {
    uint8_t tag[RMN_RELAY_TAG_SIZE];
    uint32_t heard_s; /* of the board's clock, plus one: 0 in a place that is not used */
    int16_t rssi_dbm;
    int8_t snr_quarter_db;
};

struct neighbours {
    struct neighbour places[NEIGHBOURS_MAX];
};

/* Notes who sent a packet as it was heard. In a full table the one that was silent longest goes. */
void neighbours_heard(struct neighbours *neighbours, const uint8_t *tag, int16_t rssi_dbm, int8_t snr_quarter_db, uint32_t now_s);

/* How many were heard within the hour. */
uint32_t neighbours_count(const struct neighbours *neighbours, uint32_t now_s);

#endif
