/**
 * CAR files as they arrive (ipld/specs, "CARv1"): blocks in a row behind a header, each verified before anybody sees it.
 *
 * One rule: a stream that ends anywhere but between two sections was cut. Whether it ended too early is for whoever knows what must come.
 */

import { RetrievalError } from '../errors.js'
import { BLOCK_SIZE_MAX, CID_SIZE_MAX, readCid, verify } from './cid.js'
import { UVARINT_SIZE_MAX, readUvarint } from './varint.js'

export const HEADER_SIZE_MAX = 64 << 10 // bytes
export const ROOTS_MAX = 1024

export const STALL_MS = 30_000 // as trustless gateways time each other out

const SECTION_SIZE_MAX = CID_SIZE_MAX + BLOCK_SIZE_MAX
const AHEAD_BYTES_MAX = 4 << 20 // being hashed while the reader is elsewhere: enough to keep the browser's hashing thread busy
const AHEAD_BLOCKS_MAX = 64

/** @typedef {import('./cid.js').Cid} Cid */
/** @typedef {{ cid: Cid, payload: Uint8Array }} Block */

/** A CAR being read: `next` gives its blocks, in the order of the file. */
export class CarReader {
  /**
   * @param {ReadableStream<Uint8Array>} stream
   * @param {number} [stallMs] how long it may bring nothing
   */
  constructor (stream, stallMs = STALL_MS) {
    this._source = new Source(stream, stallMs)
    /** @type {{ block: Block, verified: Promise<void> }[]} */
    this._ahead = []
    this._aheadBytes = 0
    this._isAtEnd = false
    /** @type {Promise<void> | null} The block that is on its way. */
    this._reading = null
    /** @type {unknown} What will be thrown when the blocks before it are used up. */
    this._failure = undefined
    this._isBehindHeader = false
  }

  /**
   * The next block, verified; null at the end. Throws what reading or hashing meets, after the blocks before it.
   * @returns {Promise<Block | null>}
   */
  async next () {
    while (this._ahead.length === 0 && !this._isAtEnd) {
      this._readAhead()
      await this._reading
    }
    const first = this._ahead.shift()
    if (first === undefined) {
      if (this._failure !== undefined) throw this._failure
      return null
    }
    this._aheadBytes -= first.block.payload.length
    this._readAhead()
    await first.verified
    return first.block
  }

  /** Stop reading. What the network still brings is dropped. */
  async cancel () {
    this._isAtEnd = true
    await this._source.cancel()
  }

  /** Have the next block read while others are hashed and used, and so on, as far as there is room. */
  _readAhead () {
    const isFull = this._aheadBytes >= AHEAD_BYTES_MAX || this._ahead.length >= AHEAD_BLOCKS_MAX
    if (this._reading === null && !this._isAtEnd && !isFull) this._reading = this._readOne()
  }

  async _readOne () {
    try {
      const block = await this._readBlock()
      if (block === null) {
        this._isAtEnd = true
        return
      }
      const verified = verify(block.cid, block.payload)
      verified.catch(() => {}) // said by `next`, when its turn comes
      this._ahead.push({ block, verified })
      this._aheadBytes += block.payload.length
    } catch (failure) {
      this._failure = failure
      this._isAtEnd = true
    } finally {
      this._reading = null
    }
    this._readAhead()
  }

  /** @returns {Promise<Block | null>} */
  async _readBlock () {
    if (!this._isBehindHeader) await checkHeader(this._source)
    this._isBehindHeader = true
    const size = await this._source.length()
    if (size === null) return null
    if (size === 0 || size > SECTION_SIZE_MAX) {
      throw new RetrievalError(size > SECTION_SIZE_MAX ? 'block_too_large' : 'malformed_car', `a section has ${size} bytes`)
    }
    const section = await this._source.take(size)
    const [cid, payloadStart] = readCid(section, 0, 'malformed_car')
    const payload = section.subarray(payloadStart)
    if (payload.length > BLOCK_SIZE_MAX) throw new RetrievalError('block_too_large', `${payload.length} bytes`)
    return { cid, payload }
  }
}

/** A stream of chunks read as bytes. Holds no more than one chunk of it. */
class Source {
  /**
   * @param {ReadableStream<Uint8Array>} stream
   * @param {number} stallMs
   */
  constructor (stream, stallMs) {
    this._reader = stream.getReader()
    this._stallMs = stallMs
    /** @type {Uint8Array} */
    this._chunk = new Uint8Array()
    this._at = 0
  }

  /** The uvarint before a header or a section; null at the end of the file. */
  async length () {
    const bytes = new Uint8Array(UVARINT_SIZE_MAX)
    for (let n = 0; n < UVARINT_SIZE_MAX; n++) {
      if (!(await this._fill())) {
        if (n === 0) return null
        throw cut()
      }
      bytes[n] = this._chunk[this._at++]
      if (bytes[n] < 0x80) return readUvarint(bytes.subarray(0, n + 1), 0, 'malformed_car')[0]
    }
    return readUvarint(bytes, 0, 'malformed_car')[0]
  }

  /**
   * Exactly so many bytes, in an array of their own.
   * @param {number} size
   */
  async take (size) {
    const taken = new Uint8Array(size)
    for (let filled = 0; filled < size;) {
      if (!(await this._fill())) throw cut()
      const part = this._chunk.subarray(this._at, this._at + size - filled)
      taken.set(part, filled)
      filled += part.length
      this._at += part.length
    }
    return taken
  }

  async cancel () {
    await this._reader.cancel().catch(() => {}) // it had broken before
  }

  /** Have at least one byte in the chunk; false at the end. */
  async _fill () {
    while (this._at === this._chunk.length) {
      const { done, value } = await this._read()
      if (done) return false
      this._chunk = value
      this._at = 0
    }
    return true
  }

  /** @returns {Promise<ReadableStreamReadResult<Uint8Array>>} */
  async _read () {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer
    const stalled = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new RetrievalError('transfer_stalled', `nothing came for ${this._stallMs} ms`)), this._stallMs)
    })
    try {
      return /** @type {ReadableStreamReadResult<Uint8Array>} */ (await Promise.race([this._reader.read(), stalled]))
    } catch (cause) {
      if (cause instanceof RetrievalError || isAbort(cause)) throw cause
      throw new RetrievalError('transfer_truncated', 'the connection broke', { cause })
    } finally {
      clearTimeout(timer)
    }
  }
}

/**
 * Whether this is a caller's own doing, who gets its own reason back.
 * @param {unknown} error
 */
export function isAbort (error) {
  return error instanceof DOMException && (error.name === 'AbortError' || error.name === 'TimeoutError')
}

/**
 * Read past the header. What it calls roots is a claim, for nothing to rely on.
 * @param {Source} source
 */
async function checkHeader (source) {
  const size = await source.length()
  if (size === null) throw new RetrievalError('transfer_truncated', 'nothing came')
  if (size === 0 || size > HEADER_SIZE_MAX) throw new RetrievalError('malformed_car', `the header has ${size} bytes`)
  new HeaderParser(await source.take(size)).check()
}

function cut () {
  return new RetrievalError('transfer_truncated', 'the CAR ends inside a section')
}

const [UINT, BYTES, TEXT, ARRAY, MAP, TAG] = [0, 2, 3, 4, 5, 6] // major types of CBOR
const CID_TAG = 42

/** Takes `{"roots": [CID…], "version": 1}` in DAG-CBOR, keys in either order, and nothing else. */
class HeaderParser {
  /** @param {Uint8Array} bytes */
  constructor (bytes) {
    this._bytes = bytes
    this._at = 0
  }

  check () {
    let version = null
    let hasRoots = false
    for (let left = this._head(MAP, 2); left > 0; left--) {
      const key = new TextDecoder().decode(this._take(this._head(TEXT, 'version'.length)))
      if (key === 'version' && version === null) {
        version = this._head(UINT, Number.MAX_SAFE_INTEGER)
      } else if (key === 'roots' && !hasRoots) {
        for (let nRoots = this._head(ARRAY, ROOTS_MAX); nRoots > 0; nRoots--) this._checkCid()
        hasRoots = true
      } else {
        throw malformed(`the header has a key ${key} too many`)
      }
    }
    if (version !== 1 || !hasRoots) throw malformed(`version ${version} is not read here`)
    if (this._at !== this._bytes.length) throw malformed("bytes follow the header's map")
  }

  _checkCid () {
    if (this._head(TAG, CID_TAG) !== CID_TAG) throw malformed('a root is no CID')
    const bytes = this._take(this._head(BYTES, CID_SIZE_MAX + 1))
    const [, end] = readCid(bytes, 1, 'malformed_car')
    if (bytes[0] !== 0 || end !== bytes.length) throw malformed('a root is no CID')
  }

  /**
   * The value of the next item's head, which must be of this type and written as short as can be.
   * @param {number} major
   * @param {number} valueMax
   */
  _head (major, valueMax) {
    const [first] = this._take(1)
    let value = first & 0x1f
    if (value >= 24) {
      const size = 1 << (value - 24)
      if (size > 8) throw malformed('the header is no DAG-CBOR')
      value = this._take(size).reduce((sum, byte) => sum * 256 + byte, 0)
      if (value < [24, 2 ** 8, 0, 2 ** 16, 0, 0, 0, 2 ** 32][size - 1]) throw malformed('a number of the header has a shorter form')
    }
    if (first >> 5 !== major || value > valueMax) throw malformed('the header is not a map of roots and version')
    return value
  }

  /** @param {number} size */
  _take (size) {
    if (size > this._bytes.length - this._at) throw malformed('the header is cut short')
    this._at += size
    return this._bytes.subarray(this._at - size, this._at)
  }
}

/** @param {string} detail */
function malformed (detail) {
  return new RetrievalError('malformed_car', detail)
}
