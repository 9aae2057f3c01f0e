/* The rounds of SHA-256 on vectors of words, one message a lane: included by sha256_avx2.c and sha256_avx512.c, each once.
 *
 * The includer defines before it
 *   LANES, INLINE             how many lanes a vector has, and what stands before a function that is compiled into its caller
 *   words                     the type of a vector of LANES words
 *   load, store, broadcast    between a vector and LANES words of aligned memory, or one word
 *   add, xor3, choose, majority, shift_right, rotate_right    on each lane
 *   load_block(w, in, at)     the sixteen words of the 64-byte block at in[lane] + at of each lane */

/* FIPS 180-4, 4.1.2, in its letters. */
#define SUM_0(x) xor3(rotate_right(x, 2), rotate_right(x, 13), rotate_right(x, 22))
#define SUM_1(x) xor3(rotate_right(x, 6), rotate_right(x, 11), rotate_right(x, 25))
#define SIGMA_0(x) xor3(rotate_right(x, 7), rotate_right(x, 18), shift_right(x, 3))
#define SIGMA_1(x) xor3(rotate_right(x, 17), rotate_right(x, 19), shift_right(x, 10))

/* Letter n of a to h in round i: instead of moving the letters on, each round looks one place earlier. */
#define LETTER(n, i) v[((n) + 16 - (i)) % 8]

INLINE void compress(uint32_t *const states[], const uint8_t *const in[], size_t n_blocks)
{
    _Alignas(4 * LANES) uint32_t state[8][LANES];
    words v[8], w[16];

    for (size_t lane = 0; lane < LANES; lane++) {
        for (size_t i = 0; i < 8; i++) {
            state[i][lane] = states[lane][i];
        }
    }
    for (size_t at = 0; at < n_blocks * RMN_SHA256_BLOCK_SIZE; at += RMN_SHA256_BLOCK_SIZE) {
        load_block(w, in, at);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) {
            v[i] = load(state[i]);
        }
        for (size_t t = 0; t < 64; t += 16) {
#pragma GCC unroll 16
            for (size_t i = 0; i < 16; i++) {
                const words e = LETTER(4, i), a = LETTER(0, i);
                const words keyed = add(add(LETTER(7, i), broadcast(rmn_sha256_round_constants[t + i])), w[i]);
                const words t1 = add(add(keyed, choose(e, LETTER(5, i), LETTER(6, i))), SUM_1(e));
                LETTER(3, i) = add(LETTER(3, i), t1);
                LETTER(7, i) = add(add(t1, majority(a, LETTER(1, i), LETTER(2, i))), SUM_0(a));
                if (t < 48) {
                    w[i] = add(add(w[i], w[(i + 9) % 16]), add(SIGMA_0(w[(i + 1) % 16]), SIGMA_1(w[(i + 14) % 16])));
                }
            }
        }
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) {
            store(state[i], add(v[i], load(state[i])));
        }
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        for (size_t i = 0; i < 8; i++) {
            states[lane][i] = state[i][lane];
        }
    }
}
