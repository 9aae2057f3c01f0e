/**
 * The receipt of an answer over HTTP (`retrieval/payment/http_receipt.py`): what was sold to whom at which price, signed by the provider.
 *
 * It leaves with the head of the answer, so of an answer that was cut it says too much, by the provider's own word. Its bytes are the
 * content of a `*.receipt.cbor` file, which `retrieval-client receipts verify` reads.
 */

import { concat, equal, fromBase64, fromHex, toBigInt, toHex, utf8 } from '../content/bytes.js'
import { cidOf } from '../content/cid.js'
import * as multibase from '../content/multibase.js'
import { RetrievalError } from '../errors.js'
import { decodeCbor, malformed } from './cbor.js'
import { CONFIG_SIZE, channelId, readConfig } from './typed-data.js'
import { verifyVoucher } from './voucher.js'

export const RECEIPT = 'Retrieval-Receipt'

const VERSION = 2n
const HEADER_MAX = 16 << 10 // characters
const GIB = 1n << 30n
const PEER_ID_SIZE = 38
const ED25519_PREFIX = fromHex('002408011220') // of a peer id that is the key itself (libp2p specs, "peer-ids")
const SIGNED_AS = utf8('retrieval/http-sale/1\0')
const SCOPES = ['block', 'entity', 'all']

/** @typedef {import('./cbor.js').CborMap} CborMap */
/** @typedef {import('../index.d.ts').Receipt} Receipt */

/**
 * A receipt, as it came; nothing in it is believed yet.
 * @param {Uint8Array | string} encoded a file's bytes, or the header's base64
 * @returns {Receipt}
 */
export function readReceipt (encoded) {
  const bytes = typeof encoded === 'string' ? fromBase64(encoded, 'malformed_receipt') : encoded
  const receipt = new Members(decodeCbor(bytes))
  if (receipt.integer(1) !== VERSION) throw malformed('its version is not 2')
  const signed = receipt.members(3)
  const body = signed.blob(1)
  const said = new Members(decodeCbor(body))
  const selection = said.members(2)
  const proof = receipt.has(4) ? receipt.members(4) : null
  const voucher = proof?.members(3)
  return {
    bytes,
    provider: multibase.toBase58(receipt.blob(2, PEER_ID_SIZE)),
    body,
    signature: signed.blob(2, 64),
    orderId: toHex(said.blob(1, 16)),
    root: `${cidOf(selection.blob(1), 'malformed_receipt')}`,
    path: selection.texts(2),
    scope: SCOPES[Number(selection.integer(3))] ?? 'all',
    size: Number(said.integer(3)),
    pricePerGib: said.amount(4),
    flatFee: said.amount(5),
    amount: said.amount(6),
    payer: said.address(7),
    receiver: said.address(8),
    chainId: Number(said.integer(9)),
    token: said.address(10),
    channelId: said.has(11) ? `0x${toHex(said.blob(11, 32))}` : null,
    channelAmount: said.has(12) ? said.amount(12) : null,
    transaction: said.blob(13).length === 0 ? '' : `0x${toHex(said.blob(13, 32))}`,
    time: new Date(Number(said.integer(14)) * 1000),
    channel:
      proof === null || voucher === undefined
        ? null
        : {
            config: proof.blob(1, CONFIG_SIZE),
            contract: proof.address(2),
            voucher: { channelId: `0x${toHex(voucher.blob(1, 32))}`, amount: voucher.amount(2), signature: voucher.blob(3, 65) }
          }
  }
}

/**
 * Check every signature, that channel, voucher and statement speak of the same sale, and what else is expected of it.
 *
 * Throws `bad_signature`, `unsupported_key`, `bad_voucher`, and `bad_receipt` where the parts do not belong together.
 * @param {Receipt} receipt
 * @param {{ root?: string, payer?: string, amount?: bigint, channelId?: string | null }} [expected]
 */
export async function verifyReceipt (receipt, expected = {}) {
  await verifySignature(receipt)
  const owed = receipt.flatFee + (BigInt(receipt.size) * receipt.pricePerGib + GIB - 1n) / GIB
  require(receipt.amount <= owed, 'its amount is above what its bytes cost')
  require((receipt.channel === null) === (receipt.channelId === null), 'it names a channel and does not show it, or the reverse')
  if (receipt.channel !== null) verifyChannel(receipt, receipt.channel)
  require(expected.root === undefined || expected.root === receipt.root, 'it is for other content')
  require(expected.payer === undefined || expected.payer.toLowerCase() === receipt.payer, 'it is for another payer')
  require(expected.amount === undefined || expected.amount === receipt.amount, 'it is for another amount')
  require(expected.channelId === undefined || expected.channelId === receipt.channelId, 'it is for another channel')
}

/**
 * What to call its file.
 * @param {Receipt} receipt
 */
export function receiptFileName (receipt) {
  return `${receipt.orderId}.receipt.cbor`
}

/**
 * The receipt that came with an answer, and whether it holds: `status` is `verified`, or the label of what is wrong with it. Never a reason
 * to refuse the content, which was verified for itself.
 * @param {Response} response
 * @param {{ payer: string, amount: bigint, channelId: string | null }} expected
 * @returns {Promise<Receipt | null>}
 */
export async function receiptOf (response, expected) {
  const header = response.headers.get(RECEIPT)
  if (header === null || header.length > HEADER_MAX) return null
  /** @type {Receipt | null} */
  let receipt = null
  try {
    receipt = readReceipt(header)
    await verifyReceipt(receipt, expected)
    return { ...receipt, status: 'verified' }
  } catch (error) {
    if (!(error instanceof RetrievalError)) throw error
    return receipt === null ? null : { ...receipt, status: error.code }
  }
}

/** @param {Receipt} receipt */
async function verifySignature ({ provider, body, signature }) {
  const peerId = multibase.decode(`z${provider}`)
  if (peerId?.length !== PEER_ID_SIZE || !equal(peerId.subarray(0, ED25519_PREFIX.length), ED25519_PREFIX)) {
    throw new RetrievalError('unsupported_key', provider)
  }
  let key
  try {
    key = await crypto.subtle.importKey('raw', peerId.slice(ED25519_PREFIX.length), 'Ed25519', false, ['verify'])
  } catch (cause) {
    throw new RetrievalError('unsupported_key', 'this browser has no Ed25519, or this is no key of it', { cause })
  }
  const isGood = await crypto.subtle.verify('Ed25519', key, /** @type {BufferSource} */ (signature), concat(SIGNED_AS, body))
  if (!isGood) throw new RetrievalError('bad_signature', 'the provider did not sign this')
}

/**
 * @param {Receipt} receipt
 * @param {NonNullable<Receipt['channel']>} channel
 */
function verifyChannel (receipt, { config: encoded, contract, voucher }) {
  const config = readConfig(encoded)
  require(channelId(config, receipt.chainId, contract) === receipt.channelId, 'the channel is not the one that was paid from')
  const parties = [config.payer, config.receiver, config.token]
  require(`${parties}` === `${[receipt.payer, receipt.receiver, receipt.token]}`, 'the channel is between others, or holds another token')
  const total = receipt.channelAmount ?? 0n
  require(receipt.amount <= total, "the sale's amount is above that of its channel")
  require(voucher.channelId === receipt.channelId, 'the voucher is of another channel')
  verifyVoucher(voucher, config.payerAuthorizer, receipt.chainId, contract)
  require(voucher.amount >= total, 'the voucher does not cover what was charged')
}

/**
 * @param {boolean} holds
 * @param {string} why
 */
function require (holds, why) {
  if (!holds) throw new RetrievalError('bad_receipt', why)
}

/** A map of a receipt, read key by key. */
class Members {
  /** @param {import('./cbor.js').Value | undefined} value */
  constructor (value) {
    if (!(value instanceof Map)) throw malformed('a part of it is no map')
    this._members = value
  }

  /** @param {number} key */
  has (key) {
    return this._members.has(key)
  }

  /** @param {number} key */
  members (key) {
    return new Members(this._members.get(key))
  }

  /** @param {number} key */
  integer (key) {
    const value = this._members.get(key)
    if (typeof value !== 'bigint' || value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(`its field ${key} is no number`)
    return value
  }

  /**
   * @param {number} key
   * @param {number} [size]
   */
  blob (key, size) {
    const value = this._members.get(key)
    if (!(value instanceof Uint8Array) || (size !== undefined && value.length !== size)) {
      throw malformed(`its field ${key} is not so many bytes`)
    }
    return value
  }

  /** @param {number} key */
  address (key) {
    return `0x${toHex(this.blob(key, 20))}`
  }

  /** Money: minimal big-endian bytes. @param {number} key */
  amount (key) {
    const value = this.blob(key)
    if (value.length > 16 || value[0] === 0) throw malformed(`its field ${key} is no amount`)
    return toBigInt(value)
  }

  /** @param {number} key */
  texts (key) {
    const value = this._members.get(key)
    if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) throw malformed(`its field ${key} is no list of names`)
    return /** @type {string[]} */ (value)
  }
}
