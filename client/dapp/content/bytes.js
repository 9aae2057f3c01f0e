/** Bytes: joined, compared, and as hex, base64 and whole numbers. Pure. */

import { RetrievalError } from '../errors.js'

export const EMPTY = new Uint8Array()

/** @param {Uint8Array[]} parts */
export function concat (...parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 */
export function equal (one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at])
}

/** @param {Uint8Array} bytes */
export function toHex (bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/**
 * Bytes in hex, with or without `0x` before them; of `size` bytes, where that is given.
 * @param {unknown} text
 * @param {number} [size]
 * @param {string} [code] of the error that anything else is
 */
export function fromHex (text, size, code = 'malformed_payment') {
  const digits = typeof text === 'string' ? /^(?:0x)?((?:[0-9a-fA-F]{2})*)$/.exec(text) : null
  if (digits === null || (size !== undefined && digits[1].length !== 2 * size)) {
    throw new RetrievalError(code, `this is not ${size === undefined ? 'hex' : `${size} bytes in hex`}`)
  }
  return Uint8Array.from(digits[1].match(/../g) ?? [], (pair) => parseInt(pair, 16))
}

/** @param {Uint8Array} bytes */
export function toBase64 (bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}

/**
 * Bytes in base64, with or without its padding (RFC 4648, 3.2).
 * @param {string} text
 * @param {string} code of the error that anything else is
 */
export function fromBase64 (text, code) {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new RetrievalError(code, 'this is not base64')
  try {
    return Uint8Array.from(atob(text.replace(/=+$/, '')), (letter) => letter.charCodeAt(0))
  } catch (cause) {
    throw new RetrievalError(code, 'this is not base64', { cause })
  }
}

/** @param {Uint8Array} bytes */
export function toBigInt (bytes) {
  return bytes.length === 0 ? 0n : BigInt(`0x${toHex(bytes)}`)
}

/**
 * A number below 2^(8 size) as `size` big-endian bytes.
 * @param {bigint} value
 * @param {number} size
 */
export function fromBigInt (value, size) {
  return fromHex(value.toString(16).padStart(2 * size, '0'), size)
}

/** @param {string} text */
export function utf8 (text) {
  return new TextEncoder().encode(text)
}
