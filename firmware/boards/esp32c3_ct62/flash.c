/* The relay's two sectors, near the end of 4 MiB, by commands of our own through the flash's controller. Code runs from RAM, so that nothing
 * else needs the flash meanwhile. */
#include "hal.h"
#include "registers.h"

enum {
    SECTORS_AT = 0x3F0000,
    WRITE_PAGE = 0x02,
    READ = 0x03,
    READ_STATUS = 0x05,
    WRITE_ENABLE = 0x06,
    ERASE_SECTOR = 0x20,
    STATUS_BUSY = 0x01,
    RUN = 1u << 18,
    PHASE_ADDRESS = 1u << 30,
    PHASE_IN = 1u << 28,
    PHASE_OUT = 1u << 27,
    COMMAND_BITS = 7u << 28, /* eight */
    ADDRESS_BITS = 23u << 26,
    PIECE = 64,
    ERASE_MAX_US = 1000000, /* 400 ms at worst by most data sheets */
    POLL_US = 50,
    SIZE = HAL_FLASH_SECTORS * HAL_FLASH_SECTOR_SIZE,
    PAGE_SIZE = 256,
};

#define PHASE_COMMAND (1u << 31)

static void run(uint32_t phases, uint32_t command)
{
    *reg(SPI1_USER) = PHASE_COMMAND | phases;
    *reg(SPI1_USER1) = ADDRESS_BITS;
    *reg(SPI1_USER2) = COMMAND_BITS | command;
    *reg(SPI1_COMMAND) = RUN;
    while ((*reg(SPI1_COMMAND) & RUN) != 0) {
    }
}

static bool wait(struct board *board)
{
    for (uint32_t waited_us = 0; waited_us < ERASE_MAX_US; waited_us += POLL_US) {
        *reg(SPI1_IN_BITS) = 7;
        run(PHASE_IN, READ_STATUS);
        if ((*reg(SPI1_BUFFER) & STATUS_BUSY) == 0) {
            return true;
        }
        hal_wait_us(board, POLL_US);
    }
    return false;
}

static bool within(uint32_t at, size_t n)
{
    return at <= SIZE && n <= SIZE - at;
}

bool hal_flash_read(struct board *board, uint32_t at, uint8_t *out, size_t n)
{
    (void)board;
    if (!within(at, n)) {
        return false;
    }
    for (size_t done = 0; done < n; done += PIECE) {
        const size_t size = n - done < PIECE ? n - done : PIECE;

        *reg(SPI1_ADDRESS) = SECTORS_AT + at + (uint32_t)done;
        *reg(SPI1_IN_BITS) = 8 * (uint32_t)size - 1;
        run(PHASE_ADDRESS | PHASE_IN, READ);
        for (size_t i = 0; i < size; i++) {
            out[done + i] = (uint8_t)(*reg(SPI1_BUFFER + (uint32_t)(i & ~(size_t)3)) >> (8 * (i % 4)));
        }
    }
    return true;
}

bool hal_flash_erase(struct board *board, uint32_t sector)
{
    if (sector >= HAL_FLASH_SECTORS) {
        return false;
    }
    run(0, WRITE_ENABLE);
    *reg(SPI1_ADDRESS) = SECTORS_AT + sector * HAL_FLASH_SECTOR_SIZE;
    run(PHASE_ADDRESS, ERASE_SECTOR);
    return wait(board);
}

static uint32_t load_le32(const uint8_t *in, size_t n)
{
    uint32_t word = 0;

    for (size_t i = 0; i < n && i < 4; i++) {
        word |= (uint32_t)in[i] << (8 * i);
    }
    return word;
}

bool hal_flash_write(struct board *board, uint32_t at, const uint8_t *in, size_t n)
{
    if (!within(at, n) || n > PAGE_SIZE - at % PAGE_SIZE) {
        return false;
    }
    for (size_t done = 0; done < n; done += PIECE) {
        const size_t size = n - done < PIECE ? n - done : PIECE;

        run(0, WRITE_ENABLE);
        for (size_t i = 0; i < size; i += 4) {
            *reg(SPI1_BUFFER + (uint32_t)i) = load_le32(in + done + i, size - i);
        }
        *reg(SPI1_ADDRESS) = SECTORS_AT + at + (uint32_t)done;
        *reg(SPI1_OUT_BITS) = 8 * (uint32_t)size - 1;
        run(PHASE_ADDRESS | PHASE_OUT, WRITE_PAGE);
        if (!wait(board)) {
            return false;
        }
    }
    return true;
}
