/**
 * Strict reading of a stranger's JSON: each field is asked for by its name and kind, and no other kind will do.
 *
 * What does not fit throws `malformed_payment` naming the field. Fields nobody asks for are ignored, since x402 lets every side add its
 * own.
 */

import { RetrievalError } from '../errors.js'
import { fromBase64, fromHex, toBase64, utf8 } from '../content/bytes.js'

export const HEADER_SIZE_MAX = 16 << 10 // characters of base64
export const TEXT_MAX = 2048 // characters of a field that may hold a URL
export const AMOUNT_MAX = (1n << 128n) - 1n

/** One JSON object, read field by field. */
export class Fields {
  /**
   * @param {any} members what JSON holds is only known to who reads it
   * @param {string} where its place in the message, for what an error says
   */
  constructor (members, where) {
    if (typeof members !== 'object' || members === null || Array.isArray(members)) throw malformed(`${where} is no object`)
    this._members = members
    this._where = where
  }

  /** @param {string} name */
  has (name) {
    return Object.hasOwn(this._members, name) && this._members[name] !== null
  }

  /** @param {string} name */
  fields (name) {
    return new Fields(this._member(name), this._path(name))
  }

  /**
   * An array of at most `most` objects.
   * @param {string} name
   * @param {number} most
   */
  many (name, most) {
    const items = this._member(name)
    if (!Array.isArray(items) || items.length > most) throw malformed(`${this._path(name)} is no array of at most ${most}`)
    return items.map((item, at) => new Fields(item, `${this._path(name)}[${at}]`))
  }

  /**
   * @param {string} name
   * @returns {string}
   */
  text (name) {
    const found = this._member(name)
    if (typeof found !== 'string' || found.length > TEXT_MAX) throw malformed(`${this._path(name)} is no text`)
    return found
  }

  /**
   * A number without a fraction, never below zero.
   * @param {string} name
   * @returns {number}
   */
  integer (name) {
    const found = this._member(name)
    if (!Number.isSafeInteger(found) || found < 0) throw malformed(`${this._path(name)} is no whole number`)
    return found
  }

  /** @param {string} name */
  flag (name) {
    const found = this._member(name)
    if (typeof found !== 'boolean') throw malformed(`${this._path(name)} is neither true nor false`)
    return found
  }

  /**
   * Money: a decimal string of at most a uint128.
   * @param {string} name
   */
  amount (name) {
    const found = this._member(name)
    if (typeof found !== 'string' || !/^(0|[1-9][0-9]{0,38})$/.test(found) || BigInt(found) > AMOUNT_MAX) {
      throw malformed(`${this._path(name)} is no decimal string of a uint128`)
    }
    return BigInt(found)
  }

  /**
   * Exactly `size` bytes in hex behind `0x`.
   * @param {string} name
   * @param {number} size
   */
  blob (name, size) {
    try {
      return fromHex(this._member(name), size)
    } catch (cause) {
      throw new RetrievalError('malformed_payment', `${this._path(name)} is not ${size} bytes in hex`, { cause })
    }
  }

  /**
   * The chain of a CAIP-2 network of EVM chains.
   * @param {string} name
   */
  chainId (name) {
    const network = /^eip155:([1-9][0-9]{0,15})$/.exec(this.text(name))
    if (network === null || !Number.isSafeInteger(Number(network[1]))) throw malformed(`${this._path(name)} is no network like eip155:8453`)
    return Number(network[1])
  }

  /** The object as it stands, to be passed on. @returns {Record<string, any>} */
  raw () {
    return this._members
  }

  /** @param {string} name */
  _member (name) {
    return Object.hasOwn(this._members, name) ? this._members[name] : undefined
  }

  /** @param {string} name */
  _path (name) {
    return `${this._where}.${name}`
  }
}

/**
 * The JSON object in a header's base64.
 * @param {string} value
 * @param {string} name
 */
export function readHeader (value, name) {
  if (value.length > HEADER_SIZE_MAX) throw malformed(`${name} has ${value.length} characters`)
  const text = new TextDecoder().decode(fromBase64(value, 'malformed_payment'))
  try {
    return new Fields(JSON.parse(text), name)
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new RetrievalError('malformed_payment', `${name} is no JSON`, { cause })
    throw cause
  }
}

/** @param {Record<string, unknown>} members */
export function writeHeader (members) {
  return toBase64(utf8(JSON.stringify(members)))
}

/** @param {string} detail */
export function malformed (detail) {
  return new RetrievalError('malformed_payment', detail)
}
