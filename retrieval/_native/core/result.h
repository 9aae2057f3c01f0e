/* What the parsers of this core can say about bytes from outside.
 *
 * The rules of the core: C11, freestanding, no allocation, no mutable globals. Every length is hostile, so bounds are compared by
 * subtraction. Names begin with rmn_ (retrieval market node) because firmware links them beside other people's code. */
#ifndef RMN_RESULT_H
#define RMN_RESULT_H

enum rmn_result {
    RMN_OK = 0,
    RMN_UVARINT_CUT_SHORT,
    RMN_UVARINT_NOT_MINIMAL,
    RMN_UVARINT_TOO_LONG,
    RMN_UVARINT_TOO_LARGE,
    RMN_CID_CUT_SHORT,
    RMN_CID_VERSION_UNKNOWN,
    RMN_CID_DIGEST_TOO_LONG,
    RMN_BLOCK_HEADER_CUT_SHORT,
    RMN_BLOCK_CID_MISFIT,
    RMN_OUT_TOO_SMALL,
};

#endif
