/**
 * The blocks of a CAR as its reader needs them: by CID, in depth-first order, whether or not the gateway repeats what it sent before.
 *
 * One rule: a block comes when it is due, or it is refused. Repetitions are answered out of the last blocks that came; what is no longer
 * among them is fetched again by itself, so that no file takes more memory than another.
 */

import { RetrievalError } from '../errors.js'

export const KEPT_BYTES_MAX = 16 << 20
export const BLOCKS_MAX = 1 << 20 // of one CAR; a TiB in chunks of 1 MiB
export const VISITS_MAX = 1 << 21 // repetitions included, so that a small DAG which names the same block a billion times ends too
export const PASSED_MAX = 1 << 16 // sections that bring nothing: identity CIDs, which should not be there

/** @typedef {import('./cid.js').Cid} Cid */
/** @typedef {import('./car.js').Block} Block */

/** What one CAR brings. */
export class Blocks {
  /**
   * @param {{ next(): Promise<Block | null> }} car blocks that are verified
   * @param {(cid: Cid) => Promise<Uint8Array>} fetchAgain gets one block by itself, verified
   */
  constructor (car, fetchAgain) {
    this._car = car
    this._fetchAgain = fetchAgain
    /** @type {Map<string, Uint8Array>} the one used last stands last */
    this._kept = new Map()
    this._keptBytes = 0
    /** @type {Set<string>} */
    this._seen = new Set()
    /** @type {Map<string, number>} How often a block was answered from memory, and so may come once more. */
    this._owed = new Map()
    /** @type {Block | null} Read, and not due yet. */
    this._early = null
    this._nPassed = 0
    this._nVisits = 0
  }

  /**
   * The payload of the block that is due.
   * @param {Cid} cid
   */
  async take (cid) {
    this._count()
    if (cid.isIdentity) return cid.digest
    const kept = this._kept.get(cid.key)
    if (kept !== undefined) {
      this._owed.set(cid.key, (this._owed.get(cid.key) ?? 0) + 1)
      return this._keep(cid, kept)
    }
    const payload = await this._fromCar(cid)
    return this._keep(cid, payload ?? (await this._fetchAgain(cid)))
  }

  /**
   * The payload of a block that holds nothing wanted, if it is the next: some gateways send such blocks, and others do not.
   * @param {Cid} cid
   */
  async takeIfSent (cid) {
    this._count()
    if (cid.isIdentity) return cid.digest
    const block = await this._peek(cid)
    return block?.cid.key === cid.key ? this._use(block) : null
  }

  /**
   * The next of the CAR, which must be this one; null where it came before and does not come again.
   * @param {Cid} cid
   */
  async _fromCar (cid) {
    const block = await this._peek(cid)
    if (block?.cid.key === cid.key) return this._use(block)
    if (this._seen.has(cid.key)) return null
    if (block === null) throw new RetrievalError('transfer_truncated', `the CAR ends before ${cid}`)
    throw new RetrievalError('unexpected_block', `${block.cid} came, and ${cid} was due`)
  }

  /**
   * The next of the CAR that is this block, or is none of those that may stand before it.
   * @param {Cid} cid
   */
  async _peek (cid) {
    for (;;) {
      this._early ??= await this._car.next()
      if (this._early === null || this._early.cid.key === cid.key || !this._passes(this._early.cid)) return this._early
      this._early = null
    }
  }

  /**
   * Whether a block may be there although nobody waits for it.
   * @param {Cid} cid
   */
  _passes (cid) {
    const nOwed = this._owed.get(cid.key) ?? 0
    if (nOwed > 0) this._owed.set(cid.key, nOwed - 1)
    return nOwed > 0 || (cid.isIdentity && this._nPassed++ < PASSED_MAX)
  }

  /** @param {Block} block the one that was peeked at */
  _use ({ cid, payload }) {
    if (this._seen.size === BLOCKS_MAX) throw new RetrievalError('dag_too_large', `more than ${BLOCKS_MAX} blocks`)
    this._early = null
    this._seen.add(cid.key)
    return payload
  }

  _count () {
    if (++this._nVisits > VISITS_MAX) throw new RetrievalError('dag_too_large', `more than ${VISITS_MAX} blocks, repetitions included`)
  }

  /**
   * @param {Cid} cid
   * @param {Uint8Array} payload
   */
  _keep (cid, payload) {
    this._keptBytes += payload.length - (this._kept.get(cid.key)?.length ?? 0)
    this._kept.delete(cid.key)
    this._kept.set(cid.key, payload)
    for (const [key, { length }] of this._kept) {
      if (this._keptBytes <= KEPT_BYTES_MAX) break
      this._kept.delete(key)
      this._keptBytes -= length
    }
    return payload
  }
}
