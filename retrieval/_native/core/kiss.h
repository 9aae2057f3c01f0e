/* KISS framing (Chepponis and Karn, 1987): FEND | command | data | FEND, with FEND and FESC escaped inside.
 *
 * The host link of RNodes uses it on a serial line. Bytes come one by one and in any state of disorder: what is not a frame is skipped, and
 * a frame that outgrows its buffer is skipped whole. */
#ifndef RMN_KISS_H
#define RMN_KISS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RMN_KISS_FEND 0xC0u
#define RMN_KISS_FESC 0xDBu
#define RMN_KISS_TFEND 0xDCu
#define RMN_KISS_TFESC 0xDDu

enum rmn_kiss_state {
    RMN_KISS_OUTSIDE = 0, /* no FEND yet, or the frame is broken: skipping up to the next FEND */
    RMN_KISS_INSIDE,
    RMN_KISS_ESCAPED, /* a FESC came; the next byte says what it stands for */
};

/* What has come of a frame so far. All zero is a line on which nothing has come. */
struct rmn_kiss {
    enum rmn_kiss_state state;
    size_t size; /* bytes of the frame, its command included */
};

/* Takes one byte of a line. The frame grows in `frame`, which must keep its bytes from call to call. Returns the size of the frame that this
 * byte ended, its command included, or 0. */
size_t rmn_kiss_take(struct rmn_kiss *kiss, uint8_t byte, uint8_t *frame, size_t frame_max);

/* Writes what stands for one byte inside a frame, and returns its size, 1 or 2. */
size_t rmn_kiss_escape(uint8_t byte, uint8_t out[2]);

#endif
