/* What the kernels of SHA-256 share with sha256.c and with nobody else. */
#ifndef RMN_SHA256_KERNELS_H
#define RMN_SHA256_KERNELS_H

#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#define RMN_SHA256_HAVE_X86 1
#else
#define RMN_SHA256_HAVE_X86 0
#endif

#define RMN_SHA256_BLOCK_SIZE 64u

extern const uint32_t rmn_sha256_round_constants[64];

#endif
