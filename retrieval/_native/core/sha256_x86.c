/* The extensions keep the eight state words in two registers, {a b e f} and {c d g h}; sha256rnds2 does two rounds on them, and the
 * message schedule lives in four registers of four words each (Intel SDM, volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2).
 *
 * One message at a time. Two or four side by side were 1.2 to 1.35 times as fast (1.75 to 1.95 GB/s against 1.44 on an Emerald Rapids
 * core), which is not worth a scheduler while a session brings 0.3 GB/s; it would go into verify.c. */
#include "sha256_x86.h"

#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_X86

#include <cpuid.h>
#include <immintrin.h>

/* The attribute, not a compiler flag, so that nothing else in the extension can come to need these instructions. */
#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define TARGET_INLINE TARGET __attribute__((always_inline)) static inline

enum { SWAP_PAIRS = 0xB1, REVERSE = 0x1B, UPPER_HALF = 0x0E, KEEP_UPPER_WORDS = 0xF0 };

bool rmn_sha256_x86_usable(void)
{
    const unsigned sha = 1u << 29, sse41 = 1u << 19, ssse3 = 1u << 9;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & sse41) == 0 || (ecx & ssse3) == 0) {
        return false;
    }
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & sha) != 0;
}

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

TARGET void rmn_sha256_x86_compress(uint32_t state[8], const uint8_t *in, size_t n_blocks)
{
    const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const __m128i cdab = _mm_shuffle_epi32(load(state), SWAP_PAIRS);
    const __m128i efgh = _mm_shuffle_epi32(load(state + 4), REVERSE);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, KEEP_UPPER_WORDS);

    for (; n_blocks > 0; n_blocks--, in += RMN_SHA256_BLOCK_SIZE) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];

#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) {
            if (i < 4) {
                w[i] = _mm_shuffle_epi8(load(in + 16 * i), swap_bytes);
            } else {
                w[i % 4] = schedule(w[i % 4], w[(i + 1) % 4], w[(i + 2) % 4], w[(i + 3) % 4]);
            }
            const __m128i sum = _mm_add_epi32(w[i % 4], load(rmn_sha256_round_constants + 4 * i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, UPPER_HALF));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, REVERSE);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, SWAP_PAIRS);
    store(state, _mm_blend_epi16(feba, dchg, KEEP_UPPER_WORDS));
    store(state + 4, _mm_alignr_epi8(dchg, feba, 8));
}

#else

bool rmn_sha256_x86_usable(void)
{
    return false;
}

#endif
