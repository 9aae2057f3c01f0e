/* Frames to the host: KISS on the line, as RNodes speak it. */
#ifndef RELAY_LINK_H
#define RELAY_LINK_H

#include "hal.h"

/* Sends one frame. */
void link_put(struct board *board, uint8_t command, const uint8_t *data, size_t n);

/* The same for a single byte, and for a word. */
void link_put_byte(struct board *board, uint8_t command, uint8_t value);
void link_put_word(struct board *board, uint8_t command, uint32_t value);

#endif
