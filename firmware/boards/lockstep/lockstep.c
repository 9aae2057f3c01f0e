/* An emulated board: it owns a processor and a UART, and asks the simulator at the other end for time, radio and flash.
 *
 * README.md has the protocol. One rule: while an answer is waited for, nothing else is expected, and what comes is dropped. */
#include "core/bytes.h"
#include "core/kiss.h"
#include "hal.h"
#include "node.h"
#include "uart.h"

enum {
    STEP = 0xE0,
    WAKE = 0xE1,
    SPI = 0xE2,
    RESET = 0xE3,
    FLASH = 0xE4,
    SEED = 0xE5,
    HANDLED = 0xE7,
    BANNER = 0xEF,
    STEP_SIZE = 1 + 8 + 1,
    SEED_SIZE = 1 + 4,
    PIN_DIO1 = 1,
    PIN_BUSY = 2,
    FLASH_READ = 0,
    FLASH_ERASE = 1,
    FLASH_WRITE = 2,
    FRAME_MAX = 512, /* the longest is a page of flash, and a transaction of 258 bytes */
    SEED_OF_NONE = 1,
};

struct board {
    uint64_t now_us;
    uint32_t random; /* xorshift32 */
    uint8_t pins;
    bool started;
    struct rmn_kiss kiss;
    uint8_t frame[FRAME_MAX]; /* the one that came last */
    struct node node;
};

static void put_byte(uint8_t byte)
{
    uint8_t escaped[2];
    const size_t n = rmn_kiss_escape(byte, escaped);

    for (size_t i = 0; i < n; i++) {
        uart_put(escaped[i]);
    }
}

static void put_bytes(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_byte(bytes[i]);
    }
}

static void begin_frame(uint8_t command)
{
    uart_put(RMN_KISS_FEND);
    put_byte(command);
}

static void end_frame(void)
{
    uart_put(RMN_KISS_FEND);
}

/* Waits for a frame, and returns its size. */
static size_t get_frame(struct board *board)
{
    for (;;) {
        const size_t size = rmn_kiss_take(&board->kiss, uart_get(), board->frame, FRAME_MAX);
        if (size > 0) {
            return size;
        }
    }
}

static size_t get_answer(struct board *board, uint8_t command)
{
    for (;;) {
        const size_t size = get_frame(board);
        if (board->frame[0] == command) {
            return size;
        }
    }
}

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

void hal_host_put(struct board *board, const uint8_t *bytes, size_t n)
{
    (void)board;
    for (size_t i = 0; i < n; i++) {
        uart_put(bytes[i]);
    }
}

void hal_radio_transfer(struct board *board, const uint8_t *out, uint8_t *in, size_t n)
{
    begin_frame(SPI);
    put_bytes(out, n);
    end_frame();
    const size_t size = get_answer(board, SPI) - 1;
    for (size_t i = 0; i < n; i++) {
        in[i] = i < size ? board->frame[1 + i] : 0;
    }
}

void hal_radio_reset(struct board *board)
{
    (void)board;
    begin_frame(RESET);
    end_frame();
}

bool hal_radio_busy(struct board *board)
{
    return (board->pins & PIN_BUSY) != 0;
}

bool hal_radio_interrupt(struct board *board)
{
    return (board->pins & PIN_DIO1) != 0;
}

static void begin_flash(uint8_t operation, uint32_t at)
{
    uint8_t address[4];

    begin_frame(FLASH);
    put_byte(operation);
    rmn_store_be32(address, at);
    put_bytes(address, sizeof address);
}

/* Ends the question; true when the flash did it and gave n bytes, which lie at frame[2]. */
static bool end_flash(struct board *board, size_t n)
{
    end_frame();
    return get_answer(board, FLASH) == 2 + n && board->frame[1] == 1;
}

bool hal_flash_read(struct board *board, uint32_t at, uint8_t *out, size_t n)
{
    begin_flash(FLASH_READ, at);
    put_byte((uint8_t)(n >> 8));
    put_byte((uint8_t)n);
    if (!end_flash(board, n)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = board->frame[2 + i];
    }
    return true;
}

bool hal_flash_erase(struct board *board, uint32_t sector)
{
    begin_flash(FLASH_ERASE, sector * HAL_FLASH_SECTOR_SIZE);
    return end_flash(board, 0);
}

bool hal_flash_write(struct board *board, uint32_t at, const uint8_t *in, size_t n)
{
    begin_flash(FLASH_WRITE, at);
    put_bytes(in, n);
    return end_flash(board, 0);
}

static void put_wake(uint64_t next_us)
{
    uint8_t bytes[8];

    rmn_store_be32(bytes, (uint32_t)(next_us >> 32));
    rmn_store_be32(bytes + 4, (uint32_t)next_us);
    begin_frame(WAKE);
    put_bytes(bytes, sizeof bytes);
    end_frame();
}

/* A driver that waited has run ahead of the simulation; its clock must not go back. */
static void step(struct board *board)
{
    const uint64_t now_us = (uint64_t)rmn_load_be32(board->frame + 1) << 32 | rmn_load_be32(board->frame + 5);

    board->now_us = now_us > board->now_us ? now_us : board->now_us;
    board->pins = board->frame[9];
    if (!board->started) {
        board->started = true;
        node_start(&board->node, board);
    }
    put_wake(node_step(&board->node));
}

/* Gives a frame of the host back the form in which it came, so that it goes through the code that it goes through on a real board. The
 * node acts on it at its end, so that what it then asks the simulator may take the frame's place. */
static void feed(struct board *board, size_t size)
{
    const uint8_t fend = RMN_KISS_FEND;
    uint8_t escaped[2];

    node_host(&board->node, &fend, 1);
    for (size_t i = 0; i < size; i++) {
        node_host(&board->node, escaped, rmn_kiss_escape(board->frame[i], escaped));
    }
    node_host(&board->node, &fend, 1);
    begin_frame(HANDLED);
    end_frame();
}

static void take_frame(struct board *board, size_t size)
{
    if (board->frame[0] == STEP && size == STEP_SIZE) {
        step(board);
    } else if (board->frame[0] == SEED && size == SEED_SIZE) {
        board->random = rmn_load_be32(board->frame + 1);
        board->random += board->random == 0 ? 1 : 0; /* xorshift never leaves zero */
    } else if (board->started) {
        feed(board, size);
    }
}

_Noreturn void lockstep_run(void)
{
    static struct board board;
    static const uint8_t banner[] = {'R', 'L', 1};

    board.random = SEED_OF_NONE;
    uart_start();
    begin_frame(BANNER);
    put_bytes(banner, sizeof banner);
    end_frame();
    for (;;) {
        take_frame(&board, get_frame(&board));
    }
}
