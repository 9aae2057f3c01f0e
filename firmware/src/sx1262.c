#include "sx1262.h"

#include "core/bytes.h"

/* Opcodes and registers: SX1261/2 data sheet, chapters 12 and 13. */
enum {
    CLEAR_IRQ = 0x02,
    IRQ_MASKS = 0x08,
    WRITE_REGISTER = 0x0D,
    WRITE_BUFFER = 0x0E,
    GET_IRQ = 0x12,
    RX_BUFFER_STATUS = 0x13,
    PACKET_STATUS = 0x14,
    READ_REGISTER = 0x1D,
    READ_BUFFER = 0x1E,
    STANDBY = 0x80,
    RX = 0x82,
    TX = 0x83,
    FREQUENCY = 0x86,
    CAD_PARAMETERS = 0x88,
    CALIBRATE = 0x89,
    PACKET_TYPE = 0x8A,
    MODULATION = 0x8B,
    PACKET_PARAMETERS = 0x8C,
    TX_PARAMETERS = 0x8E,
    BUFFER_BASE = 0x8F,
    PA_CONFIGURATION = 0x95,
    REGULATOR = 0x96,
    TCXO = 0x97,
    CALIBRATE_IMAGE = 0x98,
    ANTENNA_SWITCH = 0x9D,
    CAD = 0xC5,
};

enum {
    IQ_POLARITY = 0x0736,
    SYNC_WORD = 0x0740,
    RANDOM_NUMBER = 0x0819,
    TX_MODULATION = 0x0889,
    RX_GAIN = 0x08AC,
    TX_CLAMP = 0x08D8,
};

enum {
    IRQ_SENT = 0x001,
    IRQ_RECEIVED = 0x002,
    IRQ_PREAMBLE = 0x004,
    IRQ_HEADER = 0x010,
    IRQ_HEADER_ERROR = 0x020,
    IRQ_CRC_ERROR = 0x040,
    IRQ_SENSED = 0x080,
    IRQ_ACTIVITY = 0x100,
    IRQ_TIMEOUT = 0x200,
    IRQ_COMING = IRQ_PREAMBLE | IRQ_HEADER, /* kept in the status, but no reason to raise DIO1 */
    IRQ_ON_DIO1 = IRQ_SENT | IRQ_RECEIVED | IRQ_HEADER_ERROR | IRQ_CRC_ERROR | IRQ_SENSED | IRQ_ACTIVITY | IRQ_TIMEOUT,
};

enum {
    BUSY_STEP_US = 20,
    BUSY_STEPS_MAX = 2500, /* 50 ms: a cold start with its calibrations takes 10 */
    TX_MARGIN_US = 100000, /* beyond the airtime, until the chip gives up a transmission */
    READ_ANSWER_AT = 2,    /* opcode, status */
    REGISTER_ANSWER_AT = 4,
    BUFFER_ANSWER_AT = 3,
};

/* One transaction, once the chip is ready for it. Without BUSY falling nothing is sent: the chip would not listen. */
static bool transfer(struct sx1262 *radio, const uint8_t *out, uint8_t *in, size_t n)
{
    for (uint32_t step = 0; hal_radio_busy(radio->board); step++) {
        if (step == BUSY_STEPS_MAX || radio->mode == SX1262_FAILED) {
            radio->mode = SX1262_FAILED;
            return false;
        }
        hal_wait_us(radio->board, BUSY_STEP_US);
    }
    hal_radio_transfer(radio->board, out, in, n);
    return true;
}

/* A command of up to eight arguments. */
static void command(struct sx1262 *radio, uint8_t opcode, const uint8_t *arguments, size_t n)
{
    uint8_t bytes[9] = {opcode};

    for (size_t i = 0; i < n; i++) {
        bytes[1 + i] = arguments[i];
    }
    transfer(radio, bytes, bytes, 1 + n);
}

/* COMMAND(radio, OPCODE, arguments...) */
#define COMMAND(radio, opcode, ...) command((radio), (opcode), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static uint8_t read_register(struct sx1262 *radio, uint32_t address)
{
    uint8_t bytes[REGISTER_ANSWER_AT + 1] = {READ_REGISTER, (uint8_t)(address >> 8), (uint8_t)address};

    return transfer(radio, bytes, bytes, sizeof bytes) ? bytes[REGISTER_ANSWER_AT] : 0;
}

static void write_register(struct sx1262 *radio, uint32_t address, uint8_t value)
{
    COMMAND(radio, WRITE_REGISTER, (uint8_t)(address >> 8), (uint8_t)address, value);
}

static uint32_t irq_status(struct sx1262 *radio)
{
    uint8_t bytes[READ_ANSWER_AT + 2] = {GET_IRQ};

    return transfer(radio, bytes, bytes, sizeof bytes) ? (uint32_t)bytes[READ_ANSWER_AT] << 8 | bytes[READ_ANSWER_AT + 1] : 0;
}

static void clear_irq(struct sx1262 *radio, uint32_t bits)
{
    COMMAND(radio, CLEAR_IRQ, (uint8_t)(bits >> 8), (uint8_t)bits);
}

static void stand_by(struct sx1262 *radio)
{
    COMMAND(radio, STANDBY, 0x01); /* on the crystal: RX and TX start sooner from there */
}

/* Explicit header, CRC, standard IQ. The length is what a transmission has, and the longest that a reception may have. */
static void set_length(struct sx1262 *radio, uint8_t length)
{
    const uint16_t preamble = radio->channel.modulation.preamble;

    COMMAND(radio, PACKET_PARAMETERS, (uint8_t)(preamble >> 8), (uint8_t)preamble, 0x00, length, 0x01, 0x00);
}

static uint8_t bandwidth_code(uint32_t bandwidth_hz)
{
    static const uint8_t CODES[] = {6, 5, 4, 3, 2, 1}; /* from 500 kHz to 15.6 kHz */
    uint32_t n = 0;

    for (uint32_t chip_us = rmn_chip_us(bandwidth_hz); chip_us > 2; chip_us /= 2) {
        n++;
    }
    return CODES[n];
}

/* Hz * 2^25 / 32 MHz, in two parts of 32 bits: 2^25 / 32,000,000 = 2^14 / 15,625. */
static uint32_t frequency_steps(uint32_t frequency_hz)
{
    const uint32_t whole = frequency_hz / 15625;
    const uint32_t rest = frequency_hz % 15625;

    return (whole << 14) + (rest << 14) / 15625;
}

/* Wiring of the HT-CT62: a TCXO of 1.8 V on DIO3 that settles in 5 ms, the antenna switch on DIO2, and a DC-DC converter. */
static void set_up_board(struct sx1262 *radio)
{
    COMMAND(radio, STANDBY, 0x00); /* on the inner oscillator, as long as nobody has powered the TCXO */
    COMMAND(radio, REGULATOR, 0x01);
    COMMAND(radio, TCXO, 0x02, 0x00, 0x01, 0x40);
    COMMAND(radio, CALIBRATE, 0x7F);
    COMMAND(radio, ANTENNA_SWITCH, 0x01);
}

static void set_up_channel(struct sx1262 *radio)
{
    const struct channel *const channel = &radio->channel;
    const struct rmn_modulation *const modulation = &channel->modulation;
    uint8_t steps[4];

    rmn_store_be32(steps, frequency_steps(channel->frequency_hz));
    COMMAND(radio, PACKET_TYPE, 0x01);
    COMMAND(radio, CALIBRATE_IMAGE, 0xD7, 0xDB); /* 863 to 870 MHz, where every band of ours lies */
    command(radio, FREQUENCY, steps, sizeof steps);
    COMMAND(radio, PA_CONFIGURATION, 0x04, 0x07, 0x00, 0x01);
    COMMAND(radio, TX_PARAMETERS, (uint8_t)channel->power_dbm, 0x04);
    COMMAND(radio, BUFFER_BASE, 0x00, 0x00);
    COMMAND(radio, MODULATION, modulation->spreading_factor, bandwidth_code(modulation->bandwidth_hz), (uint8_t)(modulation->coding_rate - 4),
            rmn_low_data_rate(modulation) ? 1 : 0);
    set_length(radio, SX1262_FRAME_SIZE_MAX);
    COMMAND(radio, CAD_PARAMETERS, 0x02, (uint8_t)(modulation->spreading_factor + 13), 10, 0x00, 0x00, 0x00, 0x00);
    COMMAND(radio, IRQ_MASKS, (IRQ_ON_DIO1 | IRQ_COMING) >> 8, (IRQ_ON_DIO1 | IRQ_COMING) & 0xFF, IRQ_ON_DIO1 >> 8, IRQ_ON_DIO1 & 0xFF, 0x00,
            0x00, 0x00, 0x00);
}

/* Registers that the data sheet corrects in its chapter 15, and two that are ours to choose. */
static void set_up_registers(struct sx1262 *radio)
{
    const bool widest = radio->channel.modulation.bandwidth_hz == 500000;
    const uint8_t modulation = read_register(radio, TX_MODULATION);

    write_register(radio, TX_MODULATION, (uint8_t)(widest ? modulation & ~0x04 : modulation | 0x04));        /* 15.1: quality at 500 kHz */
    write_register(radio, TX_CLAMP, (uint8_t)(read_register(radio, TX_CLAMP) | 0x1E));                       /* 15.2: a badly matched antenna */
    write_register(radio, IQ_POLARITY, (uint8_t)(read_register(radio, IQ_POLARITY) | 0x04));                 /* 15.4: standard IQ */
    write_register(radio, RX_GAIN, 0x96);                                                                    /* boosted */
    write_register(radio, SYNC_WORD, 0x14);
    write_register(radio, SYNC_WORD + 1, 0x24); /* private networks, as RNodes have it */
}

static bool answers(struct sx1262 *radio)
{
    return read_register(radio, SYNC_WORD) == 0x14 && read_register(radio, SYNC_WORD + 1) == 0x24 && radio->mode != SX1262_FAILED;
}

bool sx1262_start(struct sx1262 *radio, const struct channel *channel)
{
    radio->channel = *channel;
    radio->mode = SX1262_OFF;
    hal_radio_reset(radio->board);
    set_up_board(radio);
    set_up_channel(radio);
    set_up_registers(radio);
    if (!answers(radio)) {
        radio->mode = SX1262_FAILED;
        return false;
    }
    sx1262_listen(radio);
    return radio->mode == SX1262_LISTENING;
}

static void enter(struct sx1262 *radio, enum sx1262_mode mode)
{
    if (radio->mode != SX1262_FAILED) {
        radio->mode = mode;
    }
}

void sx1262_stop(struct sx1262 *radio)
{
    hal_radio_reset(radio->board);
    radio->mode = SX1262_OFF;
}

void sx1262_listen(struct sx1262 *radio)
{
    stand_by(radio);
    set_length(radio, SX1262_FRAME_SIZE_MAX);
    clear_irq(radio, IRQ_ON_DIO1 | IRQ_COMING);
    COMMAND(radio, RX, 0xFF, 0xFF, 0xFF);
    enter(radio, SX1262_LISTENING);
}

/* Asks for the frame where the chip says it lies. In continuous reception the next one comes behind it. */
static bool fetch(struct sx1262 *radio, struct sx1262_reception *reception)
{
    uint8_t where[READ_ANSWER_AT + 2] = {RX_BUFFER_STATUS};
    uint8_t how[READ_ANSWER_AT + 3] = {PACKET_STATUS};
    uint8_t bytes[BUFFER_ANSWER_AT + SX1262_FRAME_SIZE_MAX] = {READ_BUFFER};

    if (!transfer(radio, where, where, sizeof where) || !transfer(radio, how, how, sizeof how)) {
        return false;
    }
    reception->size = where[READ_ANSWER_AT];
    bytes[1] = where[READ_ANSWER_AT + 1];
    if (reception->size == 0 || !transfer(radio, bytes, bytes, BUFFER_ANSWER_AT + (size_t)reception->size)) {
        return false;
    }
    for (uint32_t i = 0; i < reception->size; i++) {
        reception->frame[i] = bytes[BUFFER_ANSWER_AT + i];
    }
    reception->rssi_dbm = (int16_t)(-how[READ_ANSWER_AT] / 2);
    reception->snr_quarter_db = (int8_t)how[READ_ANSWER_AT + 1];
    return true;
}

/* A frame that came, or the wreck of one. */
static enum sx1262_event received(struct sx1262 *radio, uint32_t irq, struct sx1262_reception *reception)
{
    const bool sound = (irq & (IRQ_CRC_ERROR | IRQ_HEADER_ERROR)) == 0 && fetch(radio, reception);

    clear_irq(radio, irq);
    return sound ? SX1262_RECEIVED : SX1262_GARBLED;
}

static enum sx1262_event sensed(struct sx1262 *radio, uint32_t irq)
{
    clear_irq(radio, irq);
    if ((irq & IRQ_ACTIVITY) != 0) {
        sx1262_listen(radio);
        return SX1262_CHANNEL_BUSY;
    }
    return SX1262_CHANNEL_FREE;
}

enum sx1262_event sx1262_poll(struct sx1262 *radio, struct sx1262_reception *reception)
{
    if (!hal_radio_interrupt(radio->board)) {
        return SX1262_NOTHING;
    }
    if (radio->mode == SX1262_OFF || radio->mode == SX1262_FAILED) {
        hal_radio_reset(radio->board); /* nobody waits for what it has to say, and the line must fall */
        return SX1262_NOTHING;
    }
    const uint32_t irq = irq_status(radio);
    if (radio->mode == SX1262_LISTENING && (irq & (IRQ_RECEIVED | IRQ_CRC_ERROR | IRQ_HEADER_ERROR)) != 0) {
        return received(radio, irq, reception);
    }
    if (radio->mode == SX1262_SENSING && (irq & IRQ_SENSED) != 0) {
        return sensed(radio, irq);
    }
    if (radio->mode == SX1262_SENDING && (irq & (IRQ_SENT | IRQ_TIMEOUT)) != 0) {
        sx1262_listen(radio);
        return (irq & IRQ_SENT) != 0 ? SX1262_SENT : SX1262_TIMED_OUT;
    }
    clear_irq(radio, irq & IRQ_ON_DIO1); /* of a mode that was left before it could be told */
    return SX1262_NOTHING;
}

bool sx1262_hears(struct sx1262 *radio, bool forget)
{
    const uint32_t irq = irq_status(radio);

    if (forget) {
        clear_irq(radio, irq & IRQ_COMING);
    }
    return (irq & (IRQ_COMING | IRQ_RECEIVED)) != 0;
}

void sx1262_sense(struct sx1262 *radio)
{
    stand_by(radio);
    clear_irq(radio, IRQ_ON_DIO1 | IRQ_COMING);
    command(radio, CAD, NULL, 0);
    enter(radio, SX1262_SENSING);
}

void sx1262_send(struct sx1262 *radio, const uint8_t *frame, size_t size)
{
    uint8_t bytes[2 + SX1262_FRAME_SIZE_MAX] = {WRITE_BUFFER, 0};
    /* The chip counts 15.625 us. At most 10.1 s, so 24 bits and the product hold it. */
    const uint32_t limit = (channel_airtime_us(&radio->channel, (uint32_t)size) + TX_MARGIN_US) / 125 * 8;

    for (size_t i = 0; i < size; i++) {
        bytes[2 + i] = frame[i];
    }
    stand_by(radio);
    set_length(radio, (uint8_t)size);
    transfer(radio, bytes, bytes, 2 + size);
    clear_irq(radio, IRQ_ON_DIO1 | IRQ_COMING);
    COMMAND(radio, TX, (uint8_t)(limit >> 16), (uint8_t)(limit >> 8), (uint8_t)limit);
    enter(radio, SX1262_SENDING);
}

bool sx1262_alive(struct sx1262 *radio)
{
    return answers(radio);
}

uint32_t sx1262_noise(struct sx1262 *radio)
{
    uint32_t word = 0;

    for (uint32_t n = 0; n < 4; n++) {
        word = word << 8 | read_register(radio, RANDOM_NUMBER + n);
    }
    return word;
}
