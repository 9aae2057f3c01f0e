/** Who pays: nobody, a gateway on this machine by its token, or a wallet. */

import { RetrievalError } from '../errors.js'
import { send } from '../gateway.js'
import { Budget, amountOf } from './budget.js'
import { defaultStorage } from './storage.js'
import { WalletPayer } from './wallet.js'

export const MAX_SPEND = 'Retrieval-Max-Spend'

/** @typedef {import('../index.d.ts').Options} Options */
/** @typedef {import('../index.d.ts').Payer} Payer */

/** Asks, and sends a token along where there is one: what the token may spend is for the gateway that gave it to say. */
class TokenPayer {
  /** @param {Record<string, string>} headers */
  constructor (headers) {
    this._headers = headers
  }

  async headers () {
    return this._headers
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   */
  async fetch (url, init) {
    const redirect = 'Authorization' in this._headers ? 'error' : 'follow' // a token is for this gateway alone
    const response = await send(url, { ...init, redirect, headers: { ...init.headers, ...this._headers } })
    return { response, payment: null }
  }
}

/**
 * Who pays for one retrieval, as its options say.
 * @param {Options} options
 * @param {() => Promise<bigint | null>} priceOfAll
 * @returns {Payer}
 */
export function payerOf ({ token, wallet, maxSpend, budget, depositMax, storage, scheme }, priceOfAll) {
  if (wallet === undefined) {
    /** @type {Record<string, string>} */
    const headers = {}
    if (token !== undefined) headers.Authorization = `Bearer ${token}`
    if (token !== undefined && maxSpend !== undefined) headers[MAX_SPEND] = `${amountOf(maxSpend)}` // who spends nothing need not know it
    return new TokenPayer(headers)
  }
  if (maxSpend === undefined) throw new RetrievalError('invalid_amount', 'a wallet spends up to maxSpend, which is not named')
  /** @type {NonNullable<Options['budget']>[]} */
  const budgets = [new Budget(maxSpend), ...(budget === undefined ? [] : [budget])]
  const most = amountOf(depositMax ?? maxSpend)
  return new WalletPayer({ wallet, budgets, storage: storage ?? defaultStorage(), depositMax: most, scheme, priceOfAll })
}
