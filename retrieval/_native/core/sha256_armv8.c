/* SHA-256 with the SHA-2 instructions of ARMv8 (Arm Architecture Reference Manual, SHA256H, SHA256H2, SHA256SU0, SHA256SU1), one message at
 * a time. They keep the state in two registers, {a b c d} and {e f g h}, and do four rounds at once. */
#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_ARMV8

#include <arm_neon.h>

#if defined(__clang__)
#define TARGET __attribute__((target("sha2")))
#else
#define TARGET __attribute__((target("+crypto")))
#endif

TARGET void rmn_sha256_armv8_1(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    const uint8_t *at = in[0];
    uint32x4_t abcd = vld1q_u32(states[0]), efgh = vld1q_u32(states[0] + 4);

    for (; n_blocks > 0; n_blocks--, at += RMN_SHA256_BLOCK_SIZE) {
        const uint32x4_t abcd_before = abcd, efgh_before = efgh;
        uint32x4_t w[4];

#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(at + 16 * i)));
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) {
            const uint32x4_t sum = vaddq_u32(w[i % 4], vld1q_u32(rmn_sha256_round_constants + 4 * i));
            const uint32x4_t abcd_now = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, abcd_now, sum);
            if (i < 12) {
                w[i % 4] = vsha256su1q_u32(vsha256su0q_u32(w[i % 4], w[(i + 1) % 4]), w[(i + 2) % 4], w[(i + 3) % 4]);
            }
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(states[0], abcd);
    vst1q_u32(states[0] + 4, efgh);
}

#endif
