#include "cid.h"

#include "uvarint.h"

enum { V0_PREFIX_SIZE = 2, V0_SIZE = 34 };

enum rmn_result rmn_cid_parse(const uint8_t *in, size_t in_len, size_t at, struct rmn_cid *cid)
{
    struct rmn_cid found = {0};
    uint64_t digest_size = 0;
    enum rmn_result result;

    if (in_len - at >= V0_PREFIX_SIZE && in[at] == RMN_HASH_SHA2_256 && in[at + 1] == 32) {
        if (in_len - at < V0_SIZE) {
            return RMN_CID_CUT_SHORT;
        }
        *cid = (struct rmn_cid){
            .version = 0,
            .codec = RMN_CODEC_DAG_PB,
            .hash_code = RMN_HASH_SHA2_256,
            .digest_start = at + V0_PREFIX_SIZE,
            .end = at + V0_SIZE,
        };
        return RMN_OK;
    }
    if ((result = rmn_uvarint_decode(in, in_len, &at, &found.version)) != RMN_OK) {
        return result;
    }
    if (found.version != 1) {
        return RMN_CID_VERSION_UNKNOWN;
    }
    if ((result = rmn_uvarint_decode(in, in_len, &at, &found.codec)) != RMN_OK) {
        return result;
    }
    if ((result = rmn_uvarint_decode(in, in_len, &at, &found.hash_code)) != RMN_OK) {
        return result;
    }
    if ((result = rmn_uvarint_decode(in, in_len, &at, &digest_size)) != RMN_OK) {
        return result;
    }
    if (digest_size > RMN_DIGEST_SIZE_MAX) {
        return RMN_CID_DIGEST_TOO_LONG;
    }
    if (in_len - at < digest_size) {
        return RMN_CID_CUT_SHORT;
    }
    found.digest_start = at;
    found.end = at + (size_t)digest_size;
    *cid = found;
    return RMN_OK;
}
