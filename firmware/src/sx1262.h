/* An SX1262 on a board: its commands, its errata, its interrupts.
 *
 * One rule: the chip is never believed. BUSY is waited for with a limit, a chip that does not answer as it should is FAILED until it is
 * started again, and a transmission carries its own time limit into the chip, so that it ends even if this program does not. */
#ifndef RELAY_SX1262_H
#define RELAY_SX1262_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "hal.h"

#define SX1262_FRAME_SIZE_MAX 255u

enum sx1262_mode {
    SX1262_OFF = 0,
    SX1262_LISTENING,
    SX1262_SENSING,
    SX1262_SENDING,
    SX1262_FAILED,
};

struct sx1262 {
    struct board *board;
    enum sx1262_mode mode;
    struct channel channel;
};

enum sx1262_event {
    SX1262_NOTHING = 0,
    SX1262_RECEIVED,
    SX1262_GARBLED, /* a frame came, and its CRC or header is wrong */
    SX1262_CHANNEL_FREE,
    SX1262_CHANNEL_BUSY,
    SX1262_SENT,
    SX1262_TIMED_OUT,
};

struct sx1262_reception {
    uint8_t frame[SX1262_FRAME_SIZE_MAX];
    uint8_t size;
    int16_t rssi_dbm;
    int8_t snr_quarter_db;
};

/* Resets the chip, sets it up for a channel and listens. False, and FAILED, when it does not answer. Requires an allowed channel. */
bool sx1262_start(struct sx1262 *radio, const struct channel *channel);

/* Resets the chip, whatever it was doing: it neither hears nor sends. */
void sx1262_stop(struct sx1262 *radio);

/* What the chip has to say, one event a call. After RECEIVED, GARBLED and SENT it listens. */
enum sx1262_event sx1262_poll(struct sx1262 *radio, struct sx1262_reception *reception);

/* Whether a frame is coming in right now, as far as preamble and header tell; `forget` drops what they told. Requires LISTENING. */
bool sx1262_hears(struct sx1262 *radio, bool forget);

/* Begins to sense whether the channel is in use; CHANNEL_FREE or CHANNEL_BUSY follows. Requires LISTENING. */
void sx1262_sense(struct sx1262 *radio);

/* Listens, whatever it did before. */
void sx1262_listen(struct sx1262 *radio);

/* Begins to send; SENT or TIMED_OUT follows. Requires 1 to 255 bytes. */
void sx1262_send(struct sx1262 *radio, const uint8_t *frame, size_t size);

/* Whether the chip still answers as it was set up; FAILED if BUSY does not fall. */
bool sx1262_alive(struct sx1262 *radio);

/* A word of noise. Requires LISTENING. */
uint32_t sx1262_noise(struct sx1262 *radio);

#endif
