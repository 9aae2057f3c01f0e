#include "journal.h"

#include "core/bytes.h"

enum {
    MAGIC = 0x524C4A31, /* "RLJ1" */
    PAGES_A_SECTOR = HAL_FLASH_SECTOR_SIZE / JOURNAL_PAGE_SIZE,
    PAGES = HAL_FLASH_SECTORS * PAGES_A_SECTOR,
    HEADER_SIZE = 8,
    CRC_AT = JOURNAL_PAGE_SIZE - 4,
    TRIES = 3, /* of a write that reads back wrong, each on a page of its own */
};

/* CRC-32/ISO-HDLC, bit by bit: a record a minute at most. */
static uint32_t crc32(const uint8_t *in, uint32_t size)
{
    uint32_t crc = 0xFFFFFFFF;

    for (uint32_t i = 0; i < size; i++) {
        crc ^= in[i];
        for (uint32_t bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
    }
    return ~crc;
}

static bool blank(const uint8_t page[JOURNAL_PAGE_SIZE])
{
    for (uint32_t i = 0; i < JOURNAL_PAGE_SIZE; i++) {
        if (page[i] != 0xFF) {
            return false;
        }
    }
    return true;
}

static bool whole(const uint8_t page[JOURNAL_PAGE_SIZE])
{
    return rmn_load_be32(page) == MAGIC && rmn_load_be32(page + CRC_AT) == crc32(page, CRC_AT);
}

static bool read_page(struct board *board, uint32_t page, uint8_t out[JOURNAL_PAGE_SIZE])
{
    return hal_flash_read(board, page * JOURNAL_PAGE_SIZE, out, JOURNAL_PAGE_SIZE);
}

enum journal_found journal_open(struct journal *journal, struct board *board, uint8_t record[JOURNAL_RECORD_SIZE])
{
    uint8_t page[JOURNAL_PAGE_SIZE];
    enum journal_found found = JOURNAL_BLANK;

    *journal = (struct journal){.kept_sector = HAL_FLASH_SECTORS};
    for (uint32_t i = 0; i < PAGES; i++) {
        if (!read_page(board, i, page)) {
            return JOURNAL_FAULT;
        }
        if (whole(page) && (found != JOURNAL_RECORD || rmn_load_be32(page + 4) > journal->generation)) {
            found = JOURNAL_RECORD;
            *journal = (struct journal){
                .generation = rmn_load_be32(page + 4), .next_page = (i + 1) % PAGES, .kept_sector = i / PAGES_A_SECTOR};
            for (uint32_t j = 0; j < JOURNAL_RECORD_SIZE; j++) {
                record[j] = page[HEADER_SIZE + j];
            }
        } else if (found == JOURNAL_BLANK && !blank(page)) {
            found = JOURNAL_LOST;
        }
    }
    return found;
}

/* Makes the next page one that can be written: the first of a freshly erased sector, or one behind it that nothing has touched. */
static bool clear_page(struct journal *journal, struct board *board, uint8_t page[JOURNAL_PAGE_SIZE])
{
    for (uint32_t n = 0; n < PAGES_A_SECTOR; n++) {
        if (journal->next_page % PAGES_A_SECTOR == 0) {
            const uint32_t sector = journal->next_page / PAGES_A_SECTOR;
            return sector != journal->kept_sector && hal_flash_erase(board, sector);
        }
        if (!read_page(board, journal->next_page, page)) {
            return false;
        }
        if (blank(page)) {
            return true;
        }
        journal->next_page = (journal->next_page + 1) % PAGES;
    }
    return false;
}

static bool write_page(struct journal *journal, struct board *board, uint8_t page[JOURNAL_PAGE_SIZE])
{
    const uint32_t at = journal->next_page;

    journal->next_page = (at + 1) % PAGES;
    const uint32_t crc = rmn_load_be32(page + CRC_AT);
    return hal_flash_write(board, at * JOURNAL_PAGE_SIZE, page, JOURNAL_PAGE_SIZE) && read_page(board, at, page) && whole(page)
           && rmn_load_be32(page + CRC_AT) == crc;
}

static void fill_page(uint8_t page[JOURNAL_PAGE_SIZE], uint32_t generation, const uint8_t record[JOURNAL_RECORD_SIZE])
{
    rmn_store_be32(page, MAGIC);
    rmn_store_be32(page + 4, generation);
    for (uint32_t i = 0; i < JOURNAL_RECORD_SIZE; i++) {
        page[HEADER_SIZE + i] = record[i];
    }
    rmn_store_be32(page + CRC_AT, crc32(page, CRC_AT));
}

bool journal_write(struct journal *journal, struct board *board, const uint8_t record[JOURNAL_RECORD_SIZE])
{
    uint8_t page[JOURNAL_PAGE_SIZE];

    for (uint32_t n = 0; n < TRIES; n++) {
        if (!clear_page(journal, board, page)) {
            return false;
        }
        const uint32_t sector = journal->next_page / PAGES_A_SECTOR;
        journal->generation += 1;
        fill_page(page, journal->generation, record);
        if (write_page(journal, board, page)) {
            journal->kept_sector = sector;
            return true;
        }
    }
    return false;
}
