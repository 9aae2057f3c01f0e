/** How CIDs are written (multiformats/multibase): a letter that names the base, then digits. Each spelling has one reading. Pure. */

import { EMPTY, concat, fromBigInt, toBigInt } from './bytes.js'

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'
const BASE36 = '0123456789abcdefghijklmnopqrstuvwxyz'
const HEX = '0123456789abcdef'

/** @type {Readonly<Record<string, (digits: string) => Uint8Array | null>>} */
const READERS = {
  b: (digits) => fromBits(digits, BASE32, 5),
  B: (digits) => (digits === digits.toUpperCase() ? fromBits(digits.toLowerCase(), BASE32, 5) : null),
  f: (digits) => fromBits(digits, HEX, 4),
  F: (digits) => (digits === digits.toUpperCase() ? fromBits(digits.toLowerCase(), HEX, 4) : null),
  k: (digits) => fromNumber(digits, BASE36),
  K: (digits) => (digits === digits.toUpperCase() ? fromNumber(digits.toLowerCase(), BASE36) : null),
  z: (digits) => fromNumber(digits, BASE58)
}

/**
 * The bytes of a text in base32, base36, base58btc or base16; null where it is none. The caller has limited its length.
 * @param {string} text
 */
export function decode (text) {
  return READERS[text.charAt(0)]?.(text.slice(1)) ?? null
}

/**
 * base32 without its letter, `b`.
 * @param {Uint8Array} bytes
 */
export function toBase32 (bytes) {
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    for (bits += 8; bits >= 5; bits -= 5) text += BASE32[(held >> (bits - 5)) & 31]
    held &= (1 << bits) - 1
  }
  return bits > 0 ? text + BASE32[(held << (5 - bits)) & 31] : text
}

/**
 * base58btc without its letter, `z`: as version 0 CIDs and peer ids are written.
 * @param {Uint8Array} bytes
 */
export function toBase58 (bytes) {
  let text = ''
  for (let value = toBigInt(bytes); value > 0n; value /= 58n) text = BASE58[Number(value % 58n)] + text
  const nZeros = bytes.findIndex((byte) => byte !== 0)
  return BASE58[0].repeat(nZeros < 0 ? bytes.length : nZeros) + text
}

/**
 * @param {string} digits
 * @param {string} alphabet
 * @param {number} width bits of a digit
 */
function fromBits (digits, alphabet, width) {
  const bytes = []
  let bits = 0
  let held = 0
  for (const letter of digits) {
    const digit = alphabet.indexOf(letter)
    if (digit < 0) return null
    held = (held << width) | digit
    bits += width
    if (bits >= 8) {
      bits -= 8
      bytes.push(held >> bits)
      held &= (1 << bits) - 1
    }
  }
  return held === 0 && bits < width ? Uint8Array.from(bytes) : null // a second spelling has bits that say nothing
}

/**
 * @param {string} digits
 * @param {string} alphabet
 */
function fromNumber (digits, alphabet) {
  const base = BigInt(alphabet.length)
  let value = 0n
  for (const letter of digits) {
    const digit = alphabet.indexOf(letter)
    if (digit < 0) return null
    value = value * base + BigInt(digit)
  }
  const nZeros = digits.length - digits.replace(new RegExp(`^${alphabet[0]}+`), '').length
  return concat(new Uint8Array(nZeros), value === 0n ? EMPTY : fromBigInt(value, Math.ceil(value.toString(16).length / 2)))
}
