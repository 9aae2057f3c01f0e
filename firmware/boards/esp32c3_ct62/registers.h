/* The registers of an ESP32-C3 that this board uses, after its technical reference manual and Espressif's public headers.
 *
 * Nobody has run this on silicon yet. */
#ifndef RELAY_REGISTERS_H
#define RELAY_REGISTERS_H

#include <stdint.h>

enum {
    UART_FIFO = 0x60000000,
    UART_STATUS = 0x6000001C, /* received bytes in bits 0-9, bytes to send in bits 16-25 */

    SPI1_COMMAND = 0x60002000, /* the flash's controller; bit 18 runs a command of ours */
    SPI1_ADDRESS = 0x60002004,
    SPI1_USER = 0x60002018,  /* phases: 31 command, 30 address, 28 in, 27 out */
    SPI1_USER1 = 0x6000201C, /* bits of the address, less one, from bit 26 on */
    SPI1_USER2 = 0x60002020, /* bits of the command, less one, from bit 28 on; the command */
    SPI1_OUT_BITS = 0x60002024,
    SPI1_IN_BITS = 0x60002028,
    SPI1_BUFFER = 0x60002058,

    GPIO_SET = 0x60004008,
    GPIO_CLEAR = 0x6000400C,
    GPIO_ENABLE = 0x60004024,
    GPIO_IN = 0x6000403C,
    GPIO_INPUT_ROUTE = 0x60004154,  /* one word a signal: bit 6 through the matrix, the pin below */
    GPIO_OUTPUT_ROUTE = 0x60004554, /* one word a pin: the signal */

    RTC_OPTIONS0 = 0x60008000,
    RTC_WATCHDOG = 0x60008090,
    RTC_WATCHDOG_KEY = 0x600080A8,
    RTC_SUPER_WATCHDOG = 0x600080AC,
    RTC_SUPER_WATCHDOG_KEY = 0x600080B0,

    IO_MUX = 0x60009004, /* one word a pin */

    TIMER_WATCHDOG = 0x6001F048,
    TIMER_WATCHDOG_KEY = 0x6001F064,

    SYSTIMER_CONFIGURATION = 0x60023000,
    SYSTIMER_LATCH = 0x60023004,
    SYSTIMER_HIGH = 0x60023040,
    SYSTIMER_LOW = 0x60023044,

    SPI2_COMMAND = 0x60024000, /* bit 23 takes the configuration over, bit 24 starts */
    SPI2_CLOCK = 0x6002400C,
    SPI2_USER = 0x60024010,
    SPI2_BITS = 0x6002401C,
    SPI2_MISC = 0x60024020,
    SPI2_BUFFER = 0x60024098,
    SPI2_SLAVE = 0x600240E0,
    SPI2_CLOCK_GATE = 0x600240E8,

    RNG_WORD = 0x600260B0,

    SYSTEM_CLOCKS = 0x600C0010, /* bit 6 SPI2, bit 29 the system timer */
    SYSTEM_RESETS = 0x600C0018,
};

static inline volatile uint32_t *reg(uint32_t address)
{
    return (volatile uint32_t *)address;
}

static inline void set_bits(uint32_t address, uint32_t bits)
{
    *reg(address) |= bits;
}

static inline void clear_bits(uint32_t address, uint32_t bits)
{
    *reg(address) &= ~bits;
}

#endif
