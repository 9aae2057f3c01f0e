/**
 * ECDSA over secp256k1, for the key that a page keeps to spend from one channel (SEC 1; RFC 6979; signatures as Ethereum has them).
 *
 * Not in constant time: BigInt arithmetic takes longer for larger numbers. What a key of ours can be made to lose is what its channel
 * holds, to the one provider who is the channel's receiver, so a wallet's key never comes here.
 */

import { RetrievalError } from '../errors.js'
import { concat, fromBigInt, toBigInt } from '../content/bytes.js'
import { keccak256 } from './keccak.js'

export const SECRET_SIZE = 32
export const SIGNATURE_SIZE = 65

const P = 2n ** 256n - 2n ** 32n - 977n
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
const G = [
  0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
  0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
  1n
]
const INFINITY = [0n, 1n, 0n]
const V_OFFSET = 27n // EVM signatures end in 27 or 28

/** @typedef {bigint[]} Point x, y and z: the affine point is (x / z², y / z³), and z is zero at infinity */

/** A secret that can be a key. */
export function newSecret () {
  for (;;) {
    const secret = crypto.getRandomValues(new Uint8Array(SECRET_SIZE))
    const scalar = toBigInt(secret)
    if (scalar > 0n && scalar < N) return secret
  }
}

/**
 * The EVM address of a key.
 * @param {Uint8Array} secret
 */
export function addressOf (secret) {
  return addressOfPoint(multiply(G, toBigInt(secret)))
}

/**
 * Sign 32 bytes: r ‖ s ‖ v, with the lower of the two s. The same digest gives the same signature (RFC 6979).
 * @param {Uint8Array} secret
 * @param {Uint8Array} digest
 */
export async function signDigest (secret, digest) {
  const key = toBigInt(secret)
  const hash = toBigInt(digest)
  for await (const nonce of nonces(secret, digest)) {
    const [x, y] = affine(multiply(G, nonce))
    const r = x % N
    const s = mod(inverse(nonce, N) * (hash + r * key), N)
    if (r === 0n || s === 0n || x >= N) continue // as likely as guessing the key
    const isHigh = s > N / 2n
    const isOdd = (y % 2n === 1n) !== isHigh // the other s belongs to the point below
    return concat(fromBigInt(r, 32), fromBigInt(isHigh ? N - s : s, 32), fromBigInt(V_OFFSET + (isOdd ? 1n : 0n), 1))
  }
  throw new RetrievalError('internal', 'no nonce was found')
}

/**
 * The address whose key signed 32 bytes. Throws `bad_signature` for what is no signature.
 * @param {Uint8Array} digest
 * @param {Uint8Array} signature
 */
export function recoverAddress (digest, signature) {
  const [r, s] = [toBigInt(signature.subarray(0, 32)), toBigInt(signature.subarray(32, 64))]
  const v = BigInt(signature[64] ?? 0) - V_OFFSET
  if (signature.length !== SIGNATURE_SIZE || r === 0n || r >= N || s === 0n || s > N / 2n || v < 0n || v > 1n) {
    throw new RetrievalError('bad_signature', 'this is no EVM signature')
  }
  const square = mod(r ** 3n + 7n, P)
  let y = power(square, (P + 1n) / 4n)
  if (mod(y * y, P) !== square) throw new RetrievalError('bad_signature', 'no point has this r')
  if (y % 2n !== v) y = P - y
  const ofR = inverse(r, N)
  const point = add(multiply([r, y, 1n], mod(s * ofR, N)), multiply(G, mod(-toBigInt(digest) * ofR, N)))
  if (point[2] === 0n) throw new RetrievalError('bad_signature', 'it was made by no key')
  return addressOfPoint(point)
}

/** @param {Point} point */
function addressOfPoint (point) {
  const [x, y] = affine(point)
  return keccak256(concat(fromBigInt(x, 32), fromBigInt(y, 32))).subarray(12)
}

/**
 * Nonces that follow from key and digest (RFC 6979, 3.2, with HMAC-SHA-256). The first one does, but for chances of 2^-128.
 * @param {Uint8Array} secret
 * @param {Uint8Array} digest
 */
async function * nonces (secret, digest) {
  const seed = concat(secret, fromBigInt(toBigInt(digest) % N, 32))
  let [key, value] = [new Uint8Array(32), new Uint8Array(32).fill(1)]
  for (const mark of [0, 1]) {
    key = await hmac(key, concat(value, Uint8Array.of(mark), seed))
    value = await hmac(key, value)
  }
  for (;;) {
    value = await hmac(key, value)
    const nonce = toBigInt(value)
    if (nonce > 0n && nonce < N) yield nonce
    key = await hmac(key, concat(value, Uint8Array.of(0)))
    value = await hmac(key, value)
  }
}

/**
 * @param {Uint8Array<ArrayBuffer>} key
 * @param {Uint8Array<ArrayBuffer>} message
 */
async function hmac (key, message) {
  const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, message))
}

/**
 * @param {Point} point
 * @param {bigint} scalar
 */
function multiply (point, scalar) {
  let [sum, power] = [INFINITY, point]
  for (; scalar > 0n; scalar >>= 1n, power = double(power)) {
    if (scalar & 1n) sum = add(sum, power)
  }
  return sum
}

/**
 * The sum of two points (Guide to Elliptic Curve Cryptography, 3.2.2).
 * @param {Point} one
 * @param {Point} other
 * @returns {Point}
 */
function add (one, other) {
  if (one[2] === 0n) return other
  if (other[2] === 0n) return one
  const [[x1, y1, z1], [x2, y2, z2]] = [one, other]
  const [zz1, zz2] = [mod(z1 * z1, P), mod(z2 * z2, P)]
  const [u1, u2] = [mod(x1 * zz2, P), mod(x2 * zz1, P)]
  const [s1, s2] = [mod(y1 * z2 * zz2, P), mod(y2 * z1 * zz1, P)]
  if (u1 === u2) return s1 === s2 ? double(one) : INFINITY
  const [h, r] = [u2 - u1, s2 - s1]
  const hh = mod(h * h, P)
  const [hhh, v] = [mod(h * hh, P), mod(u1 * hh, P)]
  const x3 = mod(r * r - hhh - 2n * v, P)
  return [x3, mod(r * (v - x3) - s1 * hhh, P), mod(z1 * z2 * h, P)]
}

/**
 * @param {Point} point
 * @returns {Point}
 */
function double ([x, y, z]) {
  const yy = mod(y * y, P)
  const s = mod(4n * x * yy, P)
  const m = mod(3n * x * x, P) // the curve's a is zero
  const x3 = mod(m * m - 2n * s, P)
  return [x3, mod(m * (s - x3) - 8n * yy * yy, P), mod(2n * y * z, P)]
}

/** @param {Point} point */
function affine ([x, y, z]) {
  const ofZ = inverse(z, P)
  const square = mod(ofZ * ofZ, P)
  return [mod(x * square, P), mod(y * square * ofZ, P)]
}

/**
 * By the extended Euclidean algorithm.
 * @param {bigint} value
 * @param {bigint} modulus
 */
function inverse (value, modulus) {
  let [r0, r1, t0, t1] = [modulus, mod(value, modulus), 0n, 1n]
  while (r1 > 0n) {
    const quotient = r0 / r1
    ;[r0, r1, t0, t1] = [r1, r0 - quotient * r1, t1, t0 - quotient * t1]
  }
  return mod(t0, modulus)
}

/**
 * @param {bigint} base
 * @param {bigint} exponent
 */
function power (base, exponent) {
  let result = 1n
  for (; exponent > 0n; exponent >>= 1n, base = mod(base * base, P)) {
    if (exponent & 1n) result = mod(result * base, P)
  }
  return result
}

/**
 * @param {bigint} value
 * @param {bigint} modulus
 */
function mod (value, modulus) {
  const rest = value % modulus
  return rest < 0n ? rest + modulus : rest
}
