/* One input, one life of a relay: time, frames on the air, bytes of the host, interrupts out of nowhere, a radio that hangs, flash that fails,
 * power that goes. What must hold whatever happens: it comes to rest, nothing is read or written out of bounds, and no hour of any band
 * holds more airtime than the law allows, over reboots too.
 *
 * libFuzzer calls LLVMFuzzerTestOneInput (make -C firmware fuzz); test_scripts.py calls it with what Hypothesis thinks up. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "band.h"
#include "core/airtime.h"
#include "core/kiss.h"
#include "core/packet.h"
#include "board.h"

#undef NDEBUG
#include <assert.h>

enum { SENT_MAX = 4096, REGISTERS = 4096, FRAME_MAX = 255, FLASH_SIZE = 8192, STEPS_MAX = 64, OUTPUT_ROOM = 4096 };
enum { IRQ_SENT = 0x001, IRQ_RECEIVED = 0x002, IRQ_CRC = 0x040, IRQ_SENSED = 0x080, IRQ_ACTIVITY = 0x100 };

#define HOUR_US UINT64_C(3600000000)
#define SECOND_US UINT64_C(1000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sent {
    uint64_t start_us;
    uint64_t end_us;
    uint32_t band;
};

/* A chip that believes everything it is told, and a world in which the script says what happens. */
struct world {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t now_us;
    struct board *board;
    bool busy;
    bool broken; /* answers with FF */
    bool free_channel;
    uint8_t registers[REGISTERS];
    uint8_t received[FRAME_MAX];
    uint8_t received_size;
    uint16_t irq;
    uint16_t irq_mask;
    uint16_t dio1_mask;
    uint32_t frequency_hz;
    struct rmn_modulation modulation;
    uint8_t length;
    struct sent sent[SENT_MAX];
    size_t n_sent;
};

static uint8_t next(struct world *world)
{
    return world->at < world->end ? *world->at++ : 0;
}

static uint32_t hz_of_code(uint8_t code)
{
    static const uint32_t HZ[] = {0, 15625, 31250, 62500, 125000, 250000, 500000};

    return code < sizeof HZ / sizeof HZ[0] ? HZ[code] : 0;
}

/* What a band held in the hour that ends with the last frame. */
static void check_duty(const struct world *world)
{
    const struct sent *const last = &world->sent[world->n_sent - 1];
    const uint64_t since_us = last->end_us > HOUR_US ? last->end_us - HOUR_US : 0;
    uint64_t sum_us = 0;

    for (size_t i = 0; i < world->n_sent; i++) {
        const struct sent *const sent = &world->sent[i];
        if (sent->band == last->band && sent->end_us > since_us) {
            sum_us += sent->end_us - (sent->start_us > since_us ? sent->start_us : since_us);
        }
    }
    assert(sum_us <= band_budget_us(last->band));
}

static void send(struct world *world)
{
    const uint32_t band = band_of(world->frequency_hz, world->modulation.bandwidth_hz);

    assert(band != BAND_NONE && world->length > 0 && rmn_modulation_valid(&world->modulation));
    if (world->n_sent == SENT_MAX) {
        return;
    }
    const uint32_t airtime_us = rmn_airtime_us(&world->modulation, world->length);
    world->sent[world->n_sent++] = (struct sent){.start_us = world->now_us, .end_us = world->now_us + airtime_us, .band = band};
    check_duty(world);
    world->now_us += airtime_us;
    world->irq = (uint16_t)(world->irq | (IRQ_SENT & world->irq_mask));
}

static void obey(struct world *world, const uint8_t *out, size_t n)
{
    switch (out[0]) {
    case 0x02:
        world->irq = (uint16_t)(world->irq & ~(out[1] << 8 | out[2]));
        break;
    case 0x08:
        world->irq_mask = (uint16_t)(out[1] << 8 | out[2]);
        world->dio1_mask = (uint16_t)(out[3] << 8 | out[4]);
        break;
    case 0x0D:
        world->registers[(out[1] << 8 | out[2]) % REGISTERS] = out[3];
        break;
    case 0x83:
        send(world);
        break;
    case 0x86:
        world->frequency_hz = (uint32_t)(((uint64_t)out[1] << 24 | (uint64_t)out[2] << 16 | (uint64_t)out[3] << 8 | out[4]) * 15625 >> 14);
        break;
    case 0x8B:
        world->modulation.spreading_factor = out[1];
        world->modulation.bandwidth_hz = hz_of_code(out[2]);
        world->modulation.coding_rate = (uint8_t)(out[3] + 4);
        break;
    case 0x8C:
        world->modulation.preamble = (uint16_t)(out[1] << 8 | out[2]);
        world->length = out[4];
        break;
    case 0xC5:
        world->irq = (uint16_t)(world->irq | ((IRQ_SENSED | (world->free_channel ? 0 : IRQ_ACTIVITY)) & world->irq_mask));
        break;
    default:
        break;
    }
    assert(n <= 258);
}

static void answer(struct world *world, const uint8_t *out, uint8_t *in, size_t n)
{
    uint8_t whole[300] = {0};

    switch (out[0]) {
    case 0x12:
        whole[2] = (uint8_t)(world->irq >> 8);
        whole[3] = (uint8_t)world->irq;
        break;
    case 0x13:
        whole[2] = world->received_size;
        whole[3] = 0;
        break;
    case 0x14:
        whole[2] = 200;
        whole[3] = 0xF0;
        break;
    case 0x1D:
        whole[4] = world->registers[(out[1] << 8 | out[2]) % REGISTERS];
        break;
    case 0x1E:
        memcpy(whole + 3, world->received, FRAME_MAX);
        break;
    default:
        break;
    }
    memcpy(in, whole, n);
}

static void transfer(void *context, const uint8_t *out, uint8_t *in, size_t n)
{
    struct world *const world = context;
    uint8_t said[300];

    assert(n > 0 && n <= sizeof said);
    memcpy(said, out, n);
    obey(world, said, n);
    if (world->broken) {
        memset(in, 0xFF, n);
    } else {
        answer(world, said, in, n);
    }
}

static void reset(void *context)
{
    struct world *const world = context;

    world->irq = 0;
    world->irq_mask = 0;
    world->dio1_mask = 0;
}

/* Steps until DIO1 is low, and drains what the host was told. */
static void step(struct world *world)
{
    uint8_t room[OUTPUT_ROOM];

    for (unsigned n = 0;; n++) {
        const uint32_t pins = ((world->irq & world->dio1_mask) != 0 ? HOST_PIN_DIO1 : 0) | (world->busy ? HOST_PIN_BUSY : 0);
        const uint64_t wake_us = host_step(world->board, world->now_us, pins);
        if (((world->irq & world->dio1_mask) == 0 || world->broken || world->busy) && wake_us > world->now_us) {
            break;
        }
        assert(n < STEPS_MAX);
    }
    while (host_take(world->board, room, sizeof room) > 0) {
    }
}

static void feed_frame(struct world *world)
{
    const uint8_t fend = RMN_KISS_FEND;
    const uint8_t n = next(world);
    uint8_t escaped[2];

    host_feed(world->board, &fend, 1);
    for (unsigned i = 0; i <= n % 64u; i++) {
        host_feed(world->board, escaped, rmn_kiss_escape(next(world), escaped));
    }
    host_feed(world->board, &fend, 1);
}

/* The bytes of the script with a checksum that fits, so that what lies behind it is reached. */
static size_t make_packet(struct world *world, uint8_t frame[FRAME_MAX])
{
    const size_t size = RMN_PACKET_OVERHEAD - RMN_PACKET_CRC_SIZE + next(world) % 60u;

    for (size_t i = 0; i < size; i++) {
        frame[i] = next(world);
    }
    frame[0] = (uint8_t)(0x10 | frame[0] % 9);
    frame[1] = (uint8_t)(frame[1] & 0x71);
    frame[2] = (uint8_t)(frame[2] % 40);
    return rmn_packet_seal(frame, size);
}

static void send_packet(struct world *world)
{
    const uint8_t fend = RMN_KISS_FEND, command = 0;
    uint8_t frame[FRAME_MAX], escaped[2];
    const size_t size = make_packet(world, frame);

    host_feed(world->board, &fend, 1);
    host_feed(world->board, &command, 1);
    for (size_t i = 0; i < size; i++) {
        host_feed(world->board, escaped, rmn_kiss_escape(frame[i], escaped));
    }
    host_feed(world->board, &fend, 1);
}

static void hear(struct world *world, bool whole)
{
    world->received_size = 0;
    if (whole) {
        world->received_size = (uint8_t)make_packet(world, world->received);
    } else {
        world->received_size = next(world);
        for (unsigned i = 0; i < world->received_size; i++) {
            world->received[i] = next(world);
        }
    }
    world->irq = (uint16_t)(world->irq | (IRQ_RECEIVED & world->irq_mask));
}

static void reboot(struct world *world)
{
    struct board *const again = host_new(world, transfer, reset, next(world));

    assert(again != NULL);
    memcpy(host_flash(again), host_flash(world->board), FLASH_SIZE);
    host_free(world->board);
    world->board = again;
    world->irq = 0;
}

static void act(struct world *world)
{
    const uint8_t bytes[] = {next(world), next(world)};
    const uint64_t amount = (uint64_t)bytes[1] + 1;

    switch (bytes[0] % 14) {
    case 0:
        world->now_us += amount * 1000;
        break;
    case 1:
        world->now_us += amount * SECOND_US;
        break;
    case 2:
        world->now_us += amount * 60 * SECOND_US;
        break;
    case 3:
        feed_frame(world);
        break;
    case 4:
        host_feed(world->board, bytes, sizeof bytes);
        break;
    case 5:
    case 6:
        hear(world, true);
        break;
    case 7:
        hear(world, false);
        break;
    case 8:
        world->irq = (uint16_t)(world->irq | ((unsigned)bytes[1] << 2 & world->irq_mask));
        break;
    case 9:
        world->busy = (bytes[1] & 3) == 3;
        world->broken = (bytes[1] & 12) == 12;
        world->free_channel = (bytes[1] & 48) != 48;
        break;
    case 10:
        if (bytes[1] < 32) {
            host_cut_flash(world->board, (uint32_t)bytes[1] * 64);
        }
        break;
    case 11:
        reboot(world);
        break;
    default:
        send_packet(world);
        break;
    }
    step(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t ON[] = {0xC0, 0x06, 0x01, 0xC0};
    struct world *const world = calloc(1, sizeof *world);

    assert(world != NULL);
    *world = (struct world){.at = data, .end = data + size, .free_channel = true};
    world->board = host_new(world, transfer, reset, next(world));
    assert(world->board != NULL);
    step(world);
    host_feed(world->board, ON, sizeof ON);
    while (world->at < world->end) {
        act(world);
    }
    host_free(world->board);
    free(world);
    return 0;
}
