/** A voucher, the cumulative promise of money from a channel, held against who must have signed it. */

import { toHex } from '../content/bytes.js'
import { RetrievalError } from '../errors.js'
import { recoverAddress } from './secp256k1.js'
import { voucherDigest } from './typed-data.js'

/**
 * Check that a channel's authorizer signed this voucher for this contract. Whether the amount is the right one is not judged here.
 * @param {{ channelId: string, amount: bigint, signature: Uint8Array }} voucher
 * @param {string} authorizer
 * @param {number} chainId
 * @param {string} [contract]
 */
export function verifyVoucher ({ channelId, amount, signature }, authorizer, chainId, contract) {
  let signer
  try {
    signer = `0x${toHex(recoverAddress(voucherDigest(channelId, amount, chainId, contract), signature))}`
  } catch (cause) {
    if (cause instanceof RetrievalError) throw new RetrievalError('bad_voucher', cause.detail, { cause })
    throw cause
  }
  if (signer !== authorizer) throw new RetrievalError('bad_voucher', 'another key, channel or amount was signed')
}
