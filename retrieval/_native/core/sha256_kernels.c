/* The table of kernels, and what of the processor each needs. */
#include "sha256_kernels.h"

#if RMN_SHA256_HAVE_X86
#include <cpuid.h>
#include <immintrin.h>
#endif

enum feature { SHA_NI = 1, AVX2 = 2, AVX512 = 4, ARMV8 = 8 };

struct kernel {
    const char *name; /* NULL where the compiler targets another architecture */
    unsigned needs;   /* features */
    struct rmn_sha256_width widths[RMN_SHA256_WIDTHS_MAX];
};

/* n_least is where one way overtakes the next, measured on an Emerald Rapids core. There sixteen lanes move 3.25 GB/s and eight 2.46,
 * filled or not, four messages in SHA-NI 1.97, two 1.93, one 1.46, and the plain loop 0.24. */
static const struct kernel kernels[RMN_SHA256_N_KERNELS] = {
    [RMN_SHA256_PLAIN] = {"plain", 0, {{1, 1, rmn_sha256_plain}}},
#if RMN_SHA256_HAVE_ARMV8
    [RMN_SHA256_ARMV8] = {"armv8", ARMV8, {{1, 1, rmn_sha256_armv8_1}}},
#endif
#if RMN_SHA256_HAVE_X86
#define SHA_NI_WIDTHS {4, 4, rmn_sha256_sha_ni_4}, {2, 2, rmn_sha256_sha_ni_2}, {1, 1, rmn_sha256_sha_ni_1}
    [RMN_SHA256_AVX2] = {"avx2", AVX2, {{8, 2, rmn_sha256_avx2_8}, {1, 1, rmn_sha256_plain}}},
    [RMN_SHA256_SHA_NI] = {"sha_ni", SHA_NI, {{1, 1, rmn_sha256_sha_ni_1}}},
    [RMN_SHA256_SHA_NI_INTERLEAVED] = {"sha_ni_interleaved", SHA_NI, {SHA_NI_WIDTHS}},
    [RMN_SHA256_AVX512] = {"avx512", AVX512, {{16, 11, rmn_sha256_avx512_16}, {8, 1, rmn_sha256_avx512_8}}},
    [RMN_SHA256_AVX512_SHA_NI] =
        {"avx512_sha_ni", AVX512 | SHA_NI, {{16, 11, rmn_sha256_avx512_16}, {8, 7, rmn_sha256_avx512_8}, SHA_NI_WIDTHS}},
#endif
};

#if RMN_SHA256_HAVE_X86

/* Which registers the operating system keeps for each program (Intel SDM, volume 1, XCR0). */
__attribute__((target("xsave"))) static unsigned long long kept_registers(void)
{
    return (unsigned long long)_xgetbv(0); /* signed in GCC */
}

/* Intel SDM, volume 2, CPUID. */
static unsigned features(unsigned long hwcap)
{
    const unsigned ssse3 = 1u << 9, sse41 = 1u << 19, osxsave = 1u << 27;                                        /* leaf 1, ecx */
    const unsigned avx2 = 1u << 5, sha = 1u << 29, avx512f = 1u << 16, avx512bw = 1u << 30, avx512vl = 1u << 31; /* leaf 7, ebx */
    const unsigned long long ymm = 0x06, zmm = 0xE6;                                                             /* XCR0 */
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0, found = 0;

    (void)hwcap;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        return 0;
    }
    const unsigned leaf1 = ecx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        return 0;
    }
    const unsigned leaf7 = ebx;
    const unsigned long long kept = (leaf1 & osxsave) != 0 ? kept_registers() : 0;
    if ((leaf1 & ssse3) != 0 && (leaf1 & sse41) != 0 && (leaf7 & sha) != 0) {
        found |= SHA_NI;
    }
    if ((kept & ymm) == ymm && (leaf7 & avx2) != 0) {
        found |= AVX2;
    }
    if ((kept & zmm) == zmm && (leaf7 & avx512f) != 0 && (leaf7 & avx512bw) != 0 && (leaf7 & avx512vl) != 0) {
        found |= AVX512;
    }
    return found;
}

#elif RMN_SHA256_HAVE_ARMV8

static unsigned features(unsigned long hwcap)
{
#if defined(__ARM_FEATURE_SHA2)
    (void)hwcap; /* the compiler has been told that every processor the program is for has them */
    return ARMV8;
#else
    const unsigned long sha2 = 1ul << 6; /* Linux, HWCAP_SHA2 */

    return (hwcap & sha2) != 0 ? ARMV8 : 0;
#endif
}

#else

static unsigned features(unsigned long hwcap)
{
    (void)hwcap;
    return 0;
}

#endif

bool rmn_sha256_usable(enum rmn_sha256_kernel kernel, unsigned long hwcap)
{
    return kernels[kernel].name != NULL && (kernels[kernel].needs & ~features(hwcap)) == 0;
}

const char *rmn_sha256_name(enum rmn_sha256_kernel kernel)
{
    return kernels[kernel].name;
}

const struct rmn_sha256_width *rmn_sha256_widths(enum rmn_sha256_kernel kernel)
{
    return kernels[kernel].widths;
}
