/**
 * What a path leads to, out of blocks in the order of delivery: a file or a part of it, or the names in a directory (IPIP-402, `entity`).
 *
 * Any layout of a file is read: raw leaves, dag-pb leaves, data in interior nodes, balanced and trickle trees. Of a part every size that is
 * claimed on the way to it is checked, so that nobody takes bytes of one place for those of another.
 */

import { RetrievalError } from '../errors.js'
import { EMPTY, equal, utf8 } from './bytes.js'
import { DAG_PB, RAW } from './cid.js'
import { malformed } from './dag-pb.js'
import { Shard } from './hamt.js'
import { DIRECTORY, FILE, HAMT_SHARD, METADATA, RAW_BYTES, SYMLINK, decodeBlock } from './unixfs.js'

export const FILE_DEPTH_MAX = 64 // nodes from a file's root to its leaves; a trickle file of 1 TiB needs about 20
export const PATH_NAMES_MAX = 128
export const PATH_NAME_SIZE_MAX = 255 // bytes
export const ENTRIES_MAX = 1 << 20 // names of one directory

/** @typedef {import('./cid.js').Cid} Cid */
/** @typedef {import('./dag-pb.js').PBLink} PBLink */
/** @typedef {import('./unixfs.js').UnixfsNode} UnixfsNode */
/** @typedef {{ take(cid: Cid): Promise<Uint8Array>, takeIfSent(cid: Cid): Promise<Uint8Array | null> }} BlockSource */
/** @typedef {{ start: number, size: number }} Extent */
/** @typedef {{ own: Uint8Array, links: PBLink[], linkSizes: number[], size: number }} FileNode */
/** @typedef {{ kind: 'file', cid: Cid, size: number, root: FileNode }} FileEntity */
/** @typedef {{ kind: 'directory', cid: Cid, links: PBLink[], content: UnixfsNode }} DirectoryEntity */
/** @typedef {FileEntity | DirectoryEntity | { kind: 'symlink', cid: Cid, target: string }} Entity */
/** @typedef {{ name: string, cid: Cid, size: number | null }} Entry its size, of all blocks below it, is a claim */

/**
 * The names of a path: doubled and outer slashes do not matter, `.` and `..` are refused rather than resolved.
 * @param {string} path
 */
export function parsePath (path) {
  const names = path.split('/').filter((name) => name !== '')
  if (names.length > PATH_NAMES_MAX) throw new RetrievalError('invalid_path', `the path has ${names.length} names`)
  for (const name of names) {
    if (name === '.' || name === '..' || name.includes('\0') || utf8(name).length > PATH_NAME_SIZE_MAX) {
      throw new RetrievalError('invalid_path', name.slice(0, 64))
    }
  }
  return names
}

/**
 * Follow a path, and look at what stands at its end.
 * @param {BlockSource} blocks
 * @param {Cid} root
 * @param {string[]} names
 * @returns {Promise<Entity>}
 */
export async function openEntity (blocks, root, names) {
  let cid = root
  for (const name of names) cid = await step(blocks, cid, utf8(name))
  const payload = await blocks.take(cid)
  if (cid.codec !== DAG_PB) return { kind: 'file', cid, size: payload.length, root: leaf(payload) } // a block is a file of its own bytes
  const { node, content } = decodeBlock(payload)
  switch (content?.type) {
    case FILE:
    case RAW_BYTES: {
      const fileRoot = fileNode(node.links, content)
      return { kind: 'file', cid, size: fileRoot.size, root: fileRoot }
    }
    case DIRECTORY:
    case HAMT_SHARD:
      return { kind: 'directory', cid, links: node.links, content }
    case SYMLINK:
      return { kind: 'symlink', cid, target: new TextDecoder().decode(content.data ?? EMPTY) }
    case METADATA:
    default:
      return { kind: 'file', cid, size: payload.length, root: leaf(payload) }
  }
}

/**
 * Where a name of a directory leads.
 * @param {BlockSource} blocks
 * @param {Cid} directory
 * @param {Uint8Array} name
 */
async function step (blocks, directory, name) {
  for (let cid = directory, level = 0; ; level++) {
    if (cid.codec !== DAG_PB) throw missing(name, 'this reader follows names through UnixFS directories only')
    const { node, content } = decodeBlock(await blocks.take(cid))
    if (level === 0 && content?.type === DIRECTORY) {
      const link = node.links.find((each) => each.name !== null && equal(each.name, name))
      if (link === undefined) throw missing(name, 'no such name')
      return link.cid
    }
    if (content?.type !== HAMT_SHARD && level > 0) throw malformed('a directory shard leads to something else')
    if (content?.type !== HAMT_SHARD) throw missing(name, 'this is no directory')
    const shard = new Shard(content)
    const link = shard.find(node.links, name, level)
    if (link === undefined) throw missing(name, 'no such name')
    if (shard.entryName(link).length > 0) return link.cid
    cid = link.cid
  }
}

/**
 * The bytes of a file from `start` to before `stop`, block by block. Each piece is the caller's own.
 * @param {BlockSource} blocks
 * @param {FileEntity} file
 * @param {number} start
 * @param {number} stop
 * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>>}
 */
export async function * readFile (blocks, file, start, stop) {
  let left = stop - start
  for await (const piece of pieces(blocks, file.root, start === 0 && stop === file.size ? null : { start, size: left })) {
    left -= piece.length
    if (left < 0) throw malformed(`a file is longer than the ${file.size} bytes it claims`)
    if (piece.length > 0) yield piece.slice() // a stream's reader may give its piece's buffer away, and the block may come up again
  }
  if (left > 0) throw malformed(`a file ends ${left} bytes before it should`)
}

/**
 * A node's own bytes first, then those of its links in order. `part` is null for all of them.
 * @param {BlockSource} blocks
 * @param {FileNode} root
 * @param {Extent | null} part
 */
async function * pieces (blocks, root, part) {
  if (part?.size === 0) return
  yield overlap(root.own, 0, part)
  /** @type {Iterator<[Cid, Extent | null]>[]} */
  const open = [below(root, 0, part)]
  while (open.length > 0) {
    const { done, value } = open[open.length - 1].next()
    if (done) {
      open.pop()
      continue
    }
    if (open.length === FILE_DEPTH_MAX) throw new RetrievalError('dag_too_large', `a file is deeper than ${FILE_DEPTH_MAX} nodes`)
    const [cid, extent] = value
    const payload = extent?.size === 0 ? await blocks.takeIfSent(cid) : await blocks.take(cid)
    if (payload === null) continue
    const node = readNode(cid, payload)
    if (extent !== null && node.size !== extent.size) {
      throw malformed(`a file's node claims ${node.size} bytes, the one above it ${extent.size}`)
    }
    yield overlap(node.own, extent?.start ?? 0, part)
    open.push(below(node, extent?.start ?? 0, part))
  }
}

/**
 * The links that lead to wanted bytes, each with the place of what is below it where that matters.
 * @param {FileNode} node
 * @param {number} start
 * @param {Extent | null} part
 * @returns {Generator<[Cid, Extent | null]>}
 */
function * below (node, start, part) {
  if (part === null) {
    for (const { cid } of node.links) yield [cid, null]
    return
  }
  if (node.linkSizes.length !== node.links.length) {
    throw malformed(`a file's node has ${node.links.length} links and ${node.linkSizes.length} block sizes`)
  }
  let at = start + node.own.length
  if (node.linkSizes.reduce((sum, size) => sum + size, at) !== start + node.size) {
    throw malformed(`the block sizes of a file's node do not add up to the ${node.size} bytes it claims`)
  }
  for (const [index, { cid }] of node.links.entries()) {
    const size = node.linkSizes[index]
    const isEmpty = size === 0 && at >= part.start && at <= part.start + part.size
    if (isEmpty || (size > 0 && at < part.start + part.size && at + size > part.start)) yield [cid, { start: at, size }]
    at += size
  }
}

/**
 * @param {Uint8Array} own
 * @param {number} start
 * @param {Extent | null} part
 */
function overlap (own, start, part) {
  return part === null ? own : own.subarray(Math.max(0, part.start - start), Math.max(0, part.start + part.size - start))
}

/**
 * @param {Cid} cid
 * @param {Uint8Array} payload
 * @returns {FileNode}
 */
function readNode (cid, payload) {
  if (cid.codec === RAW) return leaf(payload)
  const { node, content } = cid.codec === DAG_PB ? decodeBlock(payload) : { node: null, content: null }
  if (node === null || (content?.type !== FILE && content?.type !== RAW_BYTES)) throw malformed('a file contains something that is no file')
  return fileNode(node.links, content)
}

/**
 * @param {PBLink[]} links
 * @param {UnixfsNode} content
 * @returns {FileNode}
 */
function fileNode (links, { data, filesize, blocksizes }) {
  const own = data ?? EMPTY
  return { own, links, linkSizes: blocksizes, size: filesize ?? blocksizes.reduce((sum, size) => sum + size, own.length) }
}

/**
 * @param {Uint8Array} own
 * @returns {FileNode}
 */
function leaf (own) {
  return { own, links: [], linkSizes: [], size: own.length }
}

/**
 * The names in a directory, in the order of its blocks.
 * @param {BlockSource} blocks
 * @param {DirectoryEntity} directory
 * @returns {AsyncGenerator<Entry>}
 */
export async function * readDirectory (blocks, directory) {
  let nEntries = 0
  for await (const entry of names(blocks, directory.links, directory.content, 0, new Set())) {
    if (++nEntries > ENTRIES_MAX) throw new RetrievalError('dag_too_large', `a directory of more than ${ENTRIES_MAX} names`)
    yield entry
  }
}

/**
 * @param {BlockSource} blocks
 * @param {PBLink[]} links
 * @param {UnixfsNode} content
 * @param {number} level
 * @param {Set<string>} shards that were read: each stands in one place, as its names' hashes say, so a few blocks are a few visits
 * @returns {AsyncGenerator<Entry>}
 */
async function * names (blocks, links, content, level, shards) {
  const shard = content.type === HAMT_SHARD ? new Shard(content) : null
  if (shard !== null && level >= shard.levelsMax) throw malformed("a directory's shards go deeper than its hash")
  for (const link of links) {
    const name = shard === null ? link.name ?? EMPTY : shard.entryName(link)
    if (shard === null || name.length > 0) {
      yield { name: new TextDecoder().decode(name), cid: link.cid, size: link.tsize }
      continue
    }
    if (shards.has(link.cid.key)) throw malformed('a directory has the same shard in two places')
    shards.add(link.cid.key)
    const below = link.cid.codec === DAG_PB ? decodeBlock(await blocks.take(link.cid)) : null
    if (below?.content?.type !== HAMT_SHARD) throw malformed('a directory shard leads to something else')
    yield * names(blocks, below.node.links, below.content, level + 1, shards)
  }
}

/**
 * @param {Uint8Array} name
 * @param {string} why
 */
function missing (name, why) {
  return new RetrievalError('path_not_found', `'${new TextDecoder().decode(name).slice(0, 64)}': ${why}`)
}
