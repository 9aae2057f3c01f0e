#include "wires.h"

#include "registers.h"

enum {
    PIN_INTERRUPT = 3,
    PIN_BUSY = 4,
    PIN_RESET = 5,
    PIN_MISO = 6,
    PIN_MOSI = 7,
    PIN_SELECT = 8,
    PIN_CLOCK = 10,
    SIGNAL_CLOCK = 63,
    SIGNAL_MISO = 64,
    SIGNAL_MOSI = 65,
    SIGNAL_PLAIN = 128, /* the pin does what GPIO_SET and GPIO_CLEAR say */
    PAD_GPIO = 1u << 12,
    PAD_INPUT = 1u << 9,
    PAD_DRIVE = 2u << 10, /* 20 mA */
    ROUTE_MATRIX = 1u << 6,
    PIECE = 64, /* bytes that the controller moves at once */
    SPI2_START = 1u << 24,
    SPI2_UPDATE = 1u << 23,
};

static void make_input(uint32_t pin)
{
    *reg(IO_MUX + 4 * pin) = PAD_GPIO | PAD_INPUT;
}

/* High before it is an output, so that neither line is pulled by mistake. */
static void make_output(uint32_t pin)
{
    *reg(GPIO_SET) = 1u << pin;
    *reg(GPIO_OUTPUT_ROUTE + 4 * pin) = SIGNAL_PLAIN;
    *reg(IO_MUX + 4 * pin) = PAD_GPIO | PAD_DRIVE;
    *reg(GPIO_ENABLE) = 1u << pin;
}

static void route_output(uint32_t pin, uint32_t signal)
{
    *reg(GPIO_OUTPUT_ROUTE + 4 * pin) = signal;
    *reg(IO_MUX + 4 * pin) = PAD_GPIO | PAD_DRIVE;
    *reg(GPIO_ENABLE) = 1u << pin;
}

/* Master, full duplex, mode 0, at a tenth of the bus clock: 8 MHz at most, half of what the radio takes. */
static void start_spi(void)
{
    set_bits(SYSTEM_CLOCKS, 1u << 6);
    clear_bits(SYSTEM_RESETS, 1u << 6);
    *reg(SPI2_SLAVE) = 0;
    *reg(SPI2_CLOCK_GATE) = 7;
    *reg(SPI2_CLOCK) = 9u << 12 | 4u << 6 | 9u;
    *reg(SPI2_USER) = 1u << 28 | 1u << 27 | 1u;
    *reg(SPI2_MISC) = 0x3F; /* no chip select of the controller's: a transaction is longer than it can hold one */
}

void wires_start(void)
{
    make_output(PIN_SELECT);
    make_output(PIN_RESET);
    make_input(PIN_BUSY);
    make_input(PIN_INTERRUPT);
    make_input(PIN_MISO);
    *reg(GPIO_INPUT_ROUTE + 4 * SIGNAL_MISO) = ROUTE_MATRIX | PIN_MISO;
    route_output(PIN_CLOCK, SIGNAL_CLOCK);
    route_output(PIN_MOSI, SIGNAL_MOSI);
    start_spi();
}

bool wires_busy(void)
{
    return (*reg(GPIO_IN) >> PIN_BUSY & 1) != 0;
}

bool wires_interrupt(void)
{
    return (*reg(GPIO_IN) >> PIN_INTERRUPT & 1) != 0;
}

void wires_reset(bool pulled)
{
    *reg(pulled ? GPIO_CLEAR : GPIO_SET) = 1u << PIN_RESET;
}

static uint32_t load_le32(const uint8_t *in, size_t n)
{
    uint32_t word = 0;

    for (size_t i = 0; i < n && i < 4; i++) {
        word |= (uint32_t)in[i] << (8 * i);
    }
    return word;
}

static void move_piece(const uint8_t *out, uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        *reg(SPI2_BUFFER + (uint32_t)i) = load_le32(out + i, n - i);
    }
    *reg(SPI2_BITS) = 8 * (uint32_t)n - 1;
    *reg(SPI2_COMMAND) = SPI2_UPDATE;
    while ((*reg(SPI2_COMMAND) & SPI2_UPDATE) != 0) {
    }
    *reg(SPI2_COMMAND) = SPI2_START;
    while ((*reg(SPI2_COMMAND) & SPI2_START) != 0) {
    }
    for (size_t i = 0; i < n; i++) {
        in[i] = (uint8_t)(*reg(SPI2_BUFFER + (uint32_t)(i & ~(size_t)3)) >> (8 * (i % 4)));
    }
}

void wires_transfer(const uint8_t *out, uint8_t *in, size_t n)
{
    *reg(GPIO_CLEAR) = 1u << PIN_SELECT;
    for (size_t done = 0; done < n; done += PIECE) {
        move_piece(out + done, in + done, n - done < PIECE ? n - done : PIECE);
    }
    *reg(GPIO_SET) = 1u << PIN_SELECT;
}
