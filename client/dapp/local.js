/**
 * The gateway of the person's own machine (`retrieval-client gateway`), which pays: what is left, what was bought, what happens.
 *
 * One rule: what it is asked for with, the token, is sent to it and to nobody else.
 */

import { isAbort } from './content/car.js'
import { RetrievalError } from './errors.js'
import { Gateway, problemOf, readBody, send } from './gateway.js'
import { Fields } from './payment/fields.js'
import { payerOf } from './payment/payer.js'

const EVENT_SIZE_MAX = 64 << 10 // characters
const PAGE_MAX = 200 // rows of one answer, as the gateway has it
const RECEIPT_SIZE_MAX = 1 << 20 // bytes
const DEAL_ID = /^[0-9a-f]{32}$/

/** @typedef {import('./index.d.ts').GatewayEvent} GatewayEvent */
/** @typedef {import('./index.d.ts').LocalOptions} LocalOptions */

/** What a token with the scope `read` may see. */
export class LocalGateway {
  /** @param {{ gateway: string, token: string }} options */
  constructor ({ gateway, token }) {
    this._payer = payerOf({ token }, async () => null)
    this._gateway = new Gateway(gateway, this._payer)
  }

  /**
   * What the next request may cost, and what is left of the budgets.
   * @param {LocalOptions} [options]
   */
  async budget ({ signal } = {}) {
    const said = new Fields(await this._gateway.json('/v1/budget', signal), 'budget')
    const left = said.fields('left')
    return {
      maySpend: said.amount('may_spend'),
      spentToday: said.amount('spent_today'),
      leftToday: left.amount('today'),
      leftOfToken: left.amount('token')
    }
  }

  /**
   * How a deal stands.
   * @param {string} dealId
   * @param {LocalOptions} [options]
   */
  async deal (dealId, { signal } = {}) {
    return readDeal(new Fields(await this._gateway.json(`/v1/deals/${idOf(dealId)}`, signal), 'deal'))
  }

  /**
   * The newest receipts, each checked by the gateway.
   * @param {LocalOptions} [options]
   */
  async receipts ({ signal } = {}) {
    const said = new Fields(await this._gateway.json(`/v1/receipts?limit=${PAGE_MAX}`, signal), 'answer')
    return said.many('receipts', PAGE_MAX).map((row) => ({ ...readDeal(row), status: row.text('status') }))
  }

  /**
   * One receipt, as the file that `retrieval-client receipts verify` takes.
   * @param {string} dealId
   * @param {LocalOptions} [options]
   */
  async receiptFile (dealId, { signal } = {}) {
    const headers = await this._payer.headers()
    const response = await send(`${this._gateway.url}/v1/receipts/${idOf(dealId)}`, { signal, headers, redirect: 'error' })
    if (!response.ok) throw await problemOf(response)
    const file = await readBody(response, RECEIPT_SIZE_MAX)
    if (file === null) throw new RetrievalError('malformed_receipt', `it has more than ${RECEIPT_SIZE_MAX} bytes`)
    return file
  }

  /**
   * What happens from now on, or since an event: `progress`, `ended`, `quote`, and `gap` where some were missed. Ends with `signal`, or
   * throws when the connection does; call it again with the `id` of the last event.
   * @param {LocalOptions & { lastEventId?: string }} [options]
   * @returns {AsyncGenerator<GatewayEvent>}
   */
  async * events ({ signal, lastEventId } = {}) {
    const headers = { ...(await this._payer.headers()), ...(lastEventId === undefined ? {} : { 'Last-Event-ID': lastEventId }) }
    const response = await send(`${this._gateway.url}/v1/events`, { signal, headers, cache: 'no-store', redirect: 'error' })
    if (!response.ok || response.body === null) throw await problemOf(response)
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    try {
      for (let unread = ''; ;) {
        const { done, value } = await reader.read()
        if (done) throw new RetrievalError('transfer_truncated', 'the gateway ended its events')
        const parts = (unread + value).split('\n\n')
        unread = parts.pop() ?? ''
        if (unread.length > EVENT_SIZE_MAX) throw new RetrievalError('malformed_payment', 'an event without end')
        for (const part of parts) {
          const event = readEvent(part)
          if (event !== null) yield event
        }
      }
    } catch (cause) {
      if (signal?.aborted) return
      if (cause instanceof RetrievalError || isAbort(cause)) throw cause
      throw new RetrievalError('transfer_truncated', 'the connection broke', { cause })
    } finally {
      await reader.cancel().catch(() => {}) // it had broken before
    }
  }
}

/**
 * One server-sent event (WHATWG HTML, 9.2); null for a comment.
 * @param {string} text
 * @returns {GatewayEvent | null}
 */
function readEvent (text) {
  /** @type {Record<string, string>} */
  const fields = {}
  for (const line of text.split('\n')) {
    const colon = line.indexOf(': ')
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2)
  }
  if (fields.data === undefined) return null
  try {
    return { id: fields.id ?? '', type: fields.event ?? 'message', data: JSON.parse(fields.data) }
  } catch (cause) {
    throw new RetrievalError('malformed_payment', 'an event is no JSON', { cause })
  }
}

/** @param {Fields} row */
function readDeal (row) {
  return {
    dealId: row.text('deal_id'),
    provider: row.text('provider'),
    root: row.text('root'),
    path: row.text('path'),
    bytes: row.integer('bytes'),
    paid: row.amount('paid'),
    time: row.text('time')
  }
}

/** @param {string} dealId */
function idOf (dealId) {
  if (!DEAL_ID.test(dealId)) throw new RetrievalError('malformed_receipt', `${dealId.slice(0, 64)} is no deal id`)
  return dealId
}
