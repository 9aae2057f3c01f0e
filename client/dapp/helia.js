/**
 * For programs that fetch with Helia: what its gateway broker asks to be told, and a `fetch` that pays.
 *
 * Helia's hook is asked before each request, and not told where it goes; so what it adds goes to every gateway that Helia asks. A token
 * belongs into a Helia whose only gateway is the one that gave it.
 */

import { plainFetch } from './gateway.js'
import { MAX_SPEND, payerOf } from './payment/payer.js'
import { amountOf } from './payment/budget.js'

/** @typedef {import('./index.d.ts').Options} Options */
/** @typedef {import('./index.d.ts').Payment} Payment */

/**
 * The `transformRequestInit` of Helia's trustless gateway broker (`withHTTP`, `trustlessGatewayBlockBroker`), for the gateway of this
 * machine.
 * @param {{ token: string, maxSpend?: import('./index.d.ts').Amount }} options what each request, of one block, may cost at most
 * @returns {(init: RequestInit) => RequestInit}
 */
export function heliaTransform ({ token, maxSpend }) {
  const most = maxSpend === undefined ? null : `${amountOf(maxSpend)}`
  return (init) => {
    const headers = new Headers(init.headers)
    headers.set('Authorization', `Bearer ${token}`)
    if (most !== null) headers.set(MAX_SPEND, most)
    return { ...init, headers, redirect: 'error' } // a token is for this gateway alone
  }
}

/**
 * A `fetch` that pays what a server asks by x402, out of a wallet, up to `maxSpend` for all of its requests together.
 *
 *     globalThis.fetch = payingFetch({ wallet: ethereum, maxSpend: 50_000n, depositMax: 100_000n })
 *
 * It verifies nothing: that is for whoever reads the answers, as Helia does.
 * @param {Options & { onPayment?: (payment: Payment) => void }} options
 * @returns {typeof globalThis.fetch}
 */
export function payingFetch ({ onPayment, ...options }) {
  const payer = payerOf(options, async () => null)
  return async (input, init = {}) => {
    if (input instanceof Request || (init.method ?? 'GET') !== 'GET') return await plainFetch(input, init) // nothing that is sold here
    const { response, payment } = await payer.fetch(`${input}`, { ...init, headers: Object.fromEntries(new Headers(init.headers)) })
    if (payment !== null) onPayment?.(payment)
    return response
  }
}
