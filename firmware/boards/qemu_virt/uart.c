/* The 16550 of QEMU's `virt`, with its interrupt as an alarm clock for WFI. */
#include "uart.h"

#include <stdbool.h>

enum {
    UART = 0x10000000,
    DATA = 0,
    INTERRUPTS = 1,
    FIFO = 2,
    LINE = 3,
    LINE_STATUS = 5,
    RECEIVED = 0x01,
    ROOM = 0x20,
    PLIC = 0x0C000000,
    PLIC_ENABLE = PLIC + 0x2000,
    PLIC_THRESHOLD = PLIC + 0x200000,
    PLIC_CLAIM = PLIC + 0x200004,
    UART_SOURCE = 10,
};

static volatile uint8_t *reg(uint32_t offset)
{
    return (volatile uint8_t *)(UART + offset);
}

static volatile uint32_t *word(uint32_t address)
{
    return (volatile uint32_t *)address;
}

/* QEMU paces what it hands over by the baud rate: divisor 1, and a FIFO that speaks up at 14 bytes. */
void uart_start(void)
{
    *reg(LINE) = 0x83;
    *reg(DATA) = 1;
    *reg(INTERRUPTS) = 0;
    *reg(LINE) = 0x03;
    *reg(FIFO) = 0xC7;
    *reg(INTERRUPTS) = 0x01;
    *word(PLIC + 4 * UART_SOURCE) = 1;
    *word(PLIC_ENABLE) = 1u << UART_SOURCE;
    *word(PLIC_THRESHOLD) = 0;
}

void uart_put(uint8_t byte)
{
    while ((*reg(LINE_STATUS) & ROOM) == 0) {
    }
    *reg(DATA) = byte;
}

static bool waiting(void)
{
    return (*reg(LINE_STATUS) & RECEIVED) != 0;
}

/* What the PLIC held is given back before the FIFO is looked at again, so that a byte in between is not slept over. */
uint8_t uart_get(void)
{
    while (!waiting()) {
        const uint32_t source = *word(PLIC_CLAIM);
        if (source != 0) {
            *word(PLIC_CLAIM) = source;
        }
        if (!waiting()) {
            __asm__ volatile("wfi");
        }
    }
    return *reg(DATA);
}
