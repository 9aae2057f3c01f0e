/* A relay, whole: its radio, what it sends next, what it carried, what its host wants. No part of it is anywhere else.
 *
 * One rule: it runs when it is stepped, does what is due, and says when it wants to be stepped again. */
#ifndef RELAY_NODE_H
#define RELAY_NODE_H

#include "core/kiss.h"
#include "duty.h"
#include "hal.h"
#include "identity.h"
#include "lasting.h"
#include "neighbours.h"
#include "queue.h"
#include "receipts.h"
#include "routing.h"
#include "seen.h"
#include "sx1262.h"

#define NODE_HOST_FRAME_MAX 300u /* the longest frame that a host has reason to send is 256 bytes */

/* What the sender waits for. */
struct sender {
    uint32_t place;       /* in the queue, of the frame that is being sent; QUEUE_NONE */
    uint32_t n_busy;      /* times the channel was in use since the last frame left */
    uint64_t rest_us;     /* nothing is sent before */
    uint64_t limit_us;    /* sensing or sending must have ended by then, or the radio has failed */
    uint64_t hears_us;    /* since when a frame has been coming in; UINT64_MAX */
};

struct node {
    struct board *board;
    struct sx1262 radio;
    struct lasting lasting;
    struct identity identity;
    struct duty duty;
    struct queue queue;
    struct seen seen;
    struct receipts receipts;
    struct neighbours neighbours;
    struct sender sender;
    struct routing routing;
    struct sx1262_reception reception;
    struct rmn_kiss kiss;
    uint8_t host_frame[NODE_HOST_FRAME_MAX];
    bool raw;                /* the host speaks another protocol through us: nothing is carried, everything is handed up */
    uint64_t radio_check_us; /* when the radio is next asked whether it is still there, or started again */
    uint32_t n_radio_failed; /* in a row */
    uint64_t advert_us;      /* when we next say who we are */
    uint32_t time_s;         /* Unix time as the host said it, 0 if it did not */
    uint64_t time_at_us;     /* when it did */
};

/* Begins. The radio is started if it was on when the device last ran. */
void node_start(struct node *node, struct board *board);

/* Takes bytes from the host, and does and answers what they say. */
void node_host(struct node *node, const uint8_t *bytes, size_t n);

/* Runs until there is nothing to do. Returns the time at which it wants to run again; UINT64_MAX for when something happens. */
uint64_t node_step(struct node *node);

/* Starts or stops the radio as the settings say. False when it did not start. */
bool node_apply_radio(struct node *node, uint64_t now_us);

#endif
