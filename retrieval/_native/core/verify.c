#include "verify.h"

#include "bytes.h"
#include "cid.h"

static enum rmn_block_status check_digest(enum rmn_sha256_kernel kernel, uint64_t hash_code, const uint8_t *digest, size_t digest_len,
                                          const uint8_t *payload, size_t payload_len)
{
    uint8_t computed[RMN_SHA256_SIZE];

    if (hash_code == RMN_HASH_IDENTITY) {
        const int same = digest_len == payload_len && rmn_equal(digest, payload, digest_len);
        return same ? RMN_BLOCK_OK : RMN_BLOCK_CORRUPT;
    }
    /* A truncated digest is a weaker promise than the one that is paid for, so it counts as another hash. */
    if (hash_code != RMN_HASH_SHA2_256 || digest_len != RMN_SHA256_SIZE) {
        return RMN_BLOCK_UNSUPPORTED_HASH;
    }
    rmn_sha256(kernel, payload, payload_len, computed);
    return rmn_equal(digest, computed, RMN_SHA256_SIZE) ? RMN_BLOCK_OK : RMN_BLOCK_CORRUPT;
}

enum rmn_block_status rmn_verify_block(enum rmn_sha256_kernel kernel, const uint8_t *cid, size_t cid_len, const uint8_t *payload,
                                       size_t payload_len)
{
    struct rmn_cid parsed;

    if (rmn_cid_parse(cid, cid_len, 0, &parsed) != RMN_OK || parsed.end != cid_len) {
        return RMN_BLOCK_MALFORMED;
    }
    return check_digest(kernel, parsed.hash_code, cid + parsed.digest_start, parsed.end - parsed.digest_start, payload, payload_len);
}

enum rmn_stop rmn_verify_frames(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows,
                                size_t rows_max, size_t *n_rows)
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
                .status = check_digest(kernel, block.hash_code, in + block.digest_start, block.payload_start - block.digest_start,
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
