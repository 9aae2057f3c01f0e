/* What the kernels of SHA-256 share with sha256.c and with nobody else. */
#ifndef RMN_SHA256_KERNELS_H
#define RMN_SHA256_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

/* The kernels are written in the intrinsics, and switched on by the attributes, that GCC and Clang share. */
#if defined(__x86_64__) && defined(__GNUC__)
#define RMN_SHA256_HAVE_X86 1
#else
#define RMN_SHA256_HAVE_X86 0
#endif

/* Clang before 16 declares the SHA-2 intrinsics only where the whole program may use them. */
#if !defined(__aarch64__) || !defined(__AARCH64EL__) || !defined(__GNUC__)
#define RMN_SHA256_HAVE_ARMV8 0
#elif defined(__ARM_FEATURE_SHA2) || !defined(__clang__) || __clang_major__ >= 16
#define RMN_SHA256_HAVE_ARMV8 1
#else
#define RMN_SHA256_HAVE_ARMV8 0
#endif

#define RMN_SHA256_BLOCK_SIZE 64u
#define RMN_SHA256_WIDTHS_MAX 5

/* The most messages that any kernel here takes at once: a lane costs 200 bytes of stack, which a microcontroller has none to spare of. */
#if RMN_SHA256_HAVE_X86
#define RMN_SHA256_LANES_MAX 16
#else
#define RMN_SHA256_LANES_MAX 1
#endif

/* Mixes n_blocks blocks of 64 bytes of each message into its state. How many messages is a property of the function. No two of the
 * states may be the same, two of the inputs may. */
typedef void rmn_sha256_compress(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks);

/* One way to compress, and the fewest messages for which it is faster than the next narrower one of its kernel. */
struct rmn_sha256_width {
    size_t n_lanes;
    size_t n_least;
    rmn_sha256_compress *compress;
};

/* The widths of a kernel, widest first. The last takes one message. */
const struct rmn_sha256_width *rmn_sha256_widths(enum rmn_sha256_kernel kernel);

rmn_sha256_compress rmn_sha256_plain;
#if RMN_SHA256_HAVE_X86
rmn_sha256_compress rmn_sha256_sha_ni_1, rmn_sha256_sha_ni_2, rmn_sha256_sha_ni_4; /* SHA, SSE4.1, SSSE3 */
rmn_sha256_compress rmn_sha256_avx2_8;                                             /* AVX2 */
rmn_sha256_compress rmn_sha256_avx512_8;                                           /* AVX2, AVX512F, AVX512VL */
rmn_sha256_compress rmn_sha256_avx512_16;                                          /* AVX512F, AVX512BW */
#endif
#if RMN_SHA256_HAVE_ARMV8
rmn_sha256_compress rmn_sha256_armv8_1; /* SHA2 */
#endif

/* AVX-512's functions of three inputs are truth tables, the first input the most significant. */
enum { RMN_XOR3 = 0x96, RMN_CHOOSE = 0xCA, RMN_MAJORITY = 0xE8 };

extern const uint32_t rmn_sha256_round_constants[64];

#endif
