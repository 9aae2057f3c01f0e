/* What the host may ask and set. Every value has a range; whatever it says, the answer is the value in force.
 *
 * One rule: a host can make this relay quieter and never louder than the law. */
#ifndef RELAY_HOST_H
#define RELAY_HOST_H

#include "node.h"

/* Does and answers one frame: a command and its data. */
void host_handle(struct node *node, const uint8_t *frame, size_t size, uint64_t now_us);

/* Says the receipt that is due. */
void host_say_receipt(struct node *node, uint64_t now_us);

#endif
