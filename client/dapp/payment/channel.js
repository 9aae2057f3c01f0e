/**
 * The payer's side of one channel (x402 `batch-settlement`): what to sign for the next request, and what to believe of a server's count.
 *
 * The rule: a server can make us count at most what we have signed ourselves. Whatever it says beyond that is an error, never a bill.
 */

import { fromHex, toHex } from '../content/bytes.js'
import { RetrievalError } from '../errors.js'
import { addressOf, newSecret, signDigest } from './secp256k1.js'
import { channelId, voucherDigest } from './typed-data.js'
import { verifyVoucher } from './voucher.js'

/** @typedef {import('./typed-data.js').ChannelConfig} ChannelConfig */
/** @typedef {import('./x402.js').Offer} Offer */
/** @typedef {import('./x402.js').Sight} Sight */
/**
 * @typedef {object} Kept what is kept of a channel; amounts are decimal strings, over the channel's life
 * @property {ChannelConfig} config
 * @property {number} chainId
 * @property {string} secret of the page's own key, which signs vouchers and nothing else
 * @property {string} charged
 * @property {string} signed the largest amount that ever left under our signature: what the server can take at most
 * @property {string} balance what it holds, as far as we know
 */

/** One channel with one receiver. */
export class Channel {
  /** @param {Kept} kept */
  constructor ({ config, chainId, secret, charged, signed, balance }) {
    this.config = config
    this.chainId = chainId
    this.id = channelId(config, chainId)
    this.charged = BigInt(charged)
    this.signed = BigInt(signed)
    this.balance = BigInt(balance)
    this._secret = fromHex(secret, 32)
  }

  /**
   * A new one, as an offer wants it. It holds nothing yet, and nobody knows of it.
   * @param {string} payer
   * @param {Offer} offer
   */
  static open (payer, offer) {
    const secret = newSecret()
    const config = {
      payer,
      payerAuthorizer: `0x${toHex(addressOf(secret))}`,
      receiver: offer.payTo,
      receiverAuthorizer: offer.receiverAuthorizer,
      token: offer.token,
      withdrawDelay: offer.withdrawDelay,
      salt: `0x${toHex(crypto.getRandomValues(new Uint8Array(32)))}`
    }
    return new Channel({ config, chainId: offer.chainId, secret: toHex(secret), charged: '0', signed: '0', balance: '0' })
  }

  /** What is to be kept of it. @returns {Kept} */
  toKept () {
    const { config, chainId } = this
    const [charged, signed, balance] = [`${this.charged}`, `${this.signed}`, `${this.balance}`]
    return { config, chainId, secret: toHex(this._secret), charged, signed, balance }
  }

  /**
   * Whether an offer can be paid from it.
   * @param {Offer} offer
   */
  fits ({ chainId, token, payTo, receiverAuthorizer, withdrawDelay }) {
    const { config } = this
    const isSame = chainId === this.chainId && token === config.token && payTo === config.receiver
    return isSame && receiverAuthorizer === config.receiverAuthorizer && withdrawDelay <= config.withdrawDelay
  }

  /**
   * The voucher for a request. `signed` counts it from now on, so the channel is to be kept before the voucher leaves.
   * @param {bigint} price
   */
  async sign (price) {
    const amount = this.charged + price
    const signature = await signDigest(this._secret, voucherDigest(this.id, amount, this.chainId))
    if (amount > this.signed) this.signed = amount
    return { channelId: this.id, maxClaimableAmount: `${amount}`, signature: `0x${toHex(signature)}` }
  }

  /**
   * What a voucher for this price would add to the most that the server can take.
   * @param {bigint} price
   */
  exposure (price) {
    const amount = this.charged + price
    return amount > this.signed ? amount - this.signed : 0n
  }

  /**
   * An answer came, and says what it charged of an agreed price.
   * @param {bigint} price
   * @param {bigint} charged
   * @param {Sight | null} sight
   */
  answered (price, charged, sight) {
    if (charged > price) throw new RetrievalError('payment_mismatch', `${charged} was charged, and ${price} was agreed`)
    const total = this.charged + charged
    if (sight !== null && (sight.channelId !== this.id || sight.charged !== total)) {
      throw new RetrievalError('payment_mismatch', `${sight.charged} is charged in all, and it should be ${total}`)
    }
    this.charged = total
    if (sight !== null) this.balance = sight.balance
  }

  /**
   * Adopt the count of a corrective 402; returns whether it is worth asking again.
   * @param {Sight} sight
   */
  correct (sight) {
    if (sight.channelId !== this.id) return false
    const { best } = sight
    if (best !== null) verifyVoucher({ channelId: this.id, ...best }, this.config.payerAuthorizer, this.chainId)
    const provable = best?.amount ?? 0n
    const signedMax = provable < this.signed ? provable : this.signed
    if (sight.charged > signedMax) {
      throw new RetrievalError('payment_mismatch', `the server counts ${sight.charged}, and ${signedMax} was signed`)
    }
    if (sight.charged === this.charged) return false
    this.charged = sight.charged
    return true
  }
}
