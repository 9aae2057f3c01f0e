#include "identity.h"

#include "core/bytes.h"
#include "core/sha256.h"
#include "sha512.h"

enum { ROUNDS = 64 }; /* each with 64 bits of board and radio: any one of the sources may be worthless */

static void add_word(struct sha512 *hash, uint32_t word)
{
    uint8_t bytes[4];

    rmn_store_be32(bytes, word);
    sha512_add(hash, bytes, sizeof bytes);
}

/* The hardware random number of an ESP32-C3 is one only while its own radio runs, which it does not here; so the LoRa radio's noise and
 * the time that asking for it takes are hashed in with it. */
static void make_seed(struct sx1262 *radio, uint8_t seed[ED25519_SEED_SIZE])
{
    struct sha512 hash;
    uint8_t digest[SHA512_SIZE];

    sha512_begin(&hash);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        add_word(&hash, hal_entropy(radio->board));
        add_word(&hash, sx1262_noise(radio));
        add_word(&hash, (uint32_t)hal_now_us(radio->board));
    }
    sha512_end(&hash, digest);
    for (uint32_t i = 0; i < ED25519_SEED_SIZE; i++) {
        seed[i] = digest[i];
    }
}

static bool make_key(struct lasting *lasting, struct sx1262 *radio, uint64_t now_us)
{
    if (radio->mode != SX1262_LISTENING) {
        return false;
    }
    make_seed(radio, lasting->record.seed);
    lasting->record.has_seed = radio->mode == SX1262_LISTENING;
    if (!lasting->record.has_seed || !lasting_write(lasting, now_us)) {
        lasting->record.has_seed = false;
        return false;
    }
    return true;
}

void identity_start(struct identity *identity, struct lasting *lasting, struct sx1262 *radio, uint64_t now_us)
{
    uint8_t digest[RMN_SHA256_SIZE];

    *identity = (struct identity){0};
    if (!lasting->record.has_seed && !make_key(lasting, radio, now_us)) {
        return;
    }
    ed25519_public_key(lasting->record.seed, identity->public_key);
    rmn_sha256(RMN_SHA256_PLAIN, identity->public_key, ED25519_KEY_SIZE, digest);
    for (uint32_t i = 0; i < RMN_RADIO_ID_SIZE; i++) {
        identity->id[i] = digest[i];
    }
    identity->known = true;
}
