/* Verification: whether bytes are what their CID says. */
#ifndef RMN_VERIFY_H
#define RMN_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "sha256.h"

/* What is known about one block. The numbers are shared with Python. */
enum rmn_block_status {
    RMN_BLOCK_OK = 0,
    RMN_BLOCK_CORRUPT = 1,          /* the payload does not match the digest */
    RMN_BLOCK_UNSUPPORTED_HASH = 2, /* neither sha2-256 with its full 32 bytes nor identity */
    RMN_BLOCK_MALFORMED = 3,        /* no CID, or no block header, could be read */
};

/* The most that stands behind the length of a CAR section: a CID of any size that is read, and a payload. */
#define RMN_SECTION_SIZE_MAX (255u + RMN_BLOCK_PAYLOAD_SIZE_MAX)

/* One block frame, or CAR section, of a batch. Positions count from in[0]; the CID ends where the payload starts. Of a malformed one only deal_id_start
 * (where its body starts) means something: the other positions are its end, and the index is 0. The fields are of fixed width because
 * rows cross to Python as they lie in memory. */
struct rmn_block_row {
    uint32_t status; /* enum rmn_block_status */
    uint32_t index;
    uint64_t deal_id_start;
    uint64_t cid_start;
    uint64_t payload_start;
    uint64_t payload_end;
};

/* Verifies one payload against a buffer that holds exactly one CID. */
enum rmn_block_status rmn_verify_block(enum rmn_sha256_kernel kernel, const uint8_t *cid, size_t cid_len, const uint8_t *payload,
                                       size_t payload_len);

/* Verifies up to rows_max consecutive block frames from in[*at] on and moves *at behind the last of them. The result says what lies at
 * *at. Requires *at <= in_len. */
enum rmn_stop rmn_verify_frames(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows,
                                size_t rows_max, size_t *n_rows);

/* The same for sections of a CAR: uvarint length | CID | payload. Their deal_id_start is where the section's CID should start, their index
 * 0; a length of zero, or none, is a malformed frame. */
enum rmn_stop rmn_verify_sections(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, size_t *at, struct rmn_block_row *rows,
                                  size_t rows_max, size_t *n_rows);

#endif
