/**
 * dag-pb: the codec of nodes with named links (ipld/specs, "DAG-PB"), read as strictly as `retrieval/dag/pb.py` does.
 *
 * Refused are unknown fields, a link without a CID, fields of a link out of order or twice, data between links. Names stay bytes.
 */

import { RetrievalError } from '../errors.js'
import { CID_SIZE_MAX, cidOf } from './cid.js'
import { readProtobufVarint } from './varint.js'

export const NODE_LINKS_MAX = 1 << 16 // 2 MiB hold 61,000 of the smallest sha2-256 links
export const LINK_NAME_SIZE_MAX = 1024 // bytes

export const VARINT = 0
export const FIXED64 = 1
export const BYTES = 2
export const FIXED32 = 5

const [NODE_DATA, NODE_LINKS] = [1, 2]
const [LINK_HASH, LINK_NAME, LINK_TSIZE] = [1, 2, 3]

/** @typedef {import('./cid.js').Cid} Cid */
/** @typedef {{ cid: Cid, name: Uint8Array | null, tsize: number | null }} PBLink the size is a claim, and may be rounded */
/** @typedef {{ links: PBLink[], data: Uint8Array | null }} PBNode */

/**
 * @param {Uint8Array} block
 * @returns {PBNode}
 */
export function decodeNode (block) {
  /** @type {PBLink[]} */
  const links = []
  /** @type {Uint8Array | null} */
  let data = null
  let linksEnded = false
  for (let at = 0; at < block.length;) {
    const [key, afterKey] = readProtobufVarint(block, at, block.length)
    if (key !== (NODE_DATA << 3 | BYTES) && key !== (NODE_LINKS << 3 | BYTES)) throw malformed(`a PBNode has no field of key ${key}`)
    const [size, start] = readProtobufVarint(block, afterKey, block.length)
    if (size > block.length - start) throw malformed('a field of the node is cut short')
    at = start + size
    if (key >> 3 === NODE_LINKS) {
      if (linksEnded) throw malformed('data stands between links')
      if (links.length === NODE_LINKS_MAX) throw malformed(`a node has more than ${NODE_LINKS_MAX} links`)
      links.push(decodeLink(block, start, at))
    } else {
      if (data !== null) throw malformed('the node has two data fields')
      data = block.subarray(start, at)
      linksEnded = links.length > 0 // data may come first or last, never in between
    }
  }
  return { links, data }
}

/**
 * @param {Uint8Array} block
 * @param {number} at
 * @param {number} end
 * @returns {PBLink}
 */
function decodeLink (block, at, end) {
  let cid = null
  let name = null
  let tsize = null
  for (let lastNumber = 0; at < end;) {
    const [key, afterKey] = readProtobufVarint(block, at, end)
    const [number, type] = [Math.floor(key / 8), key % 8]
    if (number <= lastNumber) throw malformed('the fields of a link are repeated or out of order')
    lastNumber = number
    const [value, start] = readProtobufVarint(block, afterKey, end)
    at = start
    if (number === LINK_TSIZE && type === VARINT) {
      if (value >= 2 ** 63) throw malformed('the size of a link is above 63 bits')
      tsize = value
      continue
    }
    if (type !== BYTES || (number !== LINK_HASH && number !== LINK_NAME)) {
      throw malformed(`a PBLink has no field ${number} of wire type ${type}`)
    }
    if (value > end - at) throw malformed('a field of a link is cut short')
    at += value
    if (value > (number === LINK_HASH ? CID_SIZE_MAX : LINK_NAME_SIZE_MAX)) throw malformed(`a field of a link has ${value} bytes`)
    if (number === LINK_HASH) cid = cidOf(block.subarray(start, at), 'malformed_block')
    else name = block.subarray(start, at)
  }
  if (cid === null) throw malformed('a link has no CID')
  return { cid, name, tsize }
}

/**
 * The fields of a protobuf message: number, wire type, and the value of a varint or where the content stands.
 * @param {Uint8Array} bytes
 * @returns {Generator<{ number: number, type: number, value: number, content: Uint8Array }>}
 */
export function * readFields (bytes) {
  for (let at = 0; at < bytes.length;) {
    const [key, afterKey] = readProtobufVarint(bytes, at, bytes.length)
    const [number, type] = [Math.floor(key / 8), key % 8]
    if (![VARINT, FIXED64, BYTES, FIXED32].includes(type)) throw malformed(`wire type ${type} is not used`)
    let [size, start] = [type === FIXED64 ? 8 : 4, afterKey]
    if (type === VARINT || type === BYTES) [size, start] = readProtobufVarint(bytes, afterKey, bytes.length)
    if (type === VARINT) {
      yield { number, type, value: size, content: bytes.subarray(start, start) }
      at = start
      continue
    }
    if (size > bytes.length - start) throw malformed('a field is cut short')
    at = start + size
    yield { number, type, value: 0, content: bytes.subarray(start, at) }
  }
}

/** @param {string} detail */
export function malformed (detail) {
  return new RetrievalError('malformed_block', detail)
}
