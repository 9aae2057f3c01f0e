/* Ed25519 (RFC 8032) on Monocypher's curve. Monocypher's own EdDSA hashes with BLAKE2b, which nobody else verifies. */
#ifndef RELAY_ED25519_H
#define RELAY_ED25519_H

#include <stddef.h>
#include <stdint.h>

#define ED25519_SEED_SIZE 32u
#define ED25519_KEY_SIZE 32u
#define ED25519_SIGNATURE_SIZE 64u

void ed25519_public_key(const uint8_t seed[ED25519_SEED_SIZE], uint8_t public_key[ED25519_KEY_SIZE]);

/* Signs `kind` (a text, its end included) and then the message, which is how every signature of this project begins: see
 * retrieval/identity.py. */
void ed25519_sign(const uint8_t seed[ED25519_SEED_SIZE], const uint8_t public_key[ED25519_KEY_SIZE], const char *kind, const uint8_t *message,
                  size_t n, uint8_t signature[ED25519_SIGNATURE_SIZE]);

#endif
