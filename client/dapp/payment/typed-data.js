/**
 * EIP-712 typed data of x402's two schemes: as wallets are shown it, and as the 32 bytes that a key of ours signs. Pure.
 *
 * Type strings are those of x402's `batch-settlement` and of EIP-3009. Addresses and hashes are hex behind `0x` in small letters.
 */

import { concat, fromBigInt, fromHex, toHex, utf8 } from '../content/bytes.js'
import { keccak256 } from './keccak.js'

export const CHANNELS = '0x4020074e9df2ce1dee5a9c1b5c3f541d02a10003' // x402's contract, the same on every public chain
export const COLLECTOR = '0x4020806089470a89826cb9fb1f4059150b550004' // takes deposits by EIP-3009
export const CONFIG_SIZE = 137

const DOMAIN_TYPE = 'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)'
const CONFIG_TYPE =
  'ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,' +
  'address token,uint40 withdrawDelay,bytes32 salt)'
const VOUCHER_TYPE = 'Voucher(bytes32 channelId,uint128 maxClaimableAmount)'
const DOMAIN_FIELDS = [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' }
]
const AUTHORIZATION_FIELDS = [
  { name: 'from', type: 'address' },
  { name: 'to', type: 'address' },
  { name: 'value', type: 'uint256' },
  { name: 'validAfter', type: 'uint256' },
  { name: 'validBefore', type: 'uint256' },
  { name: 'nonce', type: 'bytes32' }
]

/**
 * @typedef {object} ChannelConfig the seven fields that a channel is made of
 * @property {string} payer
 * @property {string} payerAuthorizer signs vouchers
 * @property {string} receiver
 * @property {string} receiverAuthorizer
 * @property {string} token
 * @property {number} withdrawDelay seconds
 * @property {string} salt
 */
/** @typedef {{ name: string, version: string, chainId: number, token: string }} TokenDomain */
/** @typedef {{ from: string, to: string, value: string, validAfter: string, validBefore: string, nonce: string }} Authorization */

/**
 * A channel's id: the hash of its config, bound to one contract on one chain.
 * @param {ChannelConfig} config
 * @param {number} chainId
 * @param {string} [contract]
 */
export function channelId (config, chainId, contract = CHANNELS) {
  const { payer, payerAuthorizer, receiver, receiverAuthorizer, token, withdrawDelay, salt } = config
  const words = [payer, payerAuthorizer, receiver, receiverAuthorizer, token].map(addressWord)
  return `0x${toHex(digest(chainId, contract, concat(hash(CONFIG_TYPE), ...words, word(withdrawDelay), fromHex(salt, 32))))}`
}

/**
 * What a channel's authorizer signs to promise `amount` over the channel's life.
 * @param {string} channel its id
 * @param {bigint} amount
 * @param {number} chainId
 * @param {string} [contract]
 */
export function voucherDigest (channel, amount, chainId, contract = CHANNELS) {
  return digest(chainId, contract, concat(hash(VOUCHER_TYPE), fromHex(channel, 32), word(amount)))
}

/**
 * The config that these bytes are: five addresses, a delay of five bytes, a salt.
 * @param {Uint8Array} bytes of `CONFIG_SIZE`
 * @returns {ChannelConfig}
 */
export function readConfig (bytes) {
  const address = (/** @type {number} */ at) => `0x${toHex(bytes.subarray(at, at + 20))}`
  const [payer, payerAuthorizer, receiver, receiverAuthorizer, token] = [0, 20, 40, 60, 80].map(address)
  const withdrawDelay = bytes.subarray(100, 105).reduce((sum, byte) => sum * 256 + byte, 0)
  return { payer, payerAuthorizer, receiver, receiverAuthorizer, token, withdrawDelay, salt: `0x${toHex(bytes.subarray(105))}` }
}

/**
 * The nonce that binds a deposit to one channel.
 * @param {string} channel
 * @param {string} salt
 */
export function depositNonce (channel, salt) {
  return `0x${toHex(keccak256(concat(fromHex(channel, 32), fromHex(salt, 32))))}`
}

/**
 * What a wallet is asked to sign (`eth_signTypedData_v4`) so that a token moves: `TransferWithAuthorization` for anybody to submit,
 * `ReceiveWithAuthorization` for the payee alone (EIP-3009).
 * @param {'TransferWithAuthorization' | 'ReceiveWithAuthorization'} primaryType
 * @param {Authorization} message
 * @param {TokenDomain} domain the token's own
 */
export function authorizationTypedData (primaryType, message, { name, version, chainId, token }) {
  return {
    types: { EIP712Domain: DOMAIN_FIELDS, [primaryType]: AUTHORIZATION_FIELDS },
    primaryType,
    domain: { name, version, chainId, verifyingContract: token },
    message
  }
}

/**
 * @param {number} chainId
 * @param {string} contract
 * @param {Uint8Array} struct
 */
function digest (chainId, contract, struct) {
  const domain = keccak256(concat(hash(DOMAIN_TYPE), hash('x402 Batch Settlement'), hash('1'), word(chainId), addressWord(contract)))
  return keccak256(concat(Uint8Array.of(0x19, 0x01), domain, keccak256(struct)))
}

/** @param {string} text */
function hash (text) {
  return keccak256(utf8(text))
}

/** @param {number | bigint} value */
function word (value) {
  return fromBigInt(BigInt(value), 32)
}

/** @param {string} address */
function addressWord (address) {
  return concat(new Uint8Array(12), fromHex(address, 20))
}
