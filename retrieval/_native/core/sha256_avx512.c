/* SHA-256 of sixteen messages in the sixteen lanes of AVX-512.
 *
 * Eight state words and sixteen of the schedule leave eight registers free. Rotations run on one port and moves between lanes on the other,
 * 27 instructions a round in all, so 1.19 bytes a cycle is the most that Golden Cove can do; 1.10 are reached. */
#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw")))
#define INLINE TARGET __attribute__((always_inline)) static inline
#define LANES 16

typedef __m512i words;

enum { EVEN_QUARTERS = 0x88, ODD_QUARTERS = 0xDD };

#define load(in) _mm512_load_si512(in)
#define store(out, x) _mm512_store_si512(out, x)
#define broadcast(word) _mm512_set1_epi32((int)(word))
#define add(x, y) _mm512_add_epi32(x, y)
#define xor3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, RMN_XOR3)
#define choose(x, y, z) _mm512_ternarylogic_epi32(x, y, z, RMN_CHOOSE)
#define majority(x, y, z) _mm512_ternarylogic_epi32(x, y, z, RMN_MAJORITY)
#define shift_right(x, n) _mm512_srli_epi32(x, n)
#define rotate_right(x, n) _mm512_ror_epi32(x, n)

/* Transposes 16 rows of 16 words: pairs of words, then pairs of pairs within each quarter of a register, then the quarters. */
INLINE void load_block(words w[16], const uint8_t *const in[], size_t at)
{
    const words swap_bytes = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
    words x[16], y[16];

#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i += 2) {
        const words even = _mm512_loadu_si512(in[i] + at), odd = _mm512_loadu_si512(in[i + 1] + at);
        x[i] = _mm512_unpacklo_epi32(even, odd);
        x[i + 1] = _mm512_unpackhi_epi32(even, odd);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i += 4) {
        y[i] = _mm512_unpacklo_epi64(x[i], x[i + 2]);
        y[i + 1] = _mm512_unpackhi_epi64(x[i], x[i + 2]);
        y[i + 2] = _mm512_unpacklo_epi64(x[i + 1], x[i + 3]);
        y[i + 3] = _mm512_unpackhi_epi64(x[i + 1], x[i + 3]);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < 4; i++) {
        const words even_low = _mm512_shuffle_i32x4(y[i], y[i + 4], EVEN_QUARTERS);
        const words odd_low = _mm512_shuffle_i32x4(y[i], y[i + 4], ODD_QUARTERS);
        const words even_high = _mm512_shuffle_i32x4(y[i + 8], y[i + 12], EVEN_QUARTERS);
        const words odd_high = _mm512_shuffle_i32x4(y[i + 8], y[i + 12], ODD_QUARTERS);
        w[i] = _mm512_shuffle_i32x4(even_low, even_high, EVEN_QUARTERS);
        w[i + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, EVEN_QUARTERS);
        w[i + 8] = _mm512_shuffle_i32x4(even_low, even_high, ODD_QUARTERS);
        w[i + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, ODD_QUARTERS);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++) {
        w[i] = _mm512_shuffle_epi8(w[i], swap_bytes);
    }
}

#include "sha256_lanes.h"

TARGET void rmn_sha256_avx512_16(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    compress(states, in, n_blocks);
}

#endif
