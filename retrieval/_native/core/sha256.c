/* From messages to digests: padding, and which messages run side by side. */
#include "sha256.h"

#include "bytes.h"
#include "sha256_kernels.h"

enum { LENGTH_SIZE = 8 };

/* A message on its way. Its blocks are read where they lie; the last one or two, which need padding, are made up in `last`. */
struct lane {
    uint32_t state[8];
    size_t id;
    const uint8_t *at;
    size_t n_blocks; /* from `at` on; 0 once all is compressed */
    size_t n_last;   /* blocks of `last` that come after them */
    uint8_t last[2 * RMN_SHA256_BLOCK_SIZE];
};

static void read_on(struct lane *lane)
{
    if (lane->n_blocks == 0) {
        lane->at = lane->last;
        lane->n_blocks = lane->n_last;
        lane->n_last = 0;
    }
}

static void open_lane(struct lane *lane, const struct rmn_sha256_message *message)
{
    const size_t tail_size = message->in_len % RMN_SHA256_BLOCK_SIZE;
    const size_t n_last = tail_size + 1 + LENGTH_SIZE <= RMN_SHA256_BLOCK_SIZE ? 1 : 2;
    const uint64_t n_bytes = message->in_len;

    *lane = (struct lane){
        /* FIPS 180-4, 5.3.3: the first 32 bits of the fractional parts of the square roots of the first eight primes. */
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
        .id = message->id,
        .at = message->in,
        .n_blocks = message->in_len / RMN_SHA256_BLOCK_SIZE,
        .n_last = n_last,
    };
    for (size_t i = 0; i < tail_size; i++) {
        lane->last[i] = message->in[message->in_len - tail_size + i];
    }
    lane->last[tail_size] = 0x80;
    uint8_t *const length = lane->last + n_last * RMN_SHA256_BLOCK_SIZE - LENGTH_SIZE;
    rmn_store_be32(length, (uint32_t)(n_bytes >> 29)); /* the length is in bits: n_bytes * 8 */
    rmn_store_be32(length + 4, (uint32_t)(n_bytes << 3));
    read_on(lane);
}

static void write_digest(const struct lane *lane, uint8_t out[RMN_SHA256_SIZE])
{
    for (size_t i = 0; i < 8; i++) {
        rmn_store_be32(out + 4 * i, lane->state[i]);
    }
}

/* Moves some of the open lanes on, as many as the best width for n_open takes, by as many blocks as the shortest of them has in a row.
 * Lanes that nothing fills read what the first one reads, for nothing. */
static void compress(const struct rmn_sha256_width *width, struct lane *const lanes[], size_t n_open)
{
    uint32_t *states[RMN_SHA256_LANES_MAX] = {0};
    const uint8_t *in[RMN_SHA256_LANES_MAX] = {0};
    uint32_t idle[RMN_SHA256_LANES_MAX][8] = {{0}};
    size_t n_blocks = SIZE_MAX;

    while (n_open < width->n_least) {
        width++;
    }
    const size_t n_busy = n_open < width->n_lanes ? n_open : width->n_lanes;
    for (size_t i = 0; i < width->n_lanes; i++) {
        states[i] = i < n_busy ? lanes[i]->state : idle[i];
        in[i] = lanes[i < n_busy ? i : 0]->at;
        if (i < n_busy && lanes[i]->n_blocks < n_blocks) {
            n_blocks = lanes[i]->n_blocks;
        }
    }
    width->compress(states, in, n_blocks);
    for (size_t i = 0; i < n_busy; i++) {
        lanes[i]->at += n_blocks * RMN_SHA256_BLOCK_SIZE;
        lanes[i]->n_blocks -= n_blocks;
        read_on(lanes[i]);
    }
}

void rmn_sha256(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, uint8_t out[RMN_SHA256_SIZE])
{
    const struct rmn_sha256_message message = {.in = in, .in_len = in_len};
    struct lane lane;
    struct lane *const lanes[] = {&lane};

    open_lane(&lane, &message);
    while (lane.n_blocks > 0) {
        compress(rmn_sha256_widths(kernel), lanes, 1);
    }
    write_digest(&lane, out);
}

void rmn_sha256_all(enum rmn_sha256_kernel kernel, const struct rmn_sha256_batch *batch)
{
    const struct rmn_sha256_width *const widest = rmn_sha256_widths(kernel);
    struct lane places[RMN_SHA256_LANES_MAX];
    struct lane *lanes[RMN_SHA256_LANES_MAX]; /* the open ones first */
    struct rmn_sha256_message message;
    uint8_t digest[RMN_SHA256_SIZE];
    size_t n_open = 0;

    for (size_t i = 0; i < widest->n_lanes; i++) {
        lanes[i] = &places[i];
    }
    for (;;) {
        while (n_open < widest->n_lanes && batch->next(batch->context, &message)) {
            open_lane(lanes[n_open++], &message);
        }
        if (n_open == 0) {
            return;
        }
        compress(widest, lanes, n_open);
        for (size_t i = n_open; i-- > 0;) {
            struct lane *const lane = lanes[i];
            if (lane->n_blocks == 0) {
                write_digest(lane, digest);
                batch->digested(batch->context, lane->id, digest);
                n_open -= 1;
                lanes[i] = lanes[n_open];
                lanes[n_open] = lane;
            }
        }
    }
}
