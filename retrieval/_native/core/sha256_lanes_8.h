/* Vectors of eight words, for sha256_avx2.c and sha256_avx512vl.c, which differ in how they rotate and mix: each defines TARGET, xor3,
 * choose, majority and rotate_right before it includes this, and gets what sha256_lanes.h gives. */
#include <immintrin.h>

#include "sha256_kernels.h"

#define INLINE TARGET __attribute__((always_inline)) static inline
#define LANES 8

typedef __m256i words;

enum { LOW_HALVES = 0x20, HIGH_HALVES = 0x31 };

#define broadcast(word) _mm256_set1_epi32((int)(word))
#define add(x, y) _mm256_add_epi32(x, y)
#define shift_right(x, n) _mm256_srli_epi32(x, n)

INLINE words load(const uint32_t in[LANES])
{
    return _mm256_load_si256((const __m256i *)(const void *)in);
}

INLINE void store(uint32_t out[LANES], words x)
{
    _mm256_store_si256((__m256i *)(void *)out, x);
}

/* Transposes 8 rows of 8 words: pairs of words, then pairs of pairs within each half of a register, then the halves. */
INLINE void load_half(words w[8], const uint8_t *const in[], size_t at)
{
    const words swap_bytes = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
    words x[8], y[8];

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i += 2) {
        const words even = _mm256_loadu_si256((const __m256i *)(const void *)(in[i] + at));
        const words odd = _mm256_loadu_si256((const __m256i *)(const void *)(in[i + 1] + at));
        x[i] = _mm256_unpacklo_epi32(even, odd);
        x[i + 1] = _mm256_unpackhi_epi32(even, odd);
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i += 4) {
        y[i] = _mm256_unpacklo_epi64(x[i], x[i + 2]);
        y[i + 1] = _mm256_unpackhi_epi64(x[i], x[i + 2]);
        y[i + 2] = _mm256_unpacklo_epi64(x[i + 1], x[i + 3]);
        y[i + 3] = _mm256_unpackhi_epi64(x[i + 1], x[i + 3]);
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 4; i++) {
        w[i] = _mm256_shuffle_epi8(_mm256_permute2x128_si256(y[i], y[i + 4], LOW_HALVES), swap_bytes);
        w[i + 4] = _mm256_shuffle_epi8(_mm256_permute2x128_si256(y[i], y[i + 4], HIGH_HALVES), swap_bytes);
    }
}

INLINE void load_block(words w[16], const uint8_t *const in[], size_t at)
{
    load_half(w, in, at);
    load_half(w + 8, in, at + RMN_SHA256_BLOCK_SIZE / 2);
}

#include "sha256_lanes.h"
