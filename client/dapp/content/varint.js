/**
 * Varints, in the two dialects that content uses. Foreign bytes raise the error that the caller names.
 *
 * Numbers stay below 2^53: what is larger is no size of anything here, and is refused.
 */

import { RetrievalError } from '../errors.js'

export const UVARINT_SIZE_MAX = 9 // bytes, as multiformats has it

const PROTOBUF_SIZE_MAX = 10

/**
 * The multiformats/unsigned-varint at `at`: minimal, of at most 9 bytes. Returns the value, and where it ends.
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {string} code
 * @returns {[number, number]}
 */
export function readUvarint (bytes, at, code) {
  const [value, end] = read(bytes, at, bytes.length, UVARINT_SIZE_MAX, code)
  if (end - at > 1 && bytes[end - 1] === 0) throw new RetrievalError(code, 'a uvarint is not minimal')
  if (value > Number.MAX_SAFE_INTEGER) throw new RetrievalError(code, 'a uvarint is above 53 bits')
  return [value, end]
}

/**
 * The protobuf varint at `at`, which must end before `end`. Like all other readers' it need not be minimal: the CID fixes the bytes.
 * A value above 2^53 comes rounded, so whoever counts with it must look.
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {number} end
 * @returns {[number, number]}
 */
export function readProtobufVarint (bytes, at, end) {
  const found = read(bytes, at, end, PROTOBUF_SIZE_MAX, 'malformed_block')
  if (found[1] - at === PROTOBUF_SIZE_MAX && bytes[found[1] - 1] > 1) {
    throw new RetrievalError('malformed_block', 'a varint is above 64 bits')
  }
  return found
}

/**
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {number} end
 * @param {number} sizeMax
 * @param {string} code
 * @returns {[number, number]}
 */
function read (bytes, at, end, sizeMax, code) {
  let value = 0
  for (let n = 0, scale = 1; n < sizeMax; n++, scale *= 128) {
    if (at + n >= end) throw new RetrievalError(code, 'a varint is cut short')
    const byte = bytes[at + n]
    value += (byte & 0x7f) * scale
    if (byte < 0x80) return [value, at + n + 1]
  }
  throw new RetrievalError(code, `a varint is longer than ${sizeMax} bytes`)
}
