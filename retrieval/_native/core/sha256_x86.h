/* SHA-256 with the SHA extensions of x86. */
#ifndef RMN_SHA256_X86_H
#define RMN_SHA256_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether this processor has the instructions. False where the compiler targets another architecture. */
bool rmn_sha256_x86_usable(void);

/* Mixes n_blocks blocks of 64 bytes into the state. */
void rmn_sha256_x86_compress(uint32_t state[8], const uint8_t *in, size_t n_blocks);

#endif
