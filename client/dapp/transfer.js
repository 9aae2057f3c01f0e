/**
 * One retrieval, window by window: a part of the file is asked of a gateway, verified as it streams, and the next part of whoever is left.
 *
 * One rule: a byte that was handed out is verified, and never asked for again. A gateway that failed is not asked again either.
 */

import { Blocks } from './content/blocks.js'
import { openEntity, readFile } from './content/entity.js'
import { RetrievalError } from './errors.js'

/** @typedef {import('./content/cid.js').Cid} Cid */
/** @typedef {import('./content/car.js').CarReader} CarReader */
/** @typedef {import('./content/entity.js').Entity} Entity */
/** @typedef {import('./content/entity.js').FileEntity} FileEntity */
/** @typedef {import('./gateway.js').Gateway} Gateway */
/** @typedef {import('./index.d.ts').Payment} Payment */
/** @typedef {{ first: number, last: number | null }} Range */

const ALL = { first: 0, last: null }
const GIVEN_UP_AT_ONCE = new Set(['cancelled', 'internal'])
/** What is wrong with the content itself once its blocks were verified, so that no other gateway has it better. */
const OF_THE_CONTENT = new Set([
  'path_not_found', 'malformed_block', 'dag_too_large', 'unsupported_codec', 'unsupported_format', 'range_not_satisfiable'
])

/** What it takes to fetch one path. */
export class Transfer {
  /**
   * @param {{ root: Cid, names: string[], gateways: Gateway[], range: Range | null, windowBytes: number | null, signal?: AbortSignal }} ask
   *   `windowBytes` null asks for everything at once
   */
  constructor ({ root, names, gateways, range, windowBytes, signal }) {
    this._root = root
    this._names = names
    this._gateways = [...gateways]
    this._wanted = range
    this._windowBytes = windowBytes
    this._signal = signal
    /** @type {Entity | null} */
    this.entity = null
    /** @type {Payment[]} One an answer that was paid for. */
    this.payments = []
    /** @type {Set<string>} The deals by which a gateway that pays itself bought it. */
    this.deals = new Set()
    /** Of the wanted part: its first byte, the one behind its last, and the next that is to come. */
    this.start = 0
    this.stop = 0
    this.at = 0
    /** @type {CarReader | null} */
    this._car = null
    /** @type {Blocks | null} */
    this._blocks = null
    this._windowStop = 0
  }

  /** Where the bytes come from now. */
  get gateway () {
    return this._gateways[0]?.url ?? ''
  }

  /** The blocks of the window that is open, for whoever reads a directory. */
  get blocks () {
    if (this._blocks === null) throw new RetrievalError('internal', 'no window is open')
    return this._blocks
  }

  /**
   * Get the first blocks, which say what the path leads to.
   * @returns {Promise<Entity>}
   */
  async open () {
    return await this._insist(() => this._openWindow())
  }

  /**
   * The wanted bytes, each verified.
   * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>>}
   */
  async * chunks () {
    const file = this.entity
    if (file?.kind !== 'file') throw new RetrievalError('unsupported_format', 'this is no file')
    try {
      while (this.at < this.stop) {
        if (this._blocks === null) await this._insist(() => this._openWindow())
        try {
          for await (const chunk of readFile(this.blocks, file, this.at, this._windowStop)) {
            this.at += chunk.length
            yield chunk
          }
        } catch (error) {
          await this._failed(error)
          continue
        }
        this._endWindow()
      }
    } finally {
      await this.close()
    }
  }

  /** Stop. What is on its way is dropped. */
  async close () {
    const car = this._car
    this._car = this._blocks = null
    await car?.cancel()
  }

  /**
   * Do this with one gateway after another, until one can.
   * @template T
   * @param {() => Promise<T>} work
   */
  async _insist (work) {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        await this._failed(error)
      }
    }
  }

  /**
   * Go on without the gateway that failed; throws where nobody is left, or would do better.
   * @param {unknown} error
   */
  async _failed (error) {
    const isOfTheContent = error instanceof RetrievalError && OF_THE_CONTENT.has(error.code) && this._blocks !== null
    await this.close()
    this._signal?.throwIfAborted() // the caller's own reason, whatever the network made of it
    if (!(error instanceof RetrievalError) || GIVEN_UP_AT_ONCE.has(error.code) || isOfTheContent) throw error
    this._gateways.shift()
    if (this._gateways.length === 0) throw error
  }

  /** Ask for the next part, and read as far as the node that says what it is a part of. */
  async _openWindow () {
    const gateway = this._gateways[0]
    const range = this._nextRange()
    const { car, payment, deal } = await gateway.car(this._root, this._names, range, this._signal)
    if (payment !== null) this.payments.push(payment)
    if (deal !== null) this.deals.add(deal)
    this._car = car
    this._blocks = new Blocks(car, async (cid) => {
      const { payload, payment } = await gateway.block(cid, this._signal)
      if (payment !== null) this.payments.push(payment)
      return payload
    })
    const entity = await openEntity(this._blocks, this._root, this._names)
    if (this.entity === null) this._begin(entity)
    if (entity.kind === 'file') this._windowStop = range === null ? this.stop : Math.min(this.stop, resolve(range, entity.size)[1])
    return entity
  }

  /** @param {Entity} entity */
  _begin (entity) {
    if (entity.kind === 'file') {
      ;[this.start, this.stop] = resolve(this._wanted ?? ALL, entity.size)
      this.at = this.start
      if (this._wanted !== null && this.start >= this.stop) {
        throw new RetrievalError('range_not_satisfiable', `the file has ${entity.size} bytes`)
      }
    }
    this.entity = entity
  }

  /**
   * What to ask for now.
   * @returns {Range | null}
   */
  _nextRange () {
    if (this.entity !== null) {
      const isAll = this._windowBytes === null && this._wanted === null && this.at === 0
      const stop = this._windowBytes === null ? this.stop : Math.min(this.stop, this.at + this._windowBytes)
      return isAll ? null : { first: this.at, last: stop - 1 }
    }
    if (this._windowBytes === null) return this._wanted
    const { first, last } = this._wanted ?? ALL
    if (first < 0) return { first, last: first } // one byte, whose blocks say how large the file is
    const windowLast = first + this._windowBytes - 1
    return { first, last: last === null || last < 0 ? windowLast : Math.min(windowLast, last) }
  }

  /** All of it was read: let its connection come to its end by itself, to be used again. */
  _endWindow () {
    const car = this._car
    this._car = this._blocks = null
    car?.next().then(() => car.cancel(), () => {}) // nothing that comes now matters any more
  }
}

/**
 * The first byte of a range in a file of this size, and the one behind its last.
 * @param {Range} range
 * @param {number} size
 * @returns {[number, number]}
 */
function resolve ({ first, last }, size) {
  const start = first < 0 ? Math.max(0, size + first) : first
  return [start, last === null ? size : Math.min(size, (last < 0 ? size + last : last) + 1)]
}
