/** What a gateway says that content would cost (`GET /v1/quote/…`), before anybody pays. A claim, and never more than a claim. */

import { RetrievalError } from '../errors.js'
import { Fields } from './fields.js'
import { readOffers } from './x402.js'

/** Bytes asked for with one payment: what is at risk when a gateway takes it and sends something else. */
export const PAID_WINDOW_BYTES = 16 << 20

/** @typedef {import('../index.d.ts').Quote} Quote */

const OFFERS_MAX = 64
const OVERHEAD = 32n // each window brings the path's blocks again, and the nodes above its own: below one part in so many

/**
 * @param {unknown} said
 * @param {number} [windowBytes] what is asked for at once; everything, unless it is given
 * @returns {Quote}
 */
export function readQuote (said, windowBytes = Infinity) {
  const quote = new Fields(said, 'quote')
  return quote.has('offers') ? ofLocalGateway(quote) : ofProvider(quote, windowBytes)
}

/**
 * A provider's own word.
 * @param {Fields} quote
 * @param {number} windowBytes
 * @returns {Quote}
 */
function ofProvider (quote, windowBytes) {
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

/**
 * What the gateway of this machine was told by those it would buy from: the cheapest, or nothing where it has the content.
 * @param {Fields} quote
 * @returns {Quote}
 */
function ofLocalGateway (quote) {
  const isHeld = quote.flag('held')
  const [cheapest] = quote.many('offers', OFFERS_MAX).filter((offer) => offer.has('amount_max'))
  if (!isHeld && cheapest === undefined) throw new RetrievalError('not_found', 'no provider of the gateway has an offer')
  const amount = isHeld ? 0n : cheapest.amount('amount_max')
  return {
    amount,
    maxSpend: amount,
    bytes: isHeld ? 0 : cheapest.integer('bytes'),
    pricePerGib: isHeld ? 0n : cheapest.amount('price_per_gib'),
    flatFee: 0n,
    symbol: '',
    decimals: isHeld ? 0 : cheapest.integer('decimals'),
    ways: [],
    freeBytesPerDay: 0
  }
}
