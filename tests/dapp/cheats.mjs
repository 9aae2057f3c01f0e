// What tests of a page's channel need: offers, servers that answer what they are told to, a wallet that signs anything.

import { createServer } from 'node:http'

const DAPP = new URL('../../client/dapp/', import.meta.url)
const { Budget } = await import(`${DAPP}payment/budget.js`)
const { writeHeader } = await import(`${DAPP}payment/fields.js`)
const { memoryStorage } = await import(`${DAPP}payment/storage.js`)
const { WalletPayer } = await import(`${DAPP}payment/wallet.js`)
export const { Channel } = await import(`${DAPP}payment/channel.js`)

export const RESYNC = 'invalid_batch_settlement_evm_cumulative_amount_mismatch'
export const UNFUNDED = 'invalid_batch_settlement_evm_insufficient_balance'
export const [RECEIVER, TOKEN, PAYER] = ['11', '22', '33'].map((pair) => `0x${pair.repeat(20)}`)
export const offer = { chainId: 31337, token: TOKEN, payTo: RECEIVER, receiverAuthorizer: RECEIVER, withdrawDelay: 86400 }

/** An entry of `accepts`. */
export function entry (amount, extra = {}) {
  return {
    scheme: 'batch-settlement',
    network: 'eip155:31337',
    asset: TOKEN,
    amount: `${amount}`,
    payTo: RECEIVER,
    maxTimeoutSeconds: 60,
    extra: { name: 'Test Dollar', version: '1', receiverAuthorizer: RECEIVER, withdrawDelay: 86400, minDeposit: '1000', ...extra }
  }
}

/** Where a server says that a channel stands; with `voucher`, proved by our best one. */
export function state (channelId, charged, voucher) {
  const channelState = { channelId, balance: '1000', totalClaimed: '0', chargedCumulativeAmount: `${charged}` }
  if (voucher === undefined) return { channelState }
  return { channelState, voucherState: { signedMaxClaimable: `${voucher.maxClaimableAmount}`, signature: voucher.signature } }
}

/** A 402. */
export function required (accepts, error = 'payment_required') {
  return { status: 402, headers: { 'PAYMENT-REQUIRED': writeHeader({ x402Version: 2, error, accepts }) } }
}

/** An answer that was paid for. */
export function charge (payload, charged, total) {
  const extra = { chargedAmount: `${charged}`, ...state(payload.voucher.channelId, total) }
  return { status: 200, headers: { 'PAYMENT-RESPONSE': writeHeader({ success: true, transaction: '', extra }) } }
}

/** The payloads that servers were sent; null for a request that paid nothing. */
export const seen = []

/** A server that answers each payload as it is told to; gives the address to ask. */
export async function serve (answer) {
  const server = createServer((request, response) => {
    const header = request.headers['payment-signature']
    const payload = header === undefined ? null : JSON.parse(Buffer.from(header, 'base64').toString()).payload
    seen.push(payload)
    const { status, headers = {} } = answer(payload)
    response.writeHead(status, headers).end('content')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${server.address().port}/ipfs/x`
}

/** What was kept, and how many requests had been seen by then. */
export const puts = []

const kept = memoryStorage()
const storage = {
  get: kept.get,
  async put (key, value) {
    puts.push({ key, signed: value.signed, nSeen: seen.length })
    await kept.put(key, value)
  }
}
const wallet = {
  async request ({ method }) {
    return { eth_accounts: [PAYER], eth_chainId: '0x7a69', eth_signTypedData_v4: `0x${'44'.repeat(65)}` }[method]
  }
}

/** Somebody who may spend so much, in the one wallet and storage there are. Asked, gives a status, or what it failed with. */
export function spender (maxSpend) {
  const payer = new WalletPayer({ wallet, budgets: [new Budget(maxSpend)], storage, depositMax: 10_000n, priceOfAll: async () => null })
  return async (url) => await codeOf(async () => (await payer.fetch(url, {})).response.status)
}

export async function codeOf (work) {
  try {
    return await work()
  } catch (error) {
    return error.code ?? `${error.stack}`
  }
}

/** The program's last word. */
export function say (found) {
  console.log(JSON.stringify(found, (key, value) => (typeof value === 'bigint' ? `${value}` : value)))
  process.exit(0)
}
