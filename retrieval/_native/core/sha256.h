/* SHA-256 (FIPS 180-4) of one message. */
#ifndef RMN_SHA256_H
#define RMN_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define RMN_SHA256_SIZE 32u

/* Which code compresses. The caller asks the processor once (rmn_sha256_x86_usable) and says so in every call: the core keeps no
 * state. Any kernel gives the same digests. One for the extensions of ARMv8 would stand beside x86's. */
enum rmn_sha256_kernel {
    RMN_SHA256_PLAIN = 0,
    RMN_SHA256_X86 = 1, /* the SHA extensions; requires rmn_sha256_x86_usable() */
};

/* The digest of one message. */
void rmn_sha256(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, uint8_t out[RMN_SHA256_SIZE]);

#endif
