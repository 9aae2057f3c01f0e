#include "kiss.h"

/* The FEND that ends a frame begins the next, so that two frames may share it. */
static size_t end_frame(struct rmn_kiss *kiss)
{
    const size_t size = kiss->state == RMN_KISS_INSIDE ? kiss->size : 0;

    *kiss = (struct rmn_kiss){.state = RMN_KISS_INSIDE};
    return size;
}

static void add(struct rmn_kiss *kiss, uint8_t byte, uint8_t *frame, size_t frame_max)
{
    if (kiss->size >= frame_max) {
        kiss->state = RMN_KISS_OUTSIDE;
        return;
    }
    frame[kiss->size++] = byte;
    kiss->state = RMN_KISS_INSIDE;
}

size_t rmn_kiss_take(struct rmn_kiss *kiss, uint8_t byte, uint8_t *frame, size_t frame_max)
{
    if (byte == RMN_KISS_FEND) {
        return end_frame(kiss);
    }
    if (kiss->state == RMN_KISS_OUTSIDE) {
        return 0;
    }
    if (kiss->state == RMN_KISS_INSIDE && byte == RMN_KISS_FESC) {
        kiss->state = RMN_KISS_ESCAPED;
    } else if (kiss->state == RMN_KISS_INSIDE) {
        add(kiss, byte, frame, frame_max);
    } else if (byte == RMN_KISS_TFEND) {
        add(kiss, RMN_KISS_FEND, frame, frame_max);
    } else if (byte == RMN_KISS_TFESC) {
        add(kiss, RMN_KISS_FESC, frame, frame_max);
    } else {
        kiss->state = RMN_KISS_OUTSIDE;
    }
    return 0;
}

size_t rmn_kiss_escape(uint8_t byte, uint8_t out[2])
{
    if (byte != RMN_KISS_FEND && byte != RMN_KISS_FESC) {
        out[0] = byte;
        return 1;
    }
    out[0] = RMN_KISS_FESC;
    out[1] = byte == RMN_KISS_FEND ? RMN_KISS_TFEND : RMN_KISS_TFESC;
    return 2;
}
