/** What a gateway says that content would cost (`GET /v1/quote/…`), before anybody pays. A claim, and never more than a claim. */

import { Fields } from './fields.js'
import { readOffers } from './x402.js'

export const PAID_WINDOW_BYTES = 16 << 20 // bytes asked for with one payment: what is at risk when a gateway takes it and sends something else

const OVERHEAD = 32n // each window brings the path's blocks again, and the nodes above its own: below one part in so many

/**
 * @param {unknown} said
 * @param {number} [windowBytes] what is asked for at once; everything, unless it is given
 * @returns {import('../index.d.ts').Quote}
 */
export function readQuote (said, windowBytes = Infinity) {
  const quote = new Fields(said, 'quote')
  const [amount, bytes] = [quote.amount('amount_max'), quote.integer('bytes_max')]
  const flatFee = quote.has('flat_fee') ? quote.amount('flat_fee') : 0n
  const nFurther = BigInt(Math.max(1, Math.ceil(bytes / windowBytes))) - 1n
  return {
    amount,
    maxSpend: nFurther === 0n ? amount : amount + amount / OVERHEAD + nFurther * (flatFee + 1n),
    bytes,
    pricePerGib: quote.has('price_per_gib') ? quote.amount('price_per_gib') : 0n,
    flatFee,
    symbol: quote.has('symbol') ? quote.text('symbol') : '',
    ways: readOffers(quote).map(({ scheme, chainId, amount, depositMin }) => ({ scheme, chainId, amount, depositMin })),
    decimals: quote.has('decimals') ? quote.integer('decimals') : 0,
    freeBytesPerDay: quote.has('free_bytes_per_day') ? quote.integer('free_bytes_per_day') : 0
  }
}
