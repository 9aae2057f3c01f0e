/* Who this device is: an Ed25519 key that it made itself, and that never leaves it. */
#ifndef RELAY_IDENTITY_H
#define RELAY_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/packet.h"
#include "ed25519.h"
#include "lasting.h"
#include "sx1262.h"

struct identity {
    bool known;
    uint8_t public_key[ED25519_KEY_SIZE];
    uint8_t id[RMN_RADIO_ID_SIZE];
};

/* Finds the device's key, or makes one out of the board's entropy, the radio's noise and the jitter between them, and keeps it. Without a
 * radio that listens, or a flash that keeps it, there is none: it is not known. */
void identity_start(struct identity *identity, struct lasting *lasting, struct sx1262 *radio, uint64_t now_us);

#endif
