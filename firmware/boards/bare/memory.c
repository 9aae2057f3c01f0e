/* The four functions that a compiler may call from freestanding code. Compiled so that it does not make their loops into calls of
 * themselves. */
#include <stddef.h>

void *memcpy(void *restrict out, const void *restrict in, size_t n)
{
    unsigned char *to = out;
    const unsigned char *from = in;

    while (n-- > 0) {
        *to++ = *from++;
    }
    return out;
}

void *memmove(void *out, const void *in, size_t n)
{
    unsigned char *to = out;
    const unsigned char *from = in;

    if (to < from) {
        return memcpy(out, in, n);
    }
    while (n-- > 0) {
        to[n] = from[n];
    }
    return out;
}

void *memset(void *out, int byte, size_t n)
{
    unsigned char *to = out;

    while (n-- > 0) {
        *to++ = (unsigned char)byte;
    }
    return out;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *one = a, *other = b;

    for (; n > 0; n--, one++, other++) {
        if (*one != *other) {
            return *one - *other;
        }
    }
    return 0;
}
