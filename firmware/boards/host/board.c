#include "board.h"

#include <stdlib.h>
#include <string.h>

#include "hal.h"
#include "node.h"

enum { FLASH_SIZE = HAL_FLASH_SECTORS * HAL_FLASH_SECTOR_SIZE, PAGE_SIZE = 256, OUTPUT_FIRST = 1024 };

struct board {
    void *context;
    host_transfer *transfer;
    host_reset *reset;
    uint64_t now_us;
    uint32_t pins;
    uint32_t random; /* xorshift32 */
    bool started;
    bool flash_is_cut;
    uint32_t flash_left; /* bytes and sectors until it fails, when it is cut */
    uint8_t *output;
    size_t output_size;
    size_t output_room;
    uint8_t flash[FLASH_SIZE];
    struct node node;
};

uint64_t hal_now_us(struct board *board)
{
    return board->now_us;
}

void hal_wait_us(struct board *board, uint32_t us)
{
    board->now_us += us;
}

uint32_t hal_entropy(struct board *board)
{
    board->random ^= board->random << 13;
    board->random ^= board->random >> 17;
    board->random ^= board->random << 5;
    return board->random;
}

/* Output that finds no memory is lost, as on a line that nobody reads. */
void hal_host_put(struct board *board, const uint8_t *bytes, size_t n)
{
    while (board->output_room - board->output_size < n) {
        const size_t room = board->output_room == 0 ? OUTPUT_FIRST : 2 * board->output_room;
        uint8_t *const grown = realloc(board->output, room);

        if (grown == NULL) {
            return;
        }
        board->output = grown;
        board->output_room = room;
    }
    memcpy(board->output + board->output_size, bytes, n);
    board->output_size += n;
}

void hal_radio_transfer(struct board *board, const uint8_t *out, uint8_t *in, size_t n)
{
    board->transfer(board->context, out, in, n);
}

void hal_radio_reset(struct board *board)
{
    board->reset(board->context);
}

bool hal_radio_busy(struct board *board)
{
    return (board->pins & HOST_PIN_BUSY) != 0;
}

bool hal_radio_interrupt(struct board *board)
{
    return (board->pins & HOST_PIN_DIO1) != 0;
}

static bool powered(struct board *board)
{
    if (!board->flash_is_cut) {
        return true;
    }
    board->flash_left -= board->flash_left > 0 ? 1 : 0;
    return board->flash_left > 0;
}

bool hal_flash_read(struct board *board, uint32_t at, uint8_t *out, size_t n)
{
    if (at > FLASH_SIZE || n > FLASH_SIZE - at) {
        return false;
    }
    memcpy(out, board->flash + at, n);
    return true;
}

bool hal_flash_erase(struct board *board, uint32_t sector)
{
    if (sector >= HAL_FLASH_SECTORS || !powered(board)) {
        return false;
    }
    memset(board->flash + (size_t)sector * HAL_FLASH_SECTOR_SIZE, 0xFF, HAL_FLASH_SECTOR_SIZE);
    return true;
}

bool hal_flash_write(struct board *board, uint32_t at, const uint8_t *in, size_t n)
{
    if (at > FLASH_SIZE || n > FLASH_SIZE - at || n > PAGE_SIZE - at % PAGE_SIZE) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!powered(board)) {
            return false;
        }
        board->flash[at + i] &= in[i];
    }
    return true;
}

struct board *host_new(void *context, host_transfer *transfer, host_reset *reset, uint32_t seed)
{
    struct board *const board = calloc(1, sizeof *board);

    if (board == NULL) {
        return NULL;
    }
    board->context = context;
    board->transfer = transfer;
    board->reset = reset;
    board->random = seed != 0 ? seed : 1; /* xorshift never leaves zero */
    memset(board->flash, 0xFF, FLASH_SIZE);
    return board;
}

void host_free(struct board *board)
{
    free(board->output);
    free(board);
}

static void start(struct board *board)
{
    if (!board->started) {
        board->started = true;
        node_start(&board->node, board);
    }
}

/* A driver that waited has run ahead of the simulation; its clock must not go back. */
uint64_t host_step(struct board *board, uint64_t now_us, uint32_t pins)
{
    board->now_us = now_us > board->now_us ? now_us : board->now_us;
    board->pins = pins;
    start(board);
    return node_step(&board->node);
}

void host_feed(struct board *board, const uint8_t *bytes, size_t n)
{
    start(board);
    node_host(&board->node, bytes, n);
}

size_t host_take(struct board *board, uint8_t *out, size_t room)
{
    const size_t n = board->output_size < room ? board->output_size : room;

    if (n > 0) {
        memcpy(out, board->output, n);
        memmove(board->output, board->output + n, board->output_size - n);
    }
    board->output_size -= n;
    return n;
}

uint8_t *host_flash(struct board *board)
{
    return board->flash;
}

void host_cut_flash(struct board *board, uint32_t after)
{
    board->flash_is_cut = true;
    board->flash_left = after;
}
