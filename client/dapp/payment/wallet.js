/**
 * Pays a gateway by x402 out of a wallet: an EIP-1193 provider, which is asked to sign and shows its owner what.
 *
 * `batch-settlement` asks once, for a deposit into a channel; what is spent from it is signed by a key that the page keeps, which can pay
 * this one receiver and nobody else. `exact` asks for every answer. One rule: what was signed counts as spent, and is kept before it
 * leaves.
 */

import { toHex } from '../content/bytes.js'
import { RetrievalError } from '../errors.js'
import { problemOf, send } from '../gateway.js'
import { Channel } from './channel.js'
import { receiptOf } from './receipt.js'
import { alone } from './storage.js'
import { COLLECTOR, authorizationTypedData, depositNonce } from './typed-data.js'
import {
  BATCH, EXACT, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, RESYNC, UNFUNDED, readCharge, readRequired, writePayment
} from './x402.js'

const REFUSED_BY_USER = 4001 // EIP-1193
const TURNS_MAX = 3 // of one request: as we count, as the server does, and with a deposit

/** @typedef {NonNullable<import('../index.d.ts').Options['budget']>} Budget */
/** @typedef {import('./x402.js').Offer} Offer */
/** @typedef {import('../index.d.ts').ChannelStorage} ChannelStorage */
/** @typedef {import('../index.d.ts').Eip1193Provider} Eip1193Provider */
/** @typedef {import('../index.d.ts').Payer} Payer */
/** @typedef {import('../index.d.ts').Payment} Payment */
/** @typedef {{ response: Response, payment: Payment | null }} Answer */

/** @implements {Payer} */
export class WalletPayer {
  /**
   * @param {object} options
   * @param {Eip1193Provider} options.wallet
   * @param {Budget[]} options.budgets each of which must allow what is spent
   * @param {ChannelStorage} options.storage
   * @param {bigint} options.depositMax the most that one deposit moves into a channel
   * @param {string} [options.scheme] the only one to pay by
   * @param {() => Promise<bigint | null>} options.priceOfAll what the whole retrieval may need, where the gateway says so
   */
  constructor ({ wallet, budgets, storage, depositMax, scheme, priceOfAll }) {
    this._wallet = wallet
    this._budgets = budgets
    this._storage = storage
    this._depositMax = depositMax
    this._scheme = scheme
    this._priceOfAll = priceOfAll
    /** @type {bigint | null | undefined} What the retrieval may still need, from the first 402 on; null where nobody says so. */
    this._needed = undefined
  }

  async headers () {
    return {}
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   * @returns {Promise<Answer>}
   */
  async fetch (url, init) {
    const response = await send(url, init)
    if (response.status !== 402) return { response, payment: null }
    const { offers } = await requiredOf(response)
    const [payer, chainId] = [await this._account(), await this._chainId()]
    const offer = this._choose(offers, chainId)
    await this._checkBudget(offer.amount)
    if (offer.scheme === EXACT) return await this._payByTransfer(url, init, offer, payer)
    const key = ['channel', chainId, payer, offer.payTo, offer.receiverAuthorizer, offer.token].join(' ')
    return await alone(key, async () => await this._payFromChannel(url, init, offer, payer, key))
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   * @param {Offer} offer
   * @param {string} payer
   * @param {string} key what the channel is kept under
   * @returns {Promise<Answer>}
   */
  async _payFromChannel (url, init, offer, payer, key) {
    const kept = /** @type {import('./channel.js').Kept | undefined} */ (await this._storage.get(key))
    let channel = kept === undefined ? Channel.open(payer, offer) : new Channel(kept)
    if (!channel.fits(offer)) {
      await this._storage.put(`retired ${channel.id}`, kept) // whose deposit its owner may want back one day
      channel = Channel.open(payer, offer)
    }
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      const deposit = channel.charged + offer.amount > channel.balance ? await this._deposit(channel, offer) : null
      this._spend(channel.exposure(offer.amount))
      const voucher = await channel.sign(offer.amount)
      if (deposit !== null) channel.balance += BigInt(deposit.amount)
      await this._storage.put(key, channel.toKept())
      const signed = { channelConfig: channel.config, voucher }
      const payload = deposit === null ? { type: 'voucher', ...signed } : { type: 'deposit', ...signed, deposit }
      const response = await sendPaid(url, init, offer, payload)
      if (response.status === 402) {
        if (deposit !== null) channel.balance -= BigInt(deposit.amount) // where it was mined after all, the next answer says so
        offer = await this._corrected(channel, response, deposit !== null)
        await this._storage.put(key, channel.toKept())
        continue
      }
      const charge = chargeOf(response)
      if (charge !== null) {
        await refusing(response, () => channel.answered(offer.amount, charge.charged, charge.sight))
        await this._storage.put(key, channel.toKept())
      }
      return await answerOf(response, offer, payer, charge, channel.id)
    }
    throw new RetrievalError('payment_mismatch', 'the server corrects what it corrected before')
  }

  /**
   * What a server offers now that refused our count; the channel is put right by then. Throws the refusal where nothing is to be put right.
   * @param {Channel} channel
   * @param {Response} response
   * @param {boolean} hasDeposit
   */
  async _corrected (channel, response, hasDeposit) {
    const { error, offers, problem } = await requiredOf(response)
    const offer = this._choose(offers, channel.chainId)
    const isCorrected = error === RESYNC && offer.sight !== null && channel.correct(offer.sight)
    const isUnfunded = UNFUNDED.has(error) && !hasDeposit
    if (!isCorrected && !isUnfunded) throw problem
    if (isUnfunded) channel.balance = channel.charged // it holds no less, since that was paid from it
    if (!channel.fits(offer)) throw new RetrievalError('channel_unacceptable', 'the offer is for another channel than before')
    return offer
  }

  /**
   * Have the wallet sign a deposit: for this request, and at once for the rest of the retrieval.
   * @param {Channel} channel
   * @param {Offer} offer
   */
  async _deposit (channel, offer) {
    const wanted = channel.charged + (this._needed ?? this._left()) - channel.balance
    const least = max(channel.charged + offer.amount - channel.balance, offer.depositMin)
    if (least > this._depositMax) {
      throw new RetrievalError('over_budget', `a deposit of ${least} is the least, and ${this._depositMax} the most`)
    }
    const amount = min(max(wanted, least), this._depositMax)
    const salt = randomWord()
    const { payer } = channel.config
    const nonce = depositNonce(channel.id, salt)
    const { validBefore, signature } = await this._authorize('ReceiveWithAuthorization', offer, payer, COLLECTOR, amount, nonce)
    return { amount: `${amount}`, authorization: { erc3009Authorization: { validAfter: '0', validBefore, salt, signature } } }
  }

  /**
   * @param {string} url
   * @param {RequestInit} init
   * @param {Offer} offer
   * @param {string} payer
   * @returns {Promise<Answer>}
   */
  async _payByTransfer (url, init, offer, payer) {
    this._spend(offer.amount)
    const signed = await this._authorize('TransferWithAuthorization', offer, payer, offer.payTo, offer.amount, randomWord())
    const { signature, ...authorization } = signed
    const response = await sendPaid(url, init, offer, { signature, authorization })
    if (response.status === 402) throw await problemOf(response)
    const charge = chargeOf(response)
    if (charge !== null && charge.charged > offer.amount) {
      await refusing(response, () => {
        throw new RetrievalError('payment_mismatch', `${charge.charged} was charged, and ${offer.amount} was agreed`)
      })
    }
    return await answerOf(response, offer, payer, charge, null)
  }

  /**
   * @param {'TransferWithAuthorization' | 'ReceiveWithAuthorization'} type
   * @param {Offer} offer
   * @param {string} from
   * @param {string} to
   * @param {bigint} value
   * @param {string} nonce
   */
  async _authorize (type, offer, from, to, value, nonce) {
    const validBefore = `${Math.floor(Date.now() / 1000) + offer.timeoutS}`
    const message = { from, to, value: `${value}`, validAfter: '0', validBefore, nonce }
    const domain = { name: offer.tokenName, version: offer.tokenVersion, chainId: offer.chainId, token: offer.token }
    const signature = await this._ask('eth_signTypedData_v4', [from, JSON.stringify(authorizationTypedData(type, message, domain))])
    if (typeof signature !== 'string') throw new RetrievalError('internal', 'the wallet gave no signature')
    return { ...message, signature }
  }

  /**
   * The first way to pay that the wallet's chain and the caller allow.
   * @param {Offer[]} offers
   * @param {number} chainId
   */
  _choose (offers, chainId) {
    const spoken = offers.filter(({ scheme }) => this._scheme === undefined || scheme === this._scheme)
    const offer = spoken.find((each) => each.chainId === chainId)
    if (offer !== undefined) return offer
    if (spoken.length === 0) throw new RetrievalError('payment_required', `it is not paid by ${this._scheme ?? `${BATCH} or ${EXACT}`}`)
    throw new RetrievalError('wrong_chain', `the wallet is on chain ${chainId}, and ${spoken.map((each) => each.chainId)} is asked`)
  }

  /**
   * Before the first payment: is there enough for all of it? Half a file is no use.
   * @param {bigint} amount of the first answer
   */
  async _checkBudget (amount) {
    if (this._needed !== undefined) return
    const price = await this._priceOfAll()
    const needed = max(price ?? 0n, amount)
    if (this._left() < needed) throw new RetrievalError('over_budget', `it may cost ${needed}, and ${this._left()} may be spent`)
    this._needed = price === null ? null : needed
  }

  _left () {
    return this._budgets.map(({ left }) => left).reduce(min)
  }

  /** @param {bigint} amount */
  _spend (amount) {
    const least = this._budgets.reduce((one, other) => (other.left < one.left ? other : one))
    least.spend(amount) // throws before any other has lost something
    for (const budget of this._budgets) if (budget !== least) budget.spend(amount)
    if (typeof this._needed === 'bigint') this._needed = max(this._needed - amount, 0n)
  }

  /** @returns {Promise<string>} */
  async _account () {
    for (const method of ['eth_accounts', 'eth_requestAccounts']) {
      const accounts = await this._ask(method)
      const first = Array.isArray(accounts) ? accounts[0] : undefined
      if (typeof first === 'string' && /^0x[0-9a-fA-F]{40}$/.test(first)) return first.toLowerCase()
    }
    throw new RetrievalError('payment_required', 'the wallet shows no account')
  }

  async _chainId () {
    return Number(await this._ask('eth_chainId'))
  }

  /**
   * @param {string} method
   * @param {unknown[]} [params]
   */
  async _ask (method, params) {
    try {
      return await this._wallet.request({ method, params })
    } catch (cause) {
      const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (cause ?? {})
      if (code === REFUSED_BY_USER) throw new RetrievalError('cancelled', 'refused in the wallet', { cause })
      throw new RetrievalError('internal', `the wallet failed: ${message}`, { cause })
    }
  }
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @param {Offer} offer
 * @param {Record<string, unknown>} payload
 */
async function sendPaid (url, init, offer, payload) {
  const headers = { ...init.headers, [PAYMENT_SIGNATURE]: writePayment(offer, payload) }
  return await send(url, { ...init, headers, redirect: 'error' }) // a payment is for this server alone
}

/**
 * What a 402 wants, and the problem that it is where nobody pays. Throws that where there is nothing we could pay.
 * @param {Response} response
 */
async function requiredOf (response) {
  const problem = await problemOf(response)
  const header = response.headers.get(PAYMENT_REQUIRED)
  if (header === null) throw problem
  return { ...readRequired(header), problem }
}

/** @param {Response} response */
function chargeOf (response) {
  const header = response.headers.get(PAYMENT_RESPONSE)
  return header === null || !response.ok ? null : readCharge(header)
}

/**
 * @param {Response} response
 * @param {() => void} check
 */
async function refusing (response, check) {
  try {
    check()
  } catch (error) {
    await response.body?.cancel()
    throw error
  }
}

/**
 * @param {Response} response
 * @param {Offer} offer
 * @param {string} payer
 * @param {ReturnType<typeof readCharge> | null} charge
 * @param {string | null} channelId
 * @returns {Promise<Answer>}
 */
async function answerOf (response, { scheme, amount }, payer, charge, channelId) {
  if (charge === null) return { response, payment: null }
  const { charged, transaction } = charge
  const receipt = await receiptOf(response, { payer, amount: charged, channelId })
  return { response, payment: { scheme, amount, charged, transaction, payer, channelId, receipt } }
}

function randomWord () {
  return `0x${toHex(crypto.getRandomValues(new Uint8Array(32)))}`
}

/**
 * @param {bigint} one
 * @param {bigint} other
 */
function max (one, other) {
  return one > other ? one : other
}

/**
 * @param {bigint} one
 * @param {bigint} other
 */
function min (one, other) {
  return one < other ? one : other
}
