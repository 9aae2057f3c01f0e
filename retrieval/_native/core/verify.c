#include "verify.h"

#include "bytes.h"
#include "cid.h"
#include "uvarint.h"

/* A row's status while its digest is not computed yet; no caller sees it. */
#define UNHASHED UINT32_MAX

/* What is known without hashing, or UNHASHED. */
static uint32_t status_without_sha256(uint64_t hash_code, const uint8_t *digest, size_t digest_len, const uint8_t *payload,
                                      size_t payload_len)
{
    if (hash_code == RMN_HASH_IDENTITY) {
        const bool same = digest_len == payload_len && rmn_equal(digest, payload, digest_len);
        return same ? RMN_BLOCK_OK : RMN_BLOCK_CORRUPT;
    }
    /* A truncated digest is a weaker promise than the one that is paid for, so it counts as another hash. */
    return hash_code == RMN_HASH_SHA2_256 && digest_len == RMN_SHA256_SIZE ? UNHASHED : RMN_BLOCK_UNSUPPORTED_HASH;
}

static enum rmn_block_status compare(const uint8_t *claimed, const uint8_t computed[RMN_SHA256_SIZE])
{
    return rmn_equal(claimed, computed, RMN_SHA256_SIZE) ? RMN_BLOCK_OK : RMN_BLOCK_CORRUPT;
}

enum rmn_block_status rmn_verify_block(enum rmn_sha256_kernel kernel, const uint8_t *cid, size_t cid_len, const uint8_t *payload,
                                       size_t payload_len)
{
    struct rmn_cid parsed;
    uint8_t computed[RMN_SHA256_SIZE];

    if (rmn_cid_parse(cid, cid_len, 0, &parsed) != RMN_OK || parsed.end != cid_len) {
        return RMN_BLOCK_MALFORMED;
    }
    const uint8_t *const digest = cid + parsed.digest_start;
    const uint32_t status = status_without_sha256(parsed.hash_code, digest, parsed.end - parsed.digest_start, payload, payload_len);
    if (status != UNHASHED) {
        return (enum rmn_block_status)status;
    }
    rmn_sha256(kernel, payload, payload_len, computed);
    return compare(digest, computed);
}

/* The rows of one call whose payloads are still to be hashed. */
struct unhashed_rows {
    const uint8_t *in;
    struct rmn_block_row *rows;
    size_t n_rows;
    size_t at; /* the rows before it have been handed out */
};

static bool next_unhashed(void *context, struct rmn_sha256_message *message)
{
    struct unhashed_rows *const unhashed = context;

    for (; unhashed->at < unhashed->n_rows; unhashed->at++) {
        const struct rmn_block_row *const row = &unhashed->rows[unhashed->at];
        if (row->status == UNHASHED) {
            *message = (struct rmn_sha256_message){
                .in = unhashed->in + row->payload_start,
                .in_len = (size_t)(row->payload_end - row->payload_start),
                .id = unhashed->at++,
            };
            return true;
        }
    }
    return false;
}

static void compare_row(void *context, size_t id, const uint8_t digest[RMN_SHA256_SIZE])
{
    struct unhashed_rows *const unhashed = context;
    struct rmn_block_row *const row = &unhashed->rows[id];

    /* The digest is the last part of the CID, and the CID ends where the payload starts. */
    row->status = compare(unhashed->in + row->payload_start - RMN_SHA256_SIZE, digest);
}

/* Splits off what rmn_verify_frames is to verify, and knows the status of every row but the UNHASHED. */
static enum rmn_stop split_blocks(const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows, size_t rows_max, size_t *n_rows)
{
    *n_rows = 0;
    for (;;) {
        struct rmn_frame frame;
        struct rmn_block block;
        enum rmn_stop stop;

        if (!rmn_frame_next(in, in_len, *at, &frame, &stop)) {
            return stop;
        }
        if (frame.type != RMN_FRAME_TYPE_BLOCK) {
            return RMN_STOP_OTHER_FRAME;
        }
        const enum rmn_result result = rmn_block_parse(in, &frame, &block);
        const size_t payload_len = result == RMN_OK ? (size_t)frame.body_end - block.payload_start : 0;
        if (payload_len > RMN_BLOCK_PAYLOAD_SIZE_MAX) {
            return RMN_STOP_BLOCK_TOO_LARGE;
        }
        if (*n_rows == rows_max) {
            return RMN_STOP_FULL;
        }
        if (result == RMN_OK) {
            rows[*n_rows] = (struct rmn_block_row){
                .status = status_without_sha256(block.hash_code, in + block.digest_start, block.payload_start - block.digest_start,
                                                in + block.payload_start, payload_len),
                .index = block.index,
                .deal_id_start = block.deal_id_start,
                .cid_start = block.cid_start,
                .payload_start = block.payload_start,
                .payload_end = frame.body_end,
            };
        } else {
            rows[*n_rows] = (struct rmn_block_row){
                .status = RMN_BLOCK_MALFORMED,
                .deal_id_start = frame.body_start,
                .cid_start = frame.body_end,
                .payload_start = frame.body_end,
                .payload_end = frame.body_end,
            };
        }
        *n_rows += 1;
        *at = (size_t)frame.body_end;
    }
}

/* Finds the whole section at in[*at] and moves *at to its CID, or says in *stop why there is none. */
static bool section_next(const uint8_t *in, size_t in_len, size_t *at, size_t *end, enum rmn_stop *stop)
{
    uint64_t length = 0;
    const enum rmn_result result = rmn_uvarint_decode(in, in_len, at, &length);

    if (result != RMN_OK || length == 0) {
        *stop = result == RMN_UVARINT_CUT_SHORT ? RMN_STOP_NEED_MORE : RMN_STOP_MALFORMED_FRAME;
        return false;
    }
    if (length > RMN_SECTION_SIZE_MAX) {
        *stop = RMN_STOP_BLOCK_TOO_LARGE;
        return false;
    }
    if (in_len - *at < length) {
        *stop = RMN_STOP_NEED_MORE;
        return false;
    }
    *end = *at + (size_t)length;
    return true;
}

/* Splits off what rmn_verify_sections is to verify, and knows the status of every row but the UNHASHED. */
static enum rmn_stop split_sections(const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows, size_t rows_max,
                                    size_t *n_rows)
{
    *n_rows = 0;
    for (;;) {
        size_t start = *at, end = 0;
        struct rmn_cid cid;
        enum rmn_stop stop;

        if (!section_next(in, in_len, &start, &end, &stop)) {
            return stop;
        }
        const bool is_readable = rmn_cid_parse(in, end, start, &cid) == RMN_OK;
        const size_t payload_len = is_readable ? end - cid.end : 0;
        if (payload_len > RMN_BLOCK_PAYLOAD_SIZE_MAX) {
            return RMN_STOP_BLOCK_TOO_LARGE;
        }
        if (*n_rows == rows_max) {
            return RMN_STOP_FULL;
        }
        rows[*n_rows] = (struct rmn_block_row){
            .status = is_readable
                          ? status_without_sha256(cid.hash_code, in + cid.digest_start, cid.end - cid.digest_start, in + cid.end, payload_len)
                          : RMN_BLOCK_MALFORMED,
            .deal_id_start = start,
            .cid_start = is_readable ? start : end,
            .payload_start = is_readable ? cid.end : end,
            .payload_end = end,
        };
        *n_rows += 1;
        *at = end;
    }
}

static void hash_rows(enum rmn_sha256_kernel kernel, const uint8_t *in, struct rmn_block_row *rows, size_t n_rows)
{
    struct unhashed_rows unhashed = {.in = in, .rows = rows, .n_rows = n_rows};

    rmn_sha256_all(kernel, &(struct rmn_sha256_batch){.next = next_unhashed, .digested = compare_row, .context = &unhashed});
}

enum rmn_stop rmn_verify_frames(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows,
                                size_t rows_max, size_t *n_rows)
{
    const enum rmn_stop stop = split_blocks(in, in_len, at, rows, rows_max, n_rows);

    hash_rows(kernel, in, rows, *n_rows);
    return stop;
}

enum rmn_stop rmn_verify_sections(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows,
                                  size_t rows_max, size_t *n_rows)
{
    const enum rmn_stop stop = split_sections(in, in_len, at, rows, rows_max, n_rows);

    hash_rows(kernel, in, rows, *n_rows);
    return stop;
}
