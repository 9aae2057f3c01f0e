/**
 * A trustless gateway over HTTP (IPIP-402, IPIP-412): what is asked of it, and what its answers are worth.
 *
 * One rule: nothing that a gateway says is believed but that it refuses. Content is believed once it was verified, by whoever reads it.
 */

import { CarReader, isAbort } from './content/car.js'
import { BLOCK_SIZE_MAX, verify } from './content/cid.js'
import { RetrievalError } from './errors.js'

export const PROBLEM_SIZE_MAX = 64 << 10 // bytes of an answer that is no content

export const DEAL = 'Retrieval-Deal' // by which a gateway that pays itself buys what it sends

export const plainFetch = globalThis.fetch // as it was before anybody put another in its place, which may be ours

const CAR_TYPE = 'application/vnd.ipld.car'
const CAR_ACCEPTED = `${CAR_TYPE}; version=1; order=dfs; dups=n`
const RAW_TYPE = 'application/vnd.ipld.raw'

/** What a status means where the gateway does not say it in a problem document. @type {Readonly<Record<number, string>>} */
const CODES = {
  402: 'payment_required', 404: 'not_found', 406: 'unsupported_format', 410: 'not_found', 429: 'rate_limited', 451: 'not_found'
}

/** @typedef {import('./content/cid.js').Cid} Cid */
/** @typedef {import('./index.d.ts').Payer} Payer */
/** @typedef {import('./index.d.ts').Payment} Payment */

/** One gateway, and who pays it. */
export class Gateway {
  /**
   * @param {string} url where it is: what stands before `/ipfs/`
   * @param {Payer} payer
   */
  constructor (url, payer) {
    this.url = url.replace(/\/+$/, '')
    this._payer = payer
  }

  /**
   * The CAR of what a path leads to, or of a part of it.
   * @param {Cid} root
   * @param {string[]} names
   * @param {{ first: number, last: number | null } | null} range its first and last byte; below zero they count from the end
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<{ car: CarReader, payment: Payment | null, deal: string | null }>}
   */
  async car (root, names, range, signal) {
    const query = new URLSearchParams({ format: 'car', 'dag-scope': 'entity', 'car-order': 'dfs', 'car-dups': 'n' })
    if (range !== null) query.set('entity-bytes', `${range.first}:${range.last ?? '*'}`)
    const { response, payment } = await this._get(contentPath(root, names), query, CAR_ACCEPTED, signal)
    if (!response.headers.get('Content-Type')?.startsWith(CAR_TYPE) || response.body === null) {
      await response.body?.cancel()
      throw new RetrievalError('unsupported_format', `${this.url} sent no CAR`)
    }
    return { car: new CarReader(response.body), payment, deal: response.headers.get(DEAL) }
  }

  /**
   * One block by itself, verified.
   * @param {Cid} cid
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<{ payload: Uint8Array, payment: Payment | null }>}
   */
  async block (cid, signal) {
    const { response, payment } = await this._get(contentPath(cid, []), new URLSearchParams({ format: 'raw' }), RAW_TYPE, signal)
    const payload = await readBody(response, BLOCK_SIZE_MAX)
    if (payload === null) throw new RetrievalError('block_too_large', `more than ${BLOCK_SIZE_MAX} bytes`)
    await verify(cid, payload)
    return { payload, payment }
  }

  /**
   * A document of the gateway's own; null where it has no such address.
   * @param {string} path
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<any>} what JSON holds is only known to who reads it
   */
  async json (path, signal) {
    const response = await send(`${this.url}${path}`, { signal, headers: await this._payer.headers() })
    if (response.status === 404) return null
    if (!response.ok) throw await problemOf(response)
    const body = await readBody(response, PROBLEM_SIZE_MAX)
    try {
      return JSON.parse(new TextDecoder().decode(body ?? undefined))
    } catch (cause) {
      throw new RetrievalError('unsupported_format', `${path} is no JSON`, { cause })
    }
  }

  /**
   * @param {string} path
   * @param {URLSearchParams} query
   * @param {string} accept
   * @param {AbortSignal | undefined} signal
   */
  async _get (path, query, accept, signal) {
    const { response, payment } = await this._payer.fetch(`${this.url}${path}?${query}`, { signal, headers: { Accept: accept } })
    if (!response.ok) throw await problemOf(response)
    return { response, payment }
  }
}

/**
 * The path of an address that leads to `names` below a root.
 * @param {Cid} root
 * @param {string[]} names
 */
export function contentPath (root, names) {
  return `/ipfs/${[`${root}`, ...names.map(encodeURIComponent)].join('/')}`
}

/**
 * `fetch`, without cookies and without telling where the page is from.
 * @param {string} url
 * @param {RequestInit} init
 */
export async function send (url, init) {
  try {
    return await plainFetch(url, { credentials: 'omit', referrerPolicy: 'no-referrer', ...init })
  } catch (cause) {
    if (isAbort(cause) || init.signal?.aborted) throw cause
    throw new RetrievalError('dial_failed', new URL(url).origin, { cause })
  }
}

/**
 * What a refusal says (RFC 9457), in the registry's words where the gateway knows them.
 * @param {Response} response
 */
export async function problemOf (response) {
  const said = await readProblem(response)
  const code = typeof said.code === 'string' ? said.code.slice(0, 64) : CODES[response.status] ?? 'dial_failed'
  return new RetrievalError(code, typeof said.detail === 'string' ? said.detail : `HTTP ${response.status}`, {
    status: response.status,
    number: Number.isInteger(said.number) ? said.number : undefined,
    summary: typeof said.title === 'string' && said.title !== '' ? said.title.slice(0, 256) : undefined,
    retry: ['no', 'later', 'elsewhere'].includes(said.retryable) ? said.retryable : undefined,
    hint: typeof said.hint === 'string' ? said.hint.slice(0, 256) : undefined,
    retryAfterS: Number.isInteger(said.retry_after_s) ? said.retry_after_s : undefined
  })
}

/**
 * @param {Response} response
 * @returns {Promise<Record<string, any>>} fields of whatever kind
 */
async function readProblem (response) {
  const body = await readBody(response, PROBLEM_SIZE_MAX)
  if (body === null || !/^application\/(problem\+)?json\b/.test(response.headers.get('Content-Type') ?? '')) return {}
  try {
    const said = JSON.parse(new TextDecoder().decode(body))
    return typeof said === 'object' && said !== null ? said : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {} // a refusal all the same
    throw error
  }
}

/**
 * A body of at most so many bytes; null where it has more.
 * @param {Response} response
 * @param {number} sizeMax
 */
export async function readBody (response, sizeMax) {
  const reader = response.body?.getReader()
  const parts = []
  for (let size = 0; reader !== undefined;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw isAbort(cause) ? cause : new RetrievalError('transfer_truncated', 'the connection broke', { cause })
    })
    if (done) break
    size += value.length
    if (size > sizeMax) {
      await reader.cancel()
      return null
    }
    parts.push(value)
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer())
}
