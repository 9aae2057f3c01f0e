#include "frame.h"

#include "bytes.h"
#include "cid.h"
#include "uvarint.h"

bool rmn_frame_next(const uint8_t *in, size_t in_len, size_t at, struct rmn_frame *frame, enum rmn_stop *stop)
{
    uint64_t length = 0;
    const enum rmn_result result = rmn_uvarint_decode(in, in_len, &at, &length);

    if (result != RMN_OK || length == 0) {
        *stop = result == RMN_UVARINT_CUT_SHORT ? RMN_STOP_NEED_MORE : RMN_STOP_MALFORMED_FRAME;
        return false;
    }
    if (at == in_len) {
        *stop = RMN_STOP_NEED_MORE;
        return false;
    }
    const uint8_t type = in[at];
    const uint64_t body_size = length - 1;
    at += 1;
    if (type == RMN_FRAME_TYPE_BLOCK && body_size > RMN_BLOCK_BODY_SIZE_MAX) {
        *stop = RMN_STOP_BLOCK_TOO_LARGE;
        return false;
    }
    if (type != RMN_FRAME_TYPE_BLOCK && body_size > RMN_CONTROL_BODY_SIZE_MAX) {
        *stop = RMN_STOP_FRAME_TOO_LARGE;
        return false;
    }
    if (in_len - at < body_size) {
        *stop = RMN_STOP_NEED_MORE;
        return false;
    }
    *frame = (struct rmn_frame){.type = type, .body_start = at, .body_end = at + body_size};
    return true;
}

enum rmn_stop rmn_frames_scan(const uint8_t *in, size_t in_len, size_t *at, struct rmn_frame *frames, size_t frames_max,
                              size_t *n_frames)
{
    *n_frames = 0;
    for (;;) {
        struct rmn_frame frame;
        enum rmn_stop stop;

        if (!rmn_frame_next(in, in_len, *at, &frame, &stop)) {
            return stop;
        }
        if (*n_frames == frames_max) {
            return RMN_STOP_FULL;
        }
        frames[*n_frames] = frame;
        *n_frames += 1;
        *at = (size_t)frame.body_end;
    }
}

enum rmn_result rmn_block_parse(const uint8_t *in, const struct rmn_frame *frame, struct rmn_block *block)
{
    const size_t body_start = (size_t)frame->body_start;
    const size_t body_end = (size_t)frame->body_end;
    struct rmn_cid cid;

    if (body_end - body_start < RMN_BLOCK_HEADER_SIZE) {
        return RMN_BLOCK_HEADER_CUT_SHORT;
    }
    const size_t index_start = body_start + RMN_DEAL_ID_SIZE;
    const size_t cid_start = body_start + RMN_BLOCK_HEADER_SIZE;
    const size_t cid_size = in[cid_start - 1];
    if (body_end - cid_start < cid_size) {
        return RMN_BLOCK_HEADER_CUT_SHORT;
    }
    const size_t cid_end = cid_start + cid_size;
    const enum rmn_result result = rmn_cid_parse(in, cid_end, cid_start, &cid);
    if (result != RMN_OK) {
        return result;
    }
    if (cid.end != cid_end) {
        return RMN_BLOCK_CID_MISFIT;
    }
    *block = (struct rmn_block){
        .index = rmn_load_be32(in + index_start),
        .deal_id_start = body_start,
        .cid_start = cid_start,
        .payload_start = cid_end,
        .hash_code = cid.hash_code,
        .digest_start = cid.digest_start,
    };
    return RMN_OK;
}
