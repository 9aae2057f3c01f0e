#include "ed25519.h"

#include "monocypher.h"
#include "sha512.h"

/* RFC 8032, 5.1.5: the scalar and, behind it, the prefix that makes nonces. */
static void expand(const uint8_t seed[ED25519_SEED_SIZE], uint8_t scalar[32], uint8_t prefix[32])
{
    struct sha512 hash;
    uint8_t digest[SHA512_SIZE];

    sha512_begin(&hash);
    sha512_add(&hash, seed, ED25519_SEED_SIZE);
    sha512_end(&hash, digest);
    crypto_eddsa_trim_scalar(scalar, digest);
    for (size_t i = 0; i < 32; i++) {
        prefix[i] = digest[32 + i];
    }
    crypto_wipe(digest, sizeof digest);
    crypto_wipe(&hash, sizeof hash);
}

void ed25519_public_key(const uint8_t seed[ED25519_SEED_SIZE], uint8_t public_key[ED25519_KEY_SIZE])
{
    uint8_t scalar[32], prefix[32];

    expand(seed, scalar, prefix);
    crypto_eddsa_scalarbase(public_key, scalar);
    crypto_wipe(scalar, sizeof scalar);
    crypto_wipe(prefix, sizeof prefix);
}

static size_t size_of(const char *kind)
{
    size_t n = 0;

    while (kind[n] != '\0') {
        n++;
    }
    return n + 1;
}

/* The digest of `front`, the kind and the message, as a scalar. */
static void hash_to_scalar(uint8_t scalar[32], const uint8_t *front, size_t n_front, const char *kind, const uint8_t *message, size_t n)
{
    struct sha512 hash;
    uint8_t digest[SHA512_SIZE];

    sha512_begin(&hash);
    sha512_add(&hash, front, n_front);
    sha512_add(&hash, (const uint8_t *)kind, size_of(kind));
    sha512_add(&hash, message, n);
    sha512_end(&hash, digest);
    crypto_eddsa_reduce(scalar, digest);
    crypto_wipe(digest, sizeof digest);
    crypto_wipe(&hash, sizeof hash);
}

void ed25519_sign(const uint8_t seed[ED25519_SEED_SIZE], const uint8_t public_key[ED25519_KEY_SIZE], const char *kind, const uint8_t *message,
                  size_t n, uint8_t signature[ED25519_SIGNATURE_SIZE])
{
    uint8_t scalar[32], prefix[32], nonce[32], challenge[32], front[64];

    expand(seed, scalar, prefix);
    hash_to_scalar(nonce, prefix, sizeof prefix, kind, message, n);
    crypto_eddsa_scalarbase(signature, nonce);
    for (size_t i = 0; i < 32; i++) {
        front[i] = signature[i];
        front[32 + i] = public_key[i];
    }
    hash_to_scalar(challenge, front, sizeof front, kind, message, n);
    crypto_eddsa_mul_add(signature + 32, challenge, scalar, nonce);
    crypto_wipe(scalar, sizeof scalar);
    crypto_wipe(prefix, sizeof prefix);
    crypto_wipe(nonce, sizeof nonce);
}
