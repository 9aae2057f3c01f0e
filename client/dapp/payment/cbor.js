/**
 * The subset of deterministic CBOR that signed messages are written in (`retrieval/wire/cbor.py`), read as strictly as there.
 *
 * Numbers, byte strings, text, arrays, maps with the keys 0 to 23 ascending, false, true, null; each in its shortest form, and nothing
 * else.
 */

import { RetrievalError } from '../errors.js'

const SIZE_MAX = 64 << 10 // bytes
const DEPTH_MAX = 8
const ITEMS_MAX = 16 << 10
const KEY_MAX = 23
const LEAST = [24n, 1n << 8n, 1n << 16n, 1n << 32n] // what a head of 1, 2, 4 and 8 more bytes must hold at least

/** @typedef {bigint | boolean | null | string | Uint8Array | CborArray | CborMap} Value */
/** @typedef {Value[]} CborArray */
/** @typedef {Map<number, Value>} CborMap */

/**
 * The value that these bytes are.
 * @param {Uint8Array} bytes
 * @returns {Value}
 */
export function decodeCbor (bytes) {
  if (bytes.length > SIZE_MAX) throw malformed(`${bytes.length} bytes`)
  const reader = new Reader(bytes)
  const value = reader.value(0)
  if (reader.at !== bytes.length) throw malformed('bytes follow the value')
  return value
}

class Reader {
  /** @param {Uint8Array} bytes */
  constructor (bytes) {
    this._bytes = bytes
    this._nItems = 0
    this.at = 0
  }

  /**
   * @param {number} depth
   * @returns {Value}
   */
  value (depth) {
    const [initial] = this._take(1)
    if (initial >= 0xf4 && initial <= 0xf6) return initial === 0xf6 ? null : initial === 0xf5
    const [major, argument] = [initial >> 5, this._argument(initial & 0x1f)]
    switch (major) {
      case 0:
        return argument
      case 1:
        return -1n - argument
      case 2:
        return this._take(Number(argument)).slice()
      case 3:
        return this._text(Number(argument))
      case 4:
        this._count(argument, depth)
        return Array.from({ length: Number(argument) }, () => this.value(depth + 1))
      case 5:
        this._count(argument, depth)
        return this._map(Number(argument), depth)
      default:
        throw malformed('tags, floats and other simple values are not allowed')
    }
  }

  /**
   * @param {number} size
   * @param {number} depth
   */
  _map (size, depth) {
    /** @type {CborMap} */
    const members = new Map()
    for (let lastKey = -1; size > 0; size--) {
      const [key] = this._take(1)
      if (key <= lastKey || key > KEY_MAX) throw malformed('map keys are unsorted, repeated or no small numbers')
      members.set(key, this.value(depth + 1))
      lastKey = key
    }
    return members
  }

  /** @param {number} size */
  _text (size) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this._take(size))
    } catch (cause) {
      if (cause instanceof TypeError) throw new RetrievalError('malformed_receipt', 'text is not UTF-8', { cause })
      throw cause
    }
  }

  /** @param {number} short */
  _argument (short) {
    if (short < 24) return BigInt(short)
    if (short > 27) throw malformed('indefinite lengths are not allowed')
    const argument = this._take(1 << (short - 24)).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
    if (argument < LEAST[short - 24]) throw malformed('a number is not in its shortest form')
    return argument
  }

  /**
   * @param {bigint} n
   * @param {number} depth
   */
  _count (n, depth) {
    this._nItems += Number(n)
    if (depth >= DEPTH_MAX || this._nItems > ITEMS_MAX) throw malformed('it is too deep, or has too many values')
  }

  /** @param {number} size */
  _take (size) {
    if (size > this._bytes.length - this.at) throw malformed('it is cut short')
    this.at += size
    return this._bytes.subarray(this.at - size, this.at)
  }
}

/** @param {string} detail */
export function malformed (detail) {
  return new RetrievalError('malformed_receipt', detail)
}
