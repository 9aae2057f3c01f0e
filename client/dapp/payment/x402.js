/**
 * x402 version 2 as it is spoken over HTTP: what a 402 offers, how a request is paid, what the answer charged. Pure.
 *
 * Each of its headers is base64 of a JSON object. What a server wrote is read by `fields.js` alone.
 */

import { toHex } from '../content/bytes.js'
import { malformed, readHeader, writeHeader } from './fields.js'

export const PAYMENT_REQUIRED = 'PAYMENT-REQUIRED'
export const PAYMENT_SIGNATURE = 'PAYMENT-SIGNATURE'
export const PAYMENT_RESPONSE = 'PAYMENT-RESPONSE'
export const BATCH = 'batch-settlement'
export const EXACT = 'exact'

/** What a corrective 402 says. */
export const RESYNC = 'invalid_batch_settlement_evm_cumulative_amount_mismatch'
/** What a 402 says where the channel holds less than was promised. */
export const UNFUNDED = new Set([
  'invalid_batch_settlement_evm_insufficient_balance', 'invalid_batch_settlement_evm_cumulative_exceeds_balance'
])

const VERSION = 2
const ACCEPTS_MAX = 16
const TIMEOUT_MAX_S = 86_400

/** @typedef {import('./fields.js').Fields} Fields */
/**
 * @typedef {object} Sight a channel as the server sees it
 * @property {string} channelId
 * @property {bigint} balance
 * @property {bigint} charged over the channel's life
 * @property {{ amount: bigint, signature: Uint8Array } | null} best our best voucher, as the server shows it
 */
/**
 * @typedef {object} Offer one way to pay for one request
 * @property {string} scheme
 * @property {number} chainId
 * @property {string} token
 * @property {string} tokenName
 * @property {string} tokenVersion
 * @property {bigint} amount the most that the request costs
 * @property {string} payTo
 * @property {number} timeoutS how long what is signed for it should stay valid
 * @property {string} receiverAuthorizer with the next two what a channel has to be
 * @property {number} withdrawDelay
 * @property {bigint} depositMin
 * @property {Sight | null} sight in a corrective 402 only
 * @property {Record<string, unknown>} raw as it came, to be repeated
 */
/** @typedef {{ error: string, offers: Offer[] }} Required */

/**
 * The ways to pay that a 402 offers and this module speaks.
 * @param {string} header
 * @returns {Required}
 */
export function readRequired (header) {
  const message = readHeader(header, PAYMENT_REQUIRED)
  if (message.integer('x402Version') !== VERSION) throw malformed(`x402Version is not ${VERSION}`)
  return { error: message.has('error') ? message.text('error') : '', offers: readOffers(message) }
}

/**
 * The offers in `accepts`, as they stand in a 402 and in a quote. Those in other schemes, or on chains of other kinds, are left out.
 * @param {Fields} message
 */
export function readOffers (message) {
  return message.has('accepts') ? message.many('accepts', ACCEPTS_MAX).filter(isSpoken).map(readOffer) : []
}

/**
 * What was charged, and where the channel stands with it.
 * @param {string} header
 */
export function readCharge (header) {
  const message = readHeader(header, PAYMENT_RESPONSE)
  if (!message.flag('success')) throw malformed('the server says that the payment failed')
  const extra = message.fields('extra')
  return {
    charged: extra.amount('chargedAmount'),
    sight: extra.has('channelState') ? readSight(extra) : null,
    transaction: message.has('transaction') ? message.text('transaction') : ''
  }
}

/**
 * The header that pays.
 * @param {Offer} offer
 * @param {Record<string, unknown>} payload
 */
export function writePayment (offer, payload) {
  return writeHeader({ x402Version: VERSION, accepted: offer.raw, payload })
}

/** @param {Fields} entry */
function isSpoken (entry) {
  const extra = entry.fields('extra')
  const isByAuthorization = !extra.has('assetTransferMethod') || extra.text('assetTransferMethod') === 'eip3009'
  return [BATCH, EXACT].includes(entry.text('scheme')) && entry.text('network').startsWith('eip155:') && isByAuthorization
}

/**
 * @param {Fields} entry
 * @returns {Offer}
 */
function readOffer (entry) {
  const extra = entry.fields('extra')
  const scheme = entry.text('scheme')
  const timeoutS = entry.integer('maxTimeoutSeconds')
  if (timeoutS === 0 || timeoutS > TIMEOUT_MAX_S) throw malformed(`maxTimeoutSeconds is ${timeoutS}`)
  const isBatch = scheme === BATCH
  return {
    scheme,
    chainId: entry.chainId('network'),
    token: address(entry, 'asset'),
    tokenName: extra.text('name'),
    tokenVersion: extra.text('version'),
    amount: entry.amount('amount'),
    payTo: address(entry, 'payTo'),
    timeoutS,
    receiverAuthorizer: isBatch ? address(extra, 'receiverAuthorizer') : '',
    withdrawDelay: isBatch ? extra.integer('withdrawDelay') : 0,
    depositMin: isBatch && extra.has('minDeposit') ? extra.amount('minDeposit') : 0n,
    sight: isBatch && extra.has('channelState') ? readSight(extra) : null,
    raw: entry.raw()
  }
}

/**
 * @param {Fields} extra
 * @returns {Sight}
 */
function readSight (extra) {
  const state = extra.fields('channelState')
  const voucher = extra.has('voucherState') ? extra.fields('voucherState') : null
  return {
    channelId: `0x${toHex(state.blob('channelId', 32))}`,
    balance: state.amount('balance'),
    charged: state.amount('chargedCumulativeAmount'),
    best: voucher === null ? null : { amount: voucher.amount('signedMaxClaimable'), signature: voucher.blob('signature', 65) }
  }
}

/**
 * @param {Fields} fields
 * @param {string} name
 */
function address (fields, name) {
  return `0x${toHex(fields.blob(name, 20))}`
}
