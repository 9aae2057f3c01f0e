/** What may be spent: by one retrieval, or by everything on a page together. */

import { RetrievalError } from '../errors.js'
import { AMOUNT_MAX } from './fields.js'

/** An amount that only becomes less. Several retrievals may share one. Amounts are in the token's smallest unit. */
export class Budget {
  /** @param {bigint | number | string} amount */
  constructor (amount) {
    this._left = amountOf(amount)
  }

  get left () {
    return this._left
  }

  /**
   * Take from it, once and for all: what was signed is spent, whatever comes of it. Throws `over_budget`, and takes nothing then.
   * @param {bigint} amount
   */
  spend (amount) {
    if (amount > this._left) throw new RetrievalError('over_budget', `${amount} is asked, and ${this._left} is left`)
    this._left -= amount
  }
}

/**
 * An amount as callers write it: a whole number, as a BigInt, a number or a decimal string.
 * @param {bigint | number | string} value
 */
export function amountOf (value) {
  const isWhole = typeof value === 'bigint' || Number.isSafeInteger(value) || (typeof value === 'string' && /^[0-9]{1,39}$/.test(value))
  if (!isWhole || BigInt(value) < 0n || BigInt(value) > AMOUNT_MAX) throw new RetrievalError('invalid_amount', `${value}`)
  return BigInt(value)
}
