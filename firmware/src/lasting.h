/* What survives a reboot: the key, the settings, and promises about numbers and airtime that are made before they are used.
 *
 * One rule: whatever must never go back is reserved in flash first. A number below sequence_limit, or airtime within reserved_us, may be used
 * without writing; a power cut loses what was reserved and not used, and repeats nothing. */
#ifndef RELAY_LASTING_H
#define RELAY_LASTING_H

#include <stdbool.h>
#include <stdint.h>

#include "band.h"
#include "channel.h"
#include "ed25519.h"
#include "journal.h"

#define LASTING_SEQUENCES 64u       /* numbers reserved at once */
#define LASTING_ID_SIZE 8u
#define LASTING_OPERATOR_SIZE 20u

/* Counted since the device was made; an operator reads them with the host command COUNTERS, in this order. */
enum counter {
    COUNT_RECEIVED,
    COUNT_GARBLED,
    COUNT_NOT_OURS, /* no packets: another protocol, or damaged */
    COUNT_DUPLICATE,
    COUNT_OVER_CAP,
    COUNT_HOPS_SPENT,
    COUNT_SENT,
    COUNT_SENT_AGAIN,
    COUNT_CARRIED,
    COUNT_SEND_FAILED,
    COUNT_CHANNEL_BUSY,
    COUNT_DUTY_WAITS,
    COUNT_DROPPED, /* from the queue: evicted, or too late */
    COUNT_RECEIPTS,
    COUNT_RECEIPTS_LOST, /* carried packets that no receipt will be about */
    COUNT_RADIO_FAILED,
    COUNT_REBOOTS,
    COUNTERS,
};

struct lasting_settings {
    uint32_t frequency_hz;
    uint32_t bandwidth_hz;
    uint8_t spreading_factor;
    uint8_t coding_rate;
    int8_t power_dbm;
    bool radio_on;
    bool carries;      /* relays packets of others */
    uint8_t unused[1]; /* so that no byte of the record is padding */
    uint16_t fee_code;
    uint8_t operator_address[LASTING_OPERATOR_SIZE];
    uint8_t host_id[LASTING_ID_SIZE]; /* the radio id of the node behind the host link, or zeros */
};

struct lasting_record {
    uint32_t sequence_limit;
    uint32_t reserved_us[BAND_COUNT];
    uint32_t counters[COUNTERS];
    struct lasting_settings settings;
    uint8_t seed[ED25519_SEED_SIZE];
    uint8_t has_seed;
    uint8_t unused[3];
};

struct lasting {
    struct board *board;
    struct journal journal;
    struct lasting_record record;
    uint32_t sequence; /* the next number */
    bool faulty;       /* the flash does not answer: nothing may be promised, so nothing is sent */
    bool dirty;        /* settings have changed */
    uint64_t written_us;
};

/* Reads what there is. Airtime that was reserved before counts as spent, and all of it where a record was lost. */
void lasting_start(struct lasting *lasting, struct board *board, uint64_t now_us);

/* Takes a number that was never taken before. False when the flash does not promise one. */
bool lasting_take_sequence(struct lasting *lasting, uint64_t now_us, uint32_t *sequence);

/* Makes sure that spent_us of a band would be known after a reboot. Requires spent_us <= budget_us. */
bool lasting_reserve_airtime(struct lasting *lasting, uint32_t band, uint32_t spent_us, uint32_t budget_us, uint64_t now_us);

/* Writes now. */
bool lasting_write(struct lasting *lasting, uint64_t now_us);

/* Writes what has changed, but not more often than flash lasts; returns when it wants to be called again. */
uint64_t lasting_tend(struct lasting *lasting, uint64_t now_us);

#endif
