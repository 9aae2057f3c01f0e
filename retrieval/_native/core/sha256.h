/* SHA-256 (FIPS 180-4), of one message or of many at once. */
#ifndef RMN_SHA256_H
#define RMN_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RMN_SHA256_SIZE 32u

/* Which code compresses. The caller asks once what is usable and says its choice in every call: the core keeps no state. Any kernel gives
 * the same digests. They stand from slow to fast for a batch, so that the last usable one is the one to take.
 *
 * Figures are GB/s on a core of an Emerald Rapids at 2.96 GHz, where OpenSSL does 1.45, and 0.43 when it is told that there is no
 * SHA-NI. */
enum rmn_sha256_kernel {
    /* 0.24. The reference, and what firmware runs. */
    RMN_SHA256_PLAIN = 0,
    /* ARMv8's SHA-2 instructions, one message at a time. Run under emulation only, so not measured. */
    RMN_SHA256_ARMV8,
    /* AVX2, eight messages in eight lanes: 1.25, for processors without SHA-NI. Loses to OpenSSL's 0.43 below three messages, as a lane
     * that is not filled is computed all the same. */
    RMN_SHA256_AVX2,
    /* SHA-NI, one message at a time: 1.45. Two messages are enough for the next one to be faster. */
    RMN_SHA256_SHA_NI,
    /* SHA-NI, four messages side by side, or two: 1.95. The rounds of a message wait four cycles for each other; here they can begin every
     * three, so that 4/3 is the limit. Twice as fast at best where they can begin every two (AMD Zen, Ice Lake). */
    RMN_SHA256_SHA_NI_INTERLEAVED,
    /* AVX-512, sixteen messages in sixteen lanes, 3.2, or eight in eight, 2.45: for processors without SHA-NI (Skylake-X, Cascade Lake).
     * Loses to OpenSSL's 0.43 with one message alone. */
    RMN_SHA256_AVX512,
    /* Both: AVX-512 from seven messages on, SHA-NI below. The processors that clock down under AVX-512 have no SHA-NI. What still is
     * slow is one message alone, or one much longer than all others of its batch. */
    RMN_SHA256_AVX512_SHA_NI,
    RMN_SHA256_N_KERNELS,
};

/* Whether this processor, and for wide registers the operating system, can run a kernel. Where a program may not ask the processor, the
 * system has to say: `hwcap` is what getauxval(AT_HWCAP) returned on Linux on ARM, and 0 elsewhere. Costs a trap on a virtual machine. */
bool rmn_sha256_usable(enum rmn_sha256_kernel kernel, unsigned long hwcap);

/* The name of a usable kernel, for people. */
const char *rmn_sha256_name(enum rmn_sha256_kernel kernel);

/* The digest of one message. Requires a usable kernel. */
void rmn_sha256(enum rmn_sha256_kernel kernel, const uint8_t *in, size_t in_len, uint8_t out[RMN_SHA256_SIZE]);

struct rmn_sha256_message {
    const uint8_t *in;
    size_t in_len;
    size_t id; /* the caller's, told with the digest */
};

/* Where the messages of a batch come from and where their digests go. Both functions get `context`. */
struct rmn_sha256_batch {
    bool (*next)(void *context, struct rmn_sha256_message *message); /* false when there are no more, then and ever after */
    void (*digested)(void *context, size_t id, const uint8_t digest[RMN_SHA256_SIZE]);
    void *context;
};

/* Digests every message of a batch, as many side by side as the kernel can; digests come in any order. A message may have any length: one
 * that ends makes room for the next. Requires a usable kernel. */
void rmn_sha256_all(enum rmn_sha256_kernel kernel, const struct rmn_sha256_batch *batch);

#endif
