/**
 * UnixFS: what a dag-pb node's data says about files, directories and symlinks (ipfs/specs, "UnixFS").
 *
 * Mode and mtime are read past; unknown fields are skipped, so that later additions stay readable.
 */

import { RetrievalError } from '../errors.js'
import { BYTES, NODE_LINKS_MAX, VARINT, decodeNode, malformed, readFields } from './dag-pb.js'
import { readProtobufVarint } from './varint.js'

export const HAMT_FANOUT_MAX = 1024 // slots of a shard, as in boxo
export const MURMUR3_X64_64 = 0x22 // multicodec of the only hash that UnixFS directories use

export const RAW_BYTES = 0
export const DIRECTORY = 1
export const FILE = 2
export const METADATA = 3
export const SYMLINK = 4
export const HAMT_SHARD = 5

const [TYPE, DATA, FILESIZE, BLOCKSIZES, HASH_TYPE, FANOUT, MTIME] = [1, 2, 3, 4, 5, 6, 8]

/** @typedef {import('./dag-pb.js').PBNode} PBNode */
/**
 * @typedef {object} UnixfsNode sizes are claims of whoever made the block
 * @property {number} type
 * @property {Uint8Array | null} data
 * @property {number | null} filesize
 * @property {number[]} blocksizes
 * @property {number | null} hashType
 * @property {number} fanout
 */

/**
 * @param {Uint8Array} message
 * @returns {UnixfsNode}
 */
export function decodeUnixfs (message) {
  /** @type {(number | null)[]} */
  const numbers = new Array(MTIME).fill(null)
  /** @type {Uint8Array | null} */
  let data = null
  /** @type {number[]} */
  const blocksizes = []
  for (const { number, type, value, content } of readFields(message)) {
    if (number > MTIME) continue
    if (number === BLOCKSIZES && (type === VARINT || type === BYTES)) {
      if (type === VARINT) blocksizes.push(value)
      else for (let at = 0, size; at < content.length;) [size, at] = readProtobufVarint(content, at, content.length), blocksizes.push(size)
      if (blocksizes.length > NODE_LINKS_MAX) throw malformed(`a node has more than ${NODE_LINKS_MAX} block sizes`)
    } else if (type !== (number === DATA || number === MTIME ? BYTES : VARINT)) {
      throw malformed(`UnixFS field ${number} has wire type ${type}`)
    } else if (number === DATA) {
      data = content
    } else if (number !== MTIME) {
      numbers[number] = value // a repeated field: the last one counts, as protobuf says
    }
  }
  const type = numbers[TYPE]
  if (type === null || type > HAMT_SHARD) throw malformed(type === null ? 'a UnixFS node has no type' : `UnixFS type ${type} is unknown`)
  for (const size of [numbers[FILESIZE] ?? 0, ...blocksizes]) {
    if (size > Number.MAX_SAFE_INTEGER) throw new RetrievalError('dag_too_large', 'a file claims more than 2^53 bytes')
  }
  return { type, data, filesize: numbers[FILESIZE], blocksizes, hashType: numbers[HASH_TYPE], fanout: numbers[FANOUT] ?? 0 }
}

/**
 * A dag-pb block, and the UnixFS in it; null where it holds something else, which is no fault.
 * @param {Uint8Array} block
 * @returns {{ node: PBNode, content: UnixfsNode | null }}
 */
export function decodeBlock (block) {
  const node = decodeNode(block)
  try {
    return { node, content: node.data === null ? null : decodeUnixfs(node.data) }
  } catch (error) {
    if (error instanceof RetrievalError && error.code === 'malformed_block') return { node, content: null }
    throw error
  }
}
