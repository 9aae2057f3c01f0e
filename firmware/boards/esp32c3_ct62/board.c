/* The product: an ESP32-C3 beside an SX1262, with its host on UART0. */
#include "hal.h"
#include "node.h"
#include "registers.h"
#include "wires.h"

enum {
    WATCHDOG_KEY = 0x50D83AA1,
    TICKS_A_MICROSECOND_BITS = 4,
    UART_ROOM = 120, /* of 128 bytes */
    RESET_LOW_US = 200,
    RESET_HIGH_US = 5000,
};

#define SUPER_WATCHDOG_KEY 0x8F1D312Au

struct board {
    struct node node;
};

/* When the node wants to run again. An emulator that stops at board_idle reads it. */
extern volatile uint64_t board_next_us;
volatile uint64_t board_next_us;

/* ROM leaves them on, and nobody would feed them while a signature is made. */
static void stop_watchdogs(void)
{
    *reg(RTC_WATCHDOG_KEY) = WATCHDOG_KEY;
    *reg(RTC_WATCHDOG) = 0;
    *reg(RTC_WATCHDOG_KEY) = 0;
    *reg(RTC_SUPER_WATCHDOG_KEY) = SUPER_WATCHDOG_KEY;
    set_bits(RTC_SUPER_WATCHDOG, 1u << 31); /* it feeds itself */
    *reg(RTC_SUPER_WATCHDOG_KEY) = 0;
    *reg(TIMER_WATCHDOG_KEY) = WATCHDOG_KEY;
    *reg(TIMER_WATCHDOG) = 0;
    *reg(TIMER_WATCHDOG_KEY) = 0;
}

static void start_clock(void)
{
    set_bits(SYSTEM_CLOCKS, 1u << 29);
    set_bits(SYSTIMER_CONFIGURATION, 1u << 31 | 1u << 30);
}

uint64_t hal_now_us(struct board *board)
{
    (void)board;
    *reg(SYSTIMER_LATCH) = 1u << 30;
    while ((*reg(SYSTIMER_LATCH) >> 29 & 1) == 0) {
    }
    const uint64_t high = *reg(SYSTIMER_HIGH);
    return (high << 32 | *reg(SYSTIMER_LOW)) >> TICKS_A_MICROSECOND_BITS;
}

void hal_wait_us(struct board *board, uint32_t us)
{
    const uint64_t until_us = hal_now_us(board) + us;

    while (hal_now_us(board) < until_us) {
    }
}

uint32_t hal_entropy(struct board *board)
{
    (void)board;
    return *reg(RNG_WORD);
}

void hal_host_put(struct board *board, const uint8_t *bytes, size_t n)
{
    (void)board;
    for (size_t i = 0; i < n; i++) {
        while ((*reg(UART_STATUS) >> 16 & 0x3FF) >= UART_ROOM) {
        }
        *reg(UART_FIFO) = bytes[i];
    }
}

void hal_radio_transfer(struct board *board, const uint8_t *out, uint8_t *in, size_t n)
{
    (void)board;
    wires_transfer(out, in, n);
}

void hal_radio_reset(struct board *board)
{
    wires_reset(true);
    hal_wait_us(board, RESET_LOW_US);
    wires_reset(false);
    hal_wait_us(board, RESET_HIGH_US);
}

bool hal_radio_busy(struct board *board)
{
    (void)board;
    return wires_busy();
}

bool hal_radio_interrupt(struct board *board)
{
    (void)board;
    return wires_interrupt();
}

static uint32_t n_received(void)
{
    return *reg(UART_STATUS) & 0x3FF;
}

static void hear_host(struct board *board)
{
    while (n_received() > 0) {
        const uint8_t byte = (uint8_t)*reg(UART_FIFO);

        node_host(&board->node, &byte, 1);
    }
}

void board_idle(struct board *board);
_Noreturn void board_run(void);

/* Until there is something to do. The processor spins: its light sleep, and waking from it, wait for somebody with the silicon. */
__attribute__((noinline)) void board_idle(struct board *board)
{
    while (n_received() == 0 && !wires_interrupt() && hal_now_us(board) < board_next_us) {
    }
}

_Noreturn void board_run(void)
{
    static struct board board;

    stop_watchdogs();
    start_clock();
    wires_start();
    node_start(&board.node, &board);
    for (;;) {
        hear_host(&board);
        board_next_us = node_step(&board.node);
        board_idle(&board);
    }
}
