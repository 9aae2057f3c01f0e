/* One input, every parser of the core, and what must hold whatever the input is.
 *
 * libFuzzer calls LLVMFuzzerTestOneInput (clang -fsanitize=fuzzer,address,undefined); elsewhere replay_core.c does. The input is copied
 * into an allocation of exactly its size, so that AddressSanitizer sees a read of one byte too many, which the NUL behind every Python
 * bytes object would hide. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "core/cid.h"
#include "core/frame.h"
#include "core/sha256.h"
#include "core/uvarint.h"
#include "core/verify.h"

#undef NDEBUG
#include <assert.h>

enum { ROWS_MAX = 64, MESSAGES = 21, LENGTHS = 1024 }; /* more messages than any kernel has lanes */

static void check_uvarint(const uint8_t *in, size_t in_len)
{
    uint8_t again[RMN_UVARINT_SIZE_MAX];
    size_t at = 0, size = 0;
    uint64_t value = 0;

    if (rmn_uvarint_decode(in, in_len, &at, &value) != RMN_OK) {
        assert(at == 0 && value == 0);
        return;
    }
    assert(at <= in_len && value <= RMN_UVARINT_VALUE_MAX);
    assert(rmn_uvarint_encode(value, again, sizeof again, &size) == RMN_OK);
    assert(size == at && memcmp(in, again, size) == 0);
    assert(rmn_uvarint_encode(value, again, size - 1, &size) == RMN_OUT_TOO_SMALL);
}

static void check_cid(const uint8_t *in, size_t in_len)
{
    struct rmn_cid cid;

    for (size_t at = 0; at <= in_len && at < 4; at++) {
        if (rmn_cid_parse(in, in_len, at, &cid) == RMN_OK) {
            assert(cid.version <= 1 && at < cid.digest_start && cid.digest_start <= cid.end && cid.end <= in_len);
            assert(cid.end - cid.digest_start <= RMN_DIGEST_SIZE_MAX);
        }
    }
}

static unsigned long hwcap(void)
{
#if defined(__linux__) && defined(__aarch64__)
    return getauxval(AT_HWCAP);
#else
    return 0;
#endif
}

/* Tails of one input, so that they have unequal lengths and all end where a read too far is seen. */
struct tails {
    const uint8_t *in;
    size_t in_len, n_given, n_digested;
    uint8_t digests[MESSAGES][RMN_SHA256_SIZE];
};

static bool next_tail(void *context, struct rmn_sha256_message *message)
{
    struct tails *const tails = context;
    const size_t start = 37 * tails->n_given % (tails->in_len + 1);

    if (tails->n_given == MESSAGES) {
        return false;
    }
    *message = (struct rmn_sha256_message){.in = tails->in + start, .in_len = tails->in_len - start, .id = tails->n_given};
    tails->n_given += 1;
    return true;
}

static void keep_digest(void *context, size_t id, const uint8_t digest[RMN_SHA256_SIZE])
{
    struct tails *const tails = context;

    memcpy(tails->digests[id], digest, RMN_SHA256_SIZE);
    tails->n_digested += 1;
}

/* No branch of a kernel depends on the bytes, so that one input of each length is enough. */
static void check_kernels(const uint8_t *in, size_t in_len)
{
    static bool checked[LENGTHS] = {0};
    static int usable[RMN_SHA256_N_KERNELS] = {0}; /* asking the processor is slow; 1 is yes and -1 is no */
    struct tails plain = {.in = in, .in_len = in_len};

    if (in_len < LENGTHS && checked[in_len]) {
        return;
    }
    checked[in_len % LENGTHS] = true;
    for (unsigned kernel = RMN_SHA256_PLAIN; kernel < RMN_SHA256_N_KERNELS; kernel++) {
        struct tails tails = {.in = in, .in_len = in_len};
        struct tails *const found = kernel == RMN_SHA256_PLAIN ? &plain : &tails;
        uint8_t alone[RMN_SHA256_SIZE];

        if (usable[kernel] == 0) {
            usable[kernel] = rmn_sha256_usable(kernel, hwcap()) ? 1 : -1;
        }
        if (usable[kernel] < 0) {
            continue;
        }
        rmn_sha256_all(kernel, &(struct rmn_sha256_batch){.next = next_tail, .digested = keep_digest, .context = found});
        assert(found->n_digested == MESSAGES && memcmp(found->digests, plain.digests, sizeof plain.digests) == 0);
        rmn_sha256(kernel, in, in_len, alone);
        assert(memcmp(alone, plain.digests[0], sizeof alone) == 0);
    }
}

/* The kernel that is chosen by default. */
static enum rmn_sha256_kernel fastest(void)
{
    static enum rmn_sha256_kernel found = RMN_SHA256_N_KERNELS;

    if (found == RMN_SHA256_N_KERNELS) {
        do {
            found--;
        } while (!rmn_sha256_usable(found, hwcap()));
    }
    return found;
}

static void check_walks(const uint8_t *in, size_t in_len, size_t rows_max)
{
    struct rmn_frame frames[ROWS_MAX];
    struct rmn_block_row rows[ROWS_MAX];
    size_t scanned = 0, verified = 0, n_frames = 0, n_rows = 0;

    rmn_frames_scan(in, in_len, &scanned, frames, rows_max, &n_frames);
    const enum rmn_stop stop = rmn_verify_frames(fastest(), in, in_len, &verified, rows, rows_max, &n_rows);
    assert(n_rows <= n_frames && n_frames <= rows_max && verified <= scanned && scanned <= in_len);
    assert(stop != RMN_STOP_FULL || n_rows == rows_max);
    for (size_t i = 0; i < n_rows; i++) {
        const struct rmn_block_row *const row = &rows[i];
        assert(frames[i].type == RMN_FRAME_TYPE_BLOCK && frames[i].body_start == row->deal_id_start);
        assert(frames[i].body_end == row->payload_end && row->status <= RMN_BLOCK_MALFORMED);
        if (row->status == RMN_BLOCK_MALFORMED) {
            continue;
        }
        assert(row->cid_start == row->deal_id_start + RMN_BLOCK_HEADER_SIZE && row->cid_start < row->payload_start);
        assert(row->payload_start <= row->payload_end && row->payload_end - row->payload_start <= RMN_BLOCK_PAYLOAD_SIZE_MAX);
        assert(row->status == rmn_verify_block(RMN_SHA256_PLAIN, in + row->cid_start, (size_t)(row->payload_start - row->cid_start),
                                               in + row->payload_start, (size_t)(row->payload_end - row->payload_start)));
    }
}

static void check_sections(const uint8_t *in, size_t in_len, size_t rows_max)
{
    struct rmn_block_row rows[ROWS_MAX];
    size_t at = 0, n_rows = 0, end = 0;

    const enum rmn_stop stop = rmn_verify_sections(fastest(), in, in_len, &at, rows, rows_max, &n_rows);
    assert(n_rows <= rows_max && at <= in_len && (stop != RMN_STOP_FULL || n_rows == rows_max));
    for (size_t i = 0; i < n_rows; i++) {
        const struct rmn_block_row *const row = &rows[i];
        assert(end < row->deal_id_start && row->payload_start <= row->payload_end && row->payload_end <= at);
        assert(row->status == RMN_BLOCK_MALFORMED ||
               row->status == rmn_verify_block(RMN_SHA256_PLAIN, in + row->cid_start, (size_t)(row->payload_start - row->cid_start),
                                               in + row->payload_start, (size_t)(row->payload_end - row->payload_start)));
        end = (size_t)row->payload_end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *const in = malloc(size == 0 ? 1 : size); /* malloc(0) may be NULL, which is not the case under test */

    assert(in != NULL);
    if (size > 0) {
        memcpy(in, data, size);
    }
    check_uvarint(in, size);
    check_cid(in, size);
    check_kernels(in, size);
    check_walks(in, size, ROWS_MAX);
    check_walks(in, size, 1);
    check_sections(in, size, ROWS_MAX);
    check_sections(in, size, 1);
    free(in);
    return 0;
}
