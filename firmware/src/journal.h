/* The newest record, safe from a power cut at any byte: two sectors of flash, written page by page.
 *
 * One rule: the newest whole record is never erased. A sector is erased only when the next page to write is its first, and then the newest
 * record lies in the other one. */
#ifndef RELAY_JOURNAL_H
#define RELAY_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "hal.h"

#define JOURNAL_PAGE_SIZE 256u
#define JOURNAL_RECORD_SIZE (JOURNAL_PAGE_SIZE - 12u) /* magic, generation and CRC take the rest */

struct journal {
    uint32_t generation;  /* of the newest page, whole or not */
    uint32_t next_page;   /* to write */
    uint32_t kept_sector; /* the one that the newest whole record lies in, HAL_FLASH_SECTORS for none */
};

enum journal_found {
    JOURNAL_RECORD, /* the newest whole record was read */
    JOURNAL_BLANK,  /* erased throughout: nothing was ever written */
    JOURNAL_LOST,   /* written to, and no record is whole */
    JOURNAL_FAULT,  /* the flash does not answer */
};

/* Finds the newest record. */
enum journal_found journal_open(struct journal *journal, struct board *board, uint8_t record[JOURNAL_RECORD_SIZE]);

/* Writes a record and reads it back. False when the flash keeps none; the newest record then is the one before. */
bool journal_write(struct journal *journal, struct board *board, const uint8_t record[JOURNAL_RECORD_SIZE]);

#endif
