/* SHA-256 of eight messages in half registers of AVX-512, for batches too small to fill sixteen lanes: these instructions run on three
 * ports where whole registers have two, so half as many lanes are 0.76 as fast. */
#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_X86

#define TARGET __attribute__((target("avx2,avx512f,avx512vl")))

#define rotate_right(x, n) _mm256_ror_epi32(x, n)
#define xor3(x, y, z) _mm256_ternarylogic_epi32(x, y, z, RMN_XOR3)
#define choose(x, y, z) _mm256_ternarylogic_epi32(x, y, z, RMN_CHOOSE)
#define majority(x, y, z) _mm256_ternarylogic_epi32(x, y, z, RMN_MAJORITY)

#include "sha256_lanes_8.h"

TARGET void rmn_sha256_avx512_8(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    compress(states, in, n_blocks);
}

#endif
