/**
 * Content by its CID in a web page: every block verified before a byte of it is handed out, paid where it has a price, receipted.
 *
 *     import { retrieve } from './retrieval.js'
 *     const film = await retrieve('bafybei…/film.mp4', { gateway: 'https://provider.example', wallet: ethereum, maxSpend: 50_000n })
 *     video.src = URL.createObjectURL(await film.blob({ type: 'video/mp4' }))
 */

import { parseCid } from './content/cid.js'
import { parsePath, readDirectory } from './content/entity.js'
import { RetrievalError } from './errors.js'
import { Gateway, contentPath } from './gateway.js'
import { payerOf } from './payment/payer.js'
import { PAID_WINDOW_BYTES, readQuote } from './payment/quote.js'
import { Transfer } from './transfer.js'

export { parseCid } from './content/cid.js'
export { heliaTransform, payingFetch } from './helia.js'
export { LocalGateway } from './local.js'
export { ERRORS, RetrievalError } from './errors.js'
export { Budget } from './payment/budget.js'
export { memoryStorage, pageStorage } from './payment/storage.js'
export { readReceipt, receiptFileName, verifyReceipt } from './payment/receipt.js'

/** @typedef {import('./index.d.ts').Entry} Entry */
/** @typedef {import('./index.d.ts').Options} Options */
/** @typedef {import('./index.d.ts').Quote} Quote */
/** @typedef {import('./index.d.ts').RetrieveOptions} RetrieveOptions */
/** @typedef {import('./index.d.ts').Receipt} Receipt */
/** @typedef {{ root: import('./content/cid.js').Cid, names: string[] }} Target */

const INDEX = 'index.html'

/**
 * Open a file, or the `index.html` of a directory. Its bytes come when they are read: the size is known, and the first blocks are verified.
 * @param {string} what a CID, or a CID and a path, as `bafybei…/a/b`, `ipfs://bafybei…` or `/ipfs/bafybei…`
 * @param {RetrieveOptions} options
 */
export async function retrieve (what, options) {
  const target = parseTarget(what)
  const transfer = await open(target, options)
  if (transfer.entity?.kind === 'file') return new Retrieved(target, transfer, options)
  await transfer.close()
  if (transfer.entity?.kind === 'symlink') {
    throw new RetrievalError('unsupported_format', `a symlink to ${transfer.entity.target.slice(0, 64)}, which is not followed`)
  }
  const index = { root: target.root, names: [...target.names, INDEX] }
  return new Retrieved(index, await open(index, options), options)
}

/**
 * The names in a directory.
 * @param {string} what
 * @param {Options} options
 * @returns {Promise<Entry[]>}
 */
export async function list (what, options) {
  const transfer = await open(parseTarget(what), { ...options, range: undefined })
  try {
    const directory = transfer.entity
    if (directory?.kind !== 'directory') throw new RetrievalError('path_not_found', 'this is no directory')
    const entries = []
    for await (const { name, cid, size } of readDirectory(transfer.blocks, directory)) entries.push({ name, cid: `${cid}`, size })
    return entries
  } finally {
    await transfer.close()
  }
}

/**
 * What a retrieval would cost at most, before anybody pays; null where the gateway does not say.
 * @param {string} what
 * @param {Options} options
 * @returns {Promise<Quote | null>}
 */
export async function quote (what, options) {
  const target = parseTarget(what)
  const [gateway] = gatewaysOf(options, target)
  return await askQuote(gateway, target, options)
}

/** One file, or a part of one, that can be read once. */
class Retrieved {
  /**
   * @param {Target} target
   * @param {Transfer} transfer
   * @param {RetrieveOptions} options
   */
  constructor (target, transfer, options) {
    const { entity } = transfer
    if (entity?.kind !== 'file') throw new RetrievalError('unsupported_format', `${contentPath(target.root, target.names)} is no file`)
    this._transfer = transfer
    /** The CID of the file itself. */
    this.cid = `${entity.cid}`
    this.path = contentPath(target.root, target.names)
    /** Bytes of the whole file, as its root node claims: what comes is held against it. */
    this.fileSize = entity.size
    /** Bytes that will come. */
    this.size = transfer.stop - transfer.start
    /** The verified bytes. @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
    this.body = streamOf(transfer, options)
  }

  /** What was paid so far, one an answer. */
  get payments () {
    return [...this._transfer.payments]
  }

  /** Of a gateway that pays itself: the deals by which it bought what came so far. */
  get deals () {
    return [...this._transfer.deals]
  }

  /** What was charged so far, in the token's smallest unit. */
  get spent () {
    return this._transfer.payments.reduce((sum, { charged }) => sum + charged, 0n)
  }

  /** The signed receipts of what was paid so far. @returns {Receipt[]} */
  get receipts () {
    return this._transfer.payments.flatMap(({ receipt }) => receipt ?? [])
  }

  /**
   * All of it, part by part: not by way of a Response, of which browsers tell that it failed and not what with, and not into a buffer
   * of the size that the content claims.
   * @param {BlobPropertyBag} [options]
   */
  async blob (options) {
    const reader = this.body.getReader()
    const parts = []
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return new Blob(parts, options)
      parts.push(value)
    }
  }

  async arrayBuffer () {
    return await (await this.blob()).arrayBuffer()
  }

  async bytes () {
    return new Uint8Array(await this.arrayBuffer())
  }

  async text () {
    return await (await this.blob()).text()
  }
}

/**
 * @param {Target} target
 * @param {RetrieveOptions} options
 */
async function open (target, options) {
  options.signal?.throwIfAborted()
  const transfer = new Transfer({
    ...target,
    gateways: gatewaysOf(options, target),
    range: rangeOf(options.range),
    windowBytes: windowOf(options),
    signal: options.signal
  })
  await transfer.open()
  return transfer
}

/**
 * @param {RetrieveOptions} options
 * @param {Target} target
 */
function gatewaysOf (options, target) {
  const urls = options.gateways ?? (options.gateway === undefined ? [] : [options.gateway])
  if (urls.length === 0) throw new RetrievalError('dial_failed', 'no gateway is named')
  if (options.token !== undefined && urls.length > 1) {
    throw new RetrievalError('payment_mismatch', 'a token is for one gateway, and several are named')
  }
  return urls.map((url) => {
    /** @type {Gateway} */
    const gateway = new Gateway(url, payerOf(options, async () => (await askQuote(gateway, target, options))?.maxSpend ?? null))
    return gateway
  })
}

/**
 * @param {Gateway} gateway
 * @param {Target} target
 * @param {RetrieveOptions} options
 */
async function askQuote (gateway, { root, names }, options) {
  const query = new URLSearchParams({ format: 'car', 'dag-scope': 'entity' })
  const range = rangeOf(options.range)
  if (range !== null) query.set('entity-bytes', `${range.first}:${range.last ?? '*'}`)
  const said = await gateway.json(`${contentPath(root, names).replace('/ipfs/', '/v1/quote/')}?${query}`, options.signal)
  return said === null ? null : readQuote(said, windowOf(options) ?? undefined)
}

/**
 * Bytes to ask for at once; null for all of them. Who pays by `exact` is asked for every answer, so that it had better be one.
 * @param {RetrieveOptions} options
 */
function windowOf ({ wallet, scheme, windowBytes }) {
  return wallet === undefined || (scheme === 'exact' && windowBytes === undefined) ? null : windowBytes ?? PAID_WINDOW_BYTES
}

/**
 * @param {Transfer} transfer
 * @param {RetrieveOptions} options
 */
function streamOf (transfer, { onProgress }) {
  const chunks = transfer.chunks()
  const tell = () => {
    const { at, start, stop, gateway, payments } = transfer
    const spent = payments.reduce((sum, { charged }) => sum + charged, 0n)
    onProgress?.({ receivedBytes: at - start, totalBytes: stop - start, spent, gateway })
  }
  return new ReadableStream(
    {
      async pull (controller) {
        const { done, value } = await chunks.next()
        tell()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel () {
        await chunks.return(undefined)
        await transfer.close()
      }
    },
    { highWaterMark: 0 } // nothing is fetched before it is wanted
  )
}

/**
 * @param {string} what
 * @returns {Target}
 */
function parseTarget (what) {
  const [text, ...names] = what.trim().replace(/^(?:ipfs:\/\/|\/ipfs\/)/, '').split('/')
  return { root: parseCid(text), names: parsePath(names.join('/')) }
}

/** @param {RetrieveOptions['range']} range */
function rangeOf (range) {
  if (range === undefined) return null
  const { first = 0, last = null } = range
  for (const position of [first, last ?? 0]) {
    if (!Number.isSafeInteger(position)) throw new RetrievalError('invalid_range', `${position}`)
  }
  if (last !== null && last < first && first < 0 === last < 0) throw new RetrievalError('invalid_range', 'it ends before it begins')
  return { first, last }
}
