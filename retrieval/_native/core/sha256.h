/* SHA-256 (FIPS 180-4) of one message or of several at once. */
#ifndef RMN_SHA256_H
#define RMN_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define RMN_SHA256_SIZE 32u
#define RMN_SHA256_BLOCK_SIZE 64u

/* Which code compresses. The caller asks the processor once (rmn_sha256_x86_usable) and says so in every call: the core keeps no
 * state. Any kernel gives the same digests. */
enum rmn_sha256_kernel {
    RMN_SHA256_PLAIN = 0,
    RMN_SHA256_X86 = 1, /* the SHA extensions; requires rmn_sha256_x86_usable() */
};

struct rmn_sha256_state {
    uint32_t words[8];
};

void rmn_sha256_init(struct rmn_sha256_state *state);

/* Mixes n_blocks whole blocks of 64 bytes into the state. */
void rmn_sha256_compress(enum rmn_sha256_kernel kernel, struct rmn_sha256_state *state, const uint8_t *in, size_t n_blocks);

/* Ends a message of in_len bytes, all of whose whole blocks are in the state: `tail` points at what is left of it. */
void rmn_sha256_finish(enum rmn_sha256_kernel kernel, struct rmn_sha256_state *state, const uint8_t *tail, uint64_t in_len,
                       uint8_t out[RMN_SHA256_SIZE]);

/* The digest of one message. */
void rmn_sha256(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, uint8_t out[RMN_SHA256_SIZE]);

#endif
