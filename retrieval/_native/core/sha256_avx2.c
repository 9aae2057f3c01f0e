/* SHA-256 of eight messages in the eight lanes of AVX2, which has neither rotations nor functions of three inputs: twice the instructions
 * of AVX-512. */
#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_X86

#define TARGET __attribute__((target("avx2")))

#define rotate_right(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define xor3(x, y, z) _mm256_xor_si256(_mm256_xor_si256(x, y), z)
#define choose(x, y, z) _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(y, z), x), z)
#define majority(x, y, z) _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(y, z)), y)

#include "sha256_lanes_8.h"

TARGET void rmn_sha256_avx2_8(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    compress(states, in, n_blocks);
}

#endif
