/**
 * Content identifiers (multiformats/cid): binary inside, text at the edge, and whether a payload is what its CID says.
 *
 * A version 0 CID is a bare sha2-256 multihash, version 1 is `0x01 ‖ codec ‖ multihash`.
 */

import { RetrievalError } from '../errors.js'
import { equal, toHex } from './bytes.js'
import * as multibase from './multibase.js'
import { readUvarint } from './varint.js'

export const RAW = 0x55
export const DAG_PB = 0x70
export const IDENTITY = 0x00
export const SHA2_256 = 0x12
export const CID_SIZE_MAX = 128 // bytes; a sha2-512 CID needs 68
export const BLOCK_SIZE_MAX = 2 << 20 // bytes; what every gateway and peer supports

const TEXT_MAX = 512 // characters
const DIGEST_SIZE_MAX = 64 // bytes; sha2-512, the longest digest in use
const SHA2_256_SIZE = 32

/** One CID. `key` tells it from every other, as a key of maps. */
export class Cid {
  /**
   * @param {Uint8Array} bytes
   * @param {number} codec
   * @param {number} hash
   * @param {Uint8Array} digest
   */
  constructor (bytes, codec, hash, digest) {
    this.bytes = bytes
    this.codec = codec
    this.hash = hash
    this.digest = digest
    this.key = toHex(bytes)
  }

  /** Whether the content is in the CID itself. */
  get isIdentity () {
    return this.hash === IDENTITY
  }

  /** As people write it: base58btc for version 0, base32 for version 1. */
  toString () {
    return this.bytes[0] === SHA2_256 ? multibase.toBase58(this.bytes) : `b${multibase.toBase32(this.bytes)}`
  }
}

/**
 * The CID at `at`, and where it ends; what follows is not looked at.
 * @param {Uint8Array} bytes
 * @param {number} [at]
 * @param {string} [code] of the error that anything else is
 * @returns {[Cid, number]}
 */
export function readCid (bytes, at = 0, code = 'invalid_cid') {
  let start = at
  let codec = DAG_PB
  if (bytes[at] !== SHA2_256 || bytes[at + 1] !== SHA2_256_SIZE) {
    const [version, afterVersion] = readUvarint(bytes, at, code)
    if (version !== 1) throw new RetrievalError(code, `CID version ${version} is unknown`)
    ;[codec, start] = readUvarint(bytes, afterVersion, code)
  }
  const [hash, afterHash] = readUvarint(bytes, start, code)
  const [size, digestStart] = readUvarint(bytes, afterHash, code)
  if (size > DIGEST_SIZE_MAX) throw new RetrievalError(code, `a digest has ${size} bytes, the limit is ${DIGEST_SIZE_MAX}`)
  const end = digestStart + size
  if (end > bytes.length) throw new RetrievalError(code, 'the CID is cut short')
  return [new Cid(bytes.slice(at, end), codec, hash, bytes.slice(digestStart, end)), end]
}

/**
 * The CID that these bytes are, exactly.
 * @param {Uint8Array} bytes
 * @param {string} [code]
 */
export function cidOf (bytes, code = 'invalid_cid') {
  const [cid, end] = readCid(bytes, 0, code)
  if (end !== bytes.length) throw new RetrievalError(code, `${bytes.length - end} bytes follow the CID`)
  return cid
}

/**
 * A CID as people write it.
 * @param {string} text
 */
export function parseCid (text) {
  if (text.length === 0 || text.length > TEXT_MAX) throw new RetrievalError('invalid_cid', `a text of ${text.length} characters`)
  const isVersion0 = text.length === 46 && text.startsWith('Qm')
  const bytes = multibase.decode(isVersion0 ? `z${text}` : text)
  if (bytes === null) throw new RetrievalError('invalid_cid', text.slice(0, 64))
  if (!isVersion0 && bytes[0] === SHA2_256 && bytes[1] === SHA2_256_SIZE) {
    throw new RetrievalError('invalid_cid', 'a version 0 CID is written without a multibase letter')
  }
  return cidOf(bytes)
}

/**
 * Hold a payload against its CID.
 * @param {Cid} cid
 * @param {Uint8Array} payload
 */
export async function verify (cid, payload) {
  if (!(await matches(cid, payload))) throw new RetrievalError('corrupt_block', `${cid}`)
}

/**
 * Whether a payload is what its CID says: under sha2-256 or identity. BLAKE3 is not among the hashes that browsers have.
 * @param {Cid} cid
 * @param {Uint8Array} payload
 */
async function matches (cid, payload) {
  if (cid.isIdentity) return equal(cid.digest, payload)
  if (cid.hash !== SHA2_256 || cid.digest.length !== SHA2_256_SIZE) {
    throw new RetrievalError('unsupported_codec', `hash 0x${cid.hash.toString(16)} of ${cid.digest.length} bytes`)
  }
  return equal(cid.digest, await sha256(payload))
}

/** @param {Uint8Array} bytes */
export async function sha256 (bytes) {
  if (globalThis.crypto?.subtle === undefined) {
    throw new RetrievalError('internal', 'this page has no WebCrypto: it must come over https, or from localhost')
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', /** @type {BufferSource} */ (bytes)))
}
