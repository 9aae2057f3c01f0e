/* Binary CIDs (multiformats/cid): version 0 is a bare sha2-256 multihash, version 1 is 0x01 | codec | hash code | size | digest. */
#ifndef RMN_CID_H
#define RMN_CID_H

#include <stddef.h>
#include <stdint.h>

#include "result.h"

#define RMN_CODEC_DAG_PB 0x70u
#define RMN_HASH_IDENTITY 0x00u
#define RMN_HASH_SHA2_256 0x12u
#define RMN_DIGEST_SIZE_MAX 64u /* sha2-512, the longest digest in use */

struct rmn_cid {
    uint64_t version;
    uint64_t codec;
    uint64_t hash_code;
    size_t digest_start; /* counted from in[0], like `end` */
    size_t end;          /* the digest is the last part of a CID */
};

/* Parses the CID at in[at]; what follows it is not looked at. Requires at <= in_len. */
enum rmn_result rmn_cid_parse(const uint8_t *in, size_t in_len, size_t at, struct rmn_cid *cid);

#endif
