/* SHA-512 (FIPS 180-4), of a message that comes in parts. Ed25519 needs it, and nothing else here does. */
#ifndef RELAY_SHA512_H
#define RELAY_SHA512_H

#include <stddef.h>
#include <stdint.h>

#define SHA512_SIZE 64u
#define SHA512_BLOCK_SIZE 128u

struct sha512 {
    uint64_t state[8];
    uint32_t size; /* bytes so far: nothing here hashes 512 MiB */
    uint8_t block[SHA512_BLOCK_SIZE];
};

void sha512_begin(struct sha512 *hash);
void sha512_add(struct sha512 *hash, const uint8_t *in, size_t n);
void sha512_end(struct sha512 *hash, uint8_t out[SHA512_SIZE]);

#endif
