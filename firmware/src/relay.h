/* What becomes of a frame that was heard, and of one that the host wants sent. retrieval/radio has the rules. */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "node.h"

enum relay_refusal {
    RELAY_TAKEN = 0,
    RELAY_NO_PACKET, /* not one of ours, and the host did not say that it speaks another protocol */
    RELAY_FULL,      /* the queue has no room for it */
    RELAY_OFF,       /* the radio is off */
};

/* Takes what the radio just received, in node->reception. */
void relay_heard(struct node *node, uint64_t now_us);

/* Takes a frame of the host, of 1 to 255 bytes, to be sent as it is. */
enum relay_refusal relay_send(struct node *node, const uint8_t *frame, size_t size, uint64_t now_us);

#endif
