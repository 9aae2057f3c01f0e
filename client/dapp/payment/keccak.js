/**
 * Keccak-256, as Ethereum has it: the sponge of FIPS 202 with the older padding, 0x01. Pure.
 *
 * In lanes of BigInt, which is slow and plain: what is hashed here are a few hundred bytes a payment.
 */

const RATE = 136 // bytes absorbed at a time; a capacity of twice the digest leaves so many
const MASK = (1n << 64n) - 1n
const N_ROUNDS = 24

/** Rotations and round constants, which the specification defines by a walk over the lanes and by a shift register. */
const [ROTATIONS, ROUND_CONSTANTS] = [rotations(), roundConstants()]

/**
 * @param {Uint8Array} message
 * @returns {Uint8Array} 32 bytes
 */
export function keccak256 (message) {
  const padded = new Uint8Array((Math.floor(message.length / RATE) + 1) * RATE)
  padded.set(message)
  padded[message.length] ^= 0x01
  padded[padded.length - 1] ^= 0x80
  const view = new DataView(padded.buffer)
  const state = new Array(25).fill(0n)
  for (let at = 0; at < padded.length; at += RATE) {
    for (let lane = 0; lane < RATE / 8; lane++) state[lane] ^= view.getBigUint64(at + 8 * lane, true)
    permute(state)
  }
  const digest = new DataView(new ArrayBuffer(32))
  for (let lane = 0; lane < 4; lane++) digest.setBigUint64(8 * lane, state[lane], true)
  return new Uint8Array(digest.buffer)
}

/**
 * Keccak-f[1600]; the lane in column x and row y stands at x + 5 y.
 * @param {bigint[]} a
 */
function permute (a) {
  for (const constant of ROUND_CONSTANTS) {
    const columns = [0, 1, 2, 3, 4].map((x) => a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20])
    for (let at = 0; at < 25; at++) a[at] ^= columns[(at + 4) % 5] ^ rotate(columns[(at + 1) % 5], 1n) // theta
    /** @type {bigint[]} */
    const b = new Array(25)
    for (let x = 0; x < 5; x++) {
      for (let y = 0; y < 5; y++) b[y + 5 * ((2 * x + 3 * y) % 5)] = rotate(a[x + 5 * y], ROTATIONS[x + 5 * y]) // rho, pi
    }
    for (let at = 0; at < 25; at++) {
      const row = at - (at % 5)
      a[at] = b[at] ^ (~b[row + ((at + 1) % 5)] & MASK & b[row + ((at + 2) % 5)]) // chi
    }
    a[0] ^= constant // iota
  }
}

/**
 * @param {bigint} lane
 * @param {bigint} by
 */
function rotate (lane, by) {
  return ((lane << by) | (lane >> (64n - by))) & MASK
}

/** FIPS 202, section 3.2.2. */
function rotations () {
  const offsets = new Array(25).fill(0n)
  for (let t = 0, x = 1, y = 0; t < 24; t++, [x, y] = [y, (2 * x + 3 * y) % 5]) offsets[x + 5 * y] = BigInt((((t + 1) * (t + 2)) / 2) % 64)
  return offsets
}

/** FIPS 202, section 3.2.5. */
function roundConstants () {
  const constants = []
  let register = 1
  for (let round = 0; round < N_ROUNDS; round++) {
    let constant = 0n
    for (let j = 0; j <= 6; j++) {
      if (register & 1) constant |= 1n << BigInt((1 << j) - 1)
      register = (register << 1) ^ (register >> 7 ? 0x171 : 0)
    }
    constants.push(constant)
  }
  return constants
}
