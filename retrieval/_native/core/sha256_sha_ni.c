/* SHA-256 with the SHA extensions of x86, several messages side by side.
 *
 * The extensions keep the eight state words in two registers, {a b e f} and {c d g h}; sha256rnds2 does two rounds on them, and the
 * message schedule lives in four registers of four words each (Intel SDM, volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2).
 *
 * Two messages fill the sixteen registers; of four, some words are kept on the stack, which costs nothing beside the rounds. On Golden Cove
 * sha256rnds2 takes 4 cycles and can begin every 3 (measured in a bare loop of it), so nothing written in it can be more than 4/3 as
 * fast as one message alone; two and four messages reach 1.32 and 1.35. */
#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_X86

#include <immintrin.h>

/* The attribute, not a compiler flag, so that nothing else in the extension can come to need these instructions. */
#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define TARGET_INLINE TARGET __attribute__((always_inline)) static inline

enum { SWAP_PAIRS = 0xB1, REVERSE = 0x1B, UPPER_HALF = 0x0E, KEEP_UPPER_WORDS = 0xF0 };
enum { MESSAGES_MAX = 4 };

/* Unaligned: payloads lie anywhere in a receive buffer. Through void, because a cast from bytes would promise alignment. */
TARGET_INLINE __m128i load(const void *in)
{
    return _mm_loadu_si128((const __m128i *)in);
}

TARGET_INLINE void store(void *out, __m128i words)
{
    _mm_storeu_si128((__m128i *)out, words);
}

/* Words 4i to 4i+3 of the message schedule from the sixteen before them, oldest first. */
TARGET_INLINE __m128i schedule(__m128i w0, __m128i w1, __m128i w2, __m128i w3)
{
    const __m128i minus7 = _mm_alignr_epi8(w3, w2, 4);
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), minus7), w3);
}

/* Where n is a constant, every loop over messages is unrolled away. */
TARGET_INLINE void compress(const size_t n, uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[MESSAGES_MAX], cdgh[MESSAGES_MAX], abef_before[MESSAGES_MAX], cdgh_before[MESSAGES_MAX], w[MESSAGES_MAX][4];

#pragma GCC unroll 4
    for (size_t m = 0; m < n; m++) {
        const __m128i cdab = _mm_shuffle_epi32(load(states[m]), SWAP_PAIRS);
        const __m128i efgh = _mm_shuffle_epi32(load(states[m] + 4), REVERSE);
        abef[m] = _mm_alignr_epi8(cdab, efgh, 8);
        cdgh[m] = _mm_blend_epi16(efgh, cdab, KEEP_UPPER_WORDS);
    }
    for (size_t at = 0; at < n_blocks * RMN_SHA256_BLOCK_SIZE; at += RMN_SHA256_BLOCK_SIZE) {
#pragma GCC unroll 4
        for (size_t m = 0; m < n; m++) {
            abef_before[m] = abef[m];
            cdgh_before[m] = cdgh[m];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                w[m][i] = _mm_shuffle_epi8(load(in[m] + at + 16 * i), swap_bytes);
            }
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) {
#pragma GCC unroll 4
            for (size_t m = 0; m < n; m++) {
                const __m128i sum = _mm_add_epi32(w[m][i % 4], load(rmn_sha256_round_constants + 4 * i));
                cdgh[m] = _mm_sha256rnds2_epu32(cdgh[m], abef[m], sum);
                /* The schedule stands between the two, four groups ahead: GCC keeps that order, and it is 14 % faster than before both. */
                if (i < 12) {
                    w[m][i % 4] = schedule(w[m][i % 4], w[m][(i + 1) % 4], w[m][(i + 2) % 4], w[m][(i + 3) % 4]);
                }
                abef[m] = _mm_sha256rnds2_epu32(abef[m], cdgh[m], _mm_shuffle_epi32(sum, UPPER_HALF));
            }
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < n; m++) {
            abef[m] = _mm_add_epi32(abef[m], abef_before[m]);
            cdgh[m] = _mm_add_epi32(cdgh[m], cdgh_before[m]);
        }
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < n; m++) {
        const __m128i feba = _mm_shuffle_epi32(abef[m], REVERSE);
        const __m128i dchg = _mm_shuffle_epi32(cdgh[m], SWAP_PAIRS);
        store(states[m], _mm_blend_epi16(feba, dchg, KEEP_UPPER_WORDS));
        store(states[m] + 4, _mm_alignr_epi8(dchg, feba, 8));
    }
}

TARGET void rmn_sha256_sha_ni_1(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    compress(1, states, in, n_blocks);
}

TARGET void rmn_sha256_sha_ni_2(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    compress(2, states, in, n_blocks);
}

TARGET void rmn_sha256_sha_ni_4(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    compress(4, states, in, n_blocks);
}

#endif
