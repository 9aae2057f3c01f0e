/** The example page: what it costs, then how far it is, then what came and what proves that it was paid. */

import { LocalGateway, RetrievalError, quote, receiptFileName, retrieve } from '../retrieval.js'

const PREVIEW_TEXT_SIZE = 4096 // bytes
/** What a page may show of a stranger's file: nothing that runs. @type {Readonly<Record<string, string>>} */
const MEDIA = {
  avif: 'image/avif', gif: 'image/gif', jpeg: 'image/jpeg', jpg: 'image/jpeg', png: 'image/png', webp: 'image/webp',
  mp4: 'video/mp4', webm: 'video/webm', mp3: 'audio/mpeg', ogg: 'audio/ogg', md: 'text/plain', txt: 'text/plain'
}
/** What a person can do about it; what is not here says enough by itself. @type {Readonly<Record<string, string>>} */
const ADVICE = {
  cancelled: 'Nothing more was signed.',
  corrupt_block: 'This gateway sent something else than the content. None of it was shown to you. Use another gateway.',
  dial_failed: 'Check the gateway’s address, and that it runs.',
  not_found: 'This gateway does not have it. Ask another.',
  payment_required: 'It has a price: choose who pays.',
  transfer_truncated: 'The connection broke. What came before was verified; try again.',
  unexpected_block: 'This gateway sent something else than the content. None of it was shown to you. Use another gateway.',
  wrong_chain: 'Switch the wallet to the chain that the provider is paid on.'
}

/** @type {AbortController | null} */
let running = null
/** @type {string[]} Addresses of blobs, which the browser keeps until they are given up. */
let blobs = []

const form = /** @type {HTMLFormElement} */ (element('ask'))
const given = new URLSearchParams(location.search)
for (const name of ['what', 'gateway']) input(name).value = given.get(name) ?? ''

form.addEventListener('input', () => {
  show('offer', false)
  for (const each of form.querySelectorAll('[data-for]')) each.toggleAttribute('hidden', each.getAttribute('data-for') !== payer())
})
form.addEventListener('submit', (event) => {
  event.preventDefault()
  attempt(showPrice)
})
element('fetch').addEventListener('click', () => attempt(fetchIt))
element('cancel').addEventListener('click', () => running?.abort(new RetrievalError('cancelled')))

/** @type {import('../index.d.ts').Quote | null} */
let agreed = null

/** @param {AbortSignal} signal */
async function showPrice (signal) {
  agreed = await quote(input('what').value, { ...options(), signal })
  const amount = agreed?.maxSpend ?? 0n
  const deposit = depositOf(agreed)
  const isFree = amount === 0n
  element('amount').textContent = agreed === null ? 'The gateway does not say' : isFree ? 'Free' : `at most ${money(amount)}`
  list('terms', [
    ['Size', agreed === null || agreed.bytes === 0 ? '' : `up to ${size(agreed.bytes)}`],
    ['Rate', isFree || agreed === null ? '' : `${money(agreed.pricePerGib)} a GiB`],
    ['Deposit', payer() === 'wallet' && !isFree ? `${money(deposit)}, kept in a channel; what is not spent waits there` : ''],
    ['Free a day', agreed?.freeBytesPerDay ? size(agreed.freeBytesPerDay) : '']
  ])
  element('fetch').textContent = isFree ? 'Fetch it' : payer() === 'nobody' ? 'Fetch what is free' : 'Pay and fetch'
  show('offer', true)
}

/** @param {AbortSignal} signal */
async function fetchIt (signal) {
  show('transfer', true)
  progress({ receivedBytes: 0, totalBytes: 0, spent: 0n, gateway: '' })
  const paying = payer() === 'wallet' ? { maxSpend: agreed?.maxSpend ?? 0n, depositMax: depositOf(agreed) } : {}
  const file = await retrieve(input('what').value, { ...options(), ...paying, signal, onProgress: progress })
  const started = performance.now()
  const [name, type] = named(file.path)
  const blob = await file.blob({ type })
  const seconds = (performance.now() - started) / 1000
  show('offer', false)
  show('transfer', false)
  await preview(blob, type)
  list('facts', [
    ['CID', file.cid],
    ['Size', size(blob.size)],
    ['Time', seconds < 1 ? `${Math.ceil(seconds * 1000)} ms` : `${seconds.toFixed(1)} s, ${size(blob.size / seconds)}/s`],
    ['Paid', file.spent > 0n ? money(file.spent) : file.deals.length > 0 ? 'by your gateway' : 'nothing']
  ])
  link('save', blob, name)
  await showReceipts(file)
  show('result', true)
  element('result').scrollIntoView({ behavior: 'smooth', block: 'nearest' })
}

/** @param {import('../index.d.ts').Retrieved} file */
async function showReceipts (file) {
  const rows = file.receipts.map((receipt) => ({
    words: `${money(receipt.amount)} for up to ${size(receipt.size)}`,
    status: receipt.status ?? '',
    name: receiptFileName(receipt),
    bytes: receipt.bytes
  }))
  if (file.deals.length > 0) {
    const gateway = new LocalGateway({ gateway: input('gateway').value, token: input('token').value })
    for (const receipt of (await gateway.receipts()).filter(({ dealId }) => file.deals.includes(dealId))) {
      const { dealId, paid, bytes, status } = receipt
      const words = `${money(paid)} for ${size(bytes)}`
      rows.push({ words, status, name: `${dealId}.receipt.cbor`, bytes: await gateway.receiptFile(dealId) })
    }
  }
  show('receipts-title', rows.length > 0)
  element('receipts').replaceChildren(...rows.map(({ words, status, name, bytes }) => {
    const row = document.createElement('li')
    const state = document.createElement('span')
    state.textContent = status
    state.className = status === 'verified' ? 'good' : 'bad'
    const save = document.createElement('a')
    save.textContent = 'Save'
    save.download = name
    save.href = blobUrl(new Blob([/** @type {BlobPart} */ (bytes)], { type: 'application/cbor' }))
    row.append(words, state, save)
    return row
  }))
}

/** @param {import('../index.d.ts').Progress} progress */
function progress ({ receivedBytes, totalBytes, spent }) {
  const bar = /** @type {HTMLProgressElement} */ (element('bar'))
  if (totalBytes > 0) bar.value = receivedBytes / totalBytes
  else bar.removeAttribute('value')
  list('figures', [
    ['Verified', totalBytes > 0 ? `${size(receivedBytes)} of ${size(totalBytes)}` : 'waiting for the first block'],
    ['Paid', payer() === 'wallet' ? money(spent) : '']
  ])
}

/**
 * Do one thing at a time, and show what went wrong with it.
 * @param {(signal: AbortSignal) => Promise<void>} work
 */
async function attempt (work) {
  running?.abort(new RetrievalError('cancelled'))
  const mine = (running = new AbortController())
  for (const name of ['failure', 'result', 'transfer']) show(name, false)
  for (const url of blobs.splice(0)) URL.revokeObjectURL(url)
  setBusy(true)
  try {
    await work(mine.signal)
  } catch (error) {
    if (running === mine) fail(error)
  } finally {
    if (running === mine) setBusy(false)
  }
}

/** @param {unknown} error */
function fail (error) {
  const known = error instanceof RetrievalError ? error : new RetrievalError('internal', String(error))
  show('transfer', false)
  element('failure-title').textContent = known.message.split(': ')[0]
  element('failure-detail').textContent = ADVICE[known.code] ?? known.hint
  element('failure-code').textContent = `${known.code} (${known.number})${known.detail ? `: ${known.detail}` : ''}`
  show('failure', true)
}

/**
 * @param {Blob} blob
 * @param {string} type
 */
async function preview (blob, type) {
  const kind = type.split('/')[0]
  const shown = document.createElement(kind === 'image' ? 'img' : kind === 'video' ? 'video' : kind === 'audio' ? 'audio' : 'pre')
  if (shown instanceof HTMLPreElement) shown.textContent = await blob.slice(0, PREVIEW_TEXT_SIZE).text()
  else shown.src = blobUrl(blob)
  if (shown instanceof HTMLMediaElement) shown.controls = true
  if (shown instanceof HTMLImageElement) shown.alt = ''
  element('preview').replaceChildren(...(type === '' ? [] : [shown]))
}

/** What the form says. @returns {import('../index.d.ts').Options} */
function options () {
  const wallet = /** @type {{ ethereum?: import('../index.d.ts').Eip1193Provider }} */ (window).ethereum
  if (payer() === 'wallet' && wallet === undefined) throw new RetrievalError('payment_required', 'this browser has no wallet')
  return {
    gateway: input('gateway').value,
    ...(payer() === 'wallet' && { wallet, maxSpend: 0n }),
    ...(payer() === 'token' && { token: input('token').value })
  }
}

/** The least that opens a channel, or all that may be needed. @param {import('../index.d.ts').Quote | null} price */
function depositOf (price) {
  const least = price?.ways.find(({ scheme }) => scheme === 'batch-settlement')?.depositMin ?? 0n
  return least > (price?.maxSpend ?? 0n) ? least : price?.maxSpend ?? 0n
}

/** @param {bigint} amount in the token's smallest unit */
function money (amount) {
  const { decimals, symbol } = agreed ?? { decimals: 0, symbol: '' }
  const digits = `${amount}`.padStart(decimals + 1, '0')
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, '').padEnd(2, '0')
  return `${digits.slice(0, digits.length - decimals)}${decimals > 0 ? `.${fraction}` : ''} ${symbol || 'USD'}`
}

/** @param {number} bytes */
function size (bytes) {
  const power = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10))
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`
}

/**
 * What to call a file, and what it is going by its name.
 * @param {string} path
 * @returns {[string, string]}
 */
function named (path) {
  const name = decodeURIComponent(path.split('/').at(-1) ?? '')
  return [name, MEDIA[name.split('.').at(-1)?.toLowerCase() ?? ''] ?? '']
}

/**
 * @param {string} name
 * @param {[string, string][]} rows those without words are left out
 */
function list (name, rows) {
  const shown = rows.filter(([, words]) => words !== '')
  element(name).replaceChildren(...shown.flatMap(([term, words]) => {
    const [title, value] = [document.createElement('dt'), document.createElement('dd')]
    title.textContent = term
    value.textContent = words
    value.className = term === 'CID' ? 'id' : ''
    return [title, value]
  }))
}

/**
 * @param {string} name
 * @param {Blob} blob
 * @param {string} fileName
 */
function link (name, blob, fileName) {
  const anchor = /** @type {HTMLAnchorElement} */ (element(name))
  anchor.href = blobUrl(blob)
  anchor.download = fileName
}

/** @param {Blob} blob */
function blobUrl (blob) {
  const url = URL.createObjectURL(blob)
  blobs = [...blobs, url]
  return url
}

/** @param {boolean} isBusy */
function setBusy (isBusy) {
  for (const name of ['price', 'fetch']) element(name).toggleAttribute('disabled', isBusy)
}

function payer () {
  return String(new FormData(form).get('payer'))
}

/**
 * @param {string} name
 * @param {boolean} isShown
 */
function show (name, isShown) {
  element(name).hidden = !isShown
}

/** @param {string} id */
function element (id) {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no ${id}`)
  return found
}

/** @param {string} id */
function input (id) {
  return /** @type {HTMLInputElement} */ (element(id))
}
