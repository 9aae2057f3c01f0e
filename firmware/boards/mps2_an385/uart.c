/* The CMSDK UART of ARM's MPS2, as QEMU has it, with its interrupt as an alarm clock for WFI. */
#include "uart.h"

#include <stdbool.h>

enum {
    UART = 0x40004000,
    DATA = 0x00,
    STATE = 0x04,
    CONTROL = 0x08,
    INTERRUPT = 0x0C,
    DIVISOR = 0x10,
    FULL = 0x01,
    RECEIVED = 0x02,
    NVIC_ENABLE = 0xE000E100,
    NVIC_CLEAR = 0xE000E280,
    UART_INTERRUPT = 1u << 0,
    DIVISOR_MIN = 16,
};

static volatile uint32_t *reg(uint32_t address)
{
    return (volatile uint32_t *)address;
}

void uart_start(void)
{
    __asm__ volatile("cpsid i");
    *reg(UART + DIVISOR) = DIVISOR_MIN;
    *reg(UART + CONTROL) = 0x0B; /* sends, receives, and interrupts when it received */
    *reg(NVIC_ENABLE) = UART_INTERRUPT;
    (void)*reg(UART + DATA); /* QEMU hands over nothing before somebody has read */
}

void uart_put(uint8_t byte)
{
    while ((*reg(UART + STATE) & FULL) != 0) {
    }
    *reg(UART + DATA) = byte;
}

static bool waiting(void)
{
    return (*reg(UART + STATE) & RECEIVED) != 0;
}

uint8_t uart_get(void)
{
    while (!waiting()) {
        *reg(UART + INTERRUPT) = 0x02;
        *reg(NVIC_CLEAR) = UART_INTERRUPT;
        if (!waiting()) {
            __asm__ volatile("wfi");
        }
    }
    return (uint8_t)*reg(UART + DATA);
}
