/* Frames of a session: uvarint length | type byte | body, where the length counts the type byte and the body.
 *
 * A block frame's body is deal id (16 bytes) | index (u32, big-endian) | CID size (u8) | CID | payload. */
#ifndef RMN_FRAME_H
#define RMN_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "result.h"

#define RMN_FRAME_TYPE_BLOCK 5u
#define RMN_DEAL_ID_SIZE 16u
#define RMN_BLOCK_HEADER_SIZE (RMN_DEAL_ID_SIZE + 4u + 1u)
#define RMN_CONTROL_BODY_SIZE_MAX 65536u
#define RMN_BLOCK_PAYLOAD_SIZE_MAX 2097152u
/* The CID's size is one byte, so this bound can be told from the length prefix alone. */
#define RMN_BLOCK_BODY_SIZE_MAX (RMN_BLOCK_HEADER_SIZE + 255u + RMN_BLOCK_PAYLOAD_SIZE_MAX)

/* Why a walk over frames ended. The numbers are shared with Python. */
enum rmn_stop {
    RMN_STOP_NEED_MORE = 0, /* the bytes end, between two frames or inside one */
    RMN_STOP_FULL = 1,      /* as many frames as asked for */
    RMN_STOP_OTHER_FRAME = 2,
    RMN_STOP_MALFORMED_FRAME = 3,
    RMN_STOP_FRAME_TOO_LARGE = 4,
    RMN_STOP_BLOCK_TOO_LARGE = 5,
};

/* One frame. Positions count from in[0]. The fields are of fixed width because rows of it cross to Python as they lie in memory. */
struct rmn_frame {
    uint64_t type;
    uint64_t body_start;
    uint64_t body_end;
};

struct rmn_block {
    uint32_t index;
    size_t deal_id_start;
    size_t cid_start;
    size_t payload_start;
    uint64_t hash_code;
    size_t digest_start; /* ends at payload_start */
};

/* Finds the whole frame at in[at], or says in *stop why there is none. An over-long frame is told as soon as its type byte is there,
 * before its body. Requires at <= in_len. */
bool rmn_frame_next(const uint8_t *in, size_t in_len, size_t at, struct rmn_frame *frame, enum rmn_stop *stop);

/* Splits up to frames_max frames from in[*at] on and moves *at behind the last of them. The result says what lies at *at. Requires *at <= in_len. */
enum rmn_stop rmn_frames_scan(const uint8_t *in, size_t in_len, size_t *at, struct rmn_frame *frames, size_t frames_max,
                              size_t *n_frames);

/* Parses the body of a block frame. The CID must fill exactly the size that the header gives it. */
enum rmn_result rmn_block_parse(const uint8_t *in, const struct rmn_frame *frame, struct rmn_block *block);

#endif
