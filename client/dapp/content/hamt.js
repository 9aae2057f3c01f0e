/**
 * The hash trie behind large UnixFS directories (ipfs/specs, "UnixFS", HAMTDirectory).
 *
 * A name's murmur3-x64-64 hash, read from its top bits, gives one slot a level. A link is named after its slot in upper-case hexadecimal;
 * the entry's own name follows, and when nothing follows the link leads to a shard one level further down.
 */

import { EMPTY, equal, toBigInt, utf8 } from './bytes.js'
import { malformed } from './dag-pb.js'
import { HAMT_FANOUT_MAX, MURMUR3_X64_64 } from './unixfs.js'

const HASH_BITS = 64
const FANOUT_MIN = 8 // the bitfield counts whole bytes
const MASK = (1n << 64n) - 1n
const [C1, C2] = [0x87c37b91114253d5n, 0x4cf5ad432745937fn]

/** @typedef {import('./dag-pb.js').PBLink} PBLink */
/** @typedef {import('./unixfs.js').UnixfsNode} UnixfsNode */

/** How one shard numbers its slots. */
export class Shard {
  /** @param {UnixfsNode} content */
  constructor (content) {
    const { fanout, hashType } = content
    if (hashType !== MURMUR3_X64_64) throw malformed(`a directory shard uses hash ${hashType}`)
    if (fanout < FANOUT_MIN || fanout > HAMT_FANOUT_MAX || (fanout & (fanout - 1)) !== 0) {
      throw malformed(`a directory shard has a fan-out of ${fanout}`)
    }
    this.bits = Math.log2(fanout)
    this.prefixSize = (fanout - 1).toString(16).length
    this.levelsMax = Math.floor(HASH_BITS / this.bits)
  }

  /**
   * The link to follow for a name, `level` shards below the root: to the entry, or to the next shard.
   * @param {PBLink[]} links
   * @param {Uint8Array} name
   * @param {number} level
   */
  find (links, name, level) {
    if (level >= this.levelsMax) throw malformed("a directory's shards go deeper than its hash")
    const shift = BigInt(HASH_BITS - this.bits * (level + 1))
    const slot = Number((murmur3(name) >> shift) & BigInt((1 << this.bits) - 1))
    const prefix = utf8(slot.toString(16).toUpperCase().padStart(this.prefixSize, '0'))
    return links.find((link) => {
      const linkName = link.name ?? EMPTY
      const entryName = linkName.subarray(this.prefixSize)
      return equal(linkName.subarray(0, this.prefixSize), prefix) && (entryName.length === 0 || equal(entryName, name))
    })
  }

  /**
   * The directory entry's name that a link carries; empty when the link leads to another shard.
   * @param {PBLink} link
   */
  entryName (link) {
    if (link.name === null || link.name.length < this.prefixSize) throw malformed('a link of a directory shard has no slot')
    return link.name.subarray(this.prefixSize)
  }
}

/**
 * The first half of MurmurHash3 x64 128 with the seed 0, as a big-endian number.
 * @param {Uint8Array} bytes
 */
export function murmur3 (bytes) {
  const size = BigInt(bytes.length)
  let [h1, h2] = [0n, 0n]
  let at = 0
  for (; at + 16 <= bytes.length; at += 16) {
    h1 ^= mixFirst(littleEndian(bytes.subarray(at, at + 8)))
    h1 = ((rotate(h1, 27n) + h2) * 5n + 0x52dce729n) & MASK
    h2 ^= mixSecond(littleEndian(bytes.subarray(at + 8, at + 16)))
    h2 = ((rotate(h2, 31n) + h1) * 5n + 0x38495ab5n) & MASK
  }
  h1 ^= mixFirst(littleEndian(bytes.subarray(at, at + 8))) ^ size
  h2 ^= mixSecond(littleEndian(bytes.subarray(at + 8))) ^ size
  h1 = (h1 + h2) & MASK
  h2 = (h2 + h1) & MASK
  return (finish(h1) + finish(h2)) & MASK
}

/** @param {Uint8Array} bytes */
function littleEndian (bytes) {
  return toBigInt(Uint8Array.from(bytes).reverse())
}

/** @param {bigint} k */
function mixFirst (k) {
  return (rotate((k * C1) & MASK, 31n) * C2) & MASK
}

/** @param {bigint} k */
function mixSecond (k) {
  return (rotate((k * C2) & MASK, 33n) * C1) & MASK
}

/**
 * @param {bigint} value
 * @param {bigint} by
 */
function rotate (value, by) {
  return ((value << by) | (value >> (64n - by))) & MASK
}

/** @param {bigint} value */
function finish (value) {
  value = ((value ^ (value >> 33n)) * 0xff51afd7ed558ccdn) & MASK
  value = ((value ^ (value >> 33n)) * 0xc4ceb9fe1a85ec53n) & MASK
  return value ^ (value >> 33n)
}
