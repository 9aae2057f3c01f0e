/**
 * Where a page keeps its channels: what it signed at most is there before a payment leaves, and survives the page.
 *
 * One rule: one at a time. Whoever spends from a channel holds it alone, over all tabs of the origin.
 */

import { RetrievalError } from '../errors.js'

/** @typedef {import('../index.d.ts').ChannelStorage} ChannelStorage */

const [DATABASE, STORE] = ['retrieval', 'channels']

/** The page's own IndexedDB; every page of the same origin sees it. @returns {ChannelStorage} */
export function pageStorage () {
  /** @type {Promise<IDBDatabase> | undefined} */
  let opening
  const opened = () => {
    opening ??= (async () => {
      const request = indexedDB.open(DATABASE, 1)
      request.onupgradeneeded = () => request.result.createObjectStore(STORE)
      return await finished(request)
    })()
    return opening
  }
  return {
    async get (key) {
      return await finished((await opened()).transaction(STORE).objectStore(STORE).get(key))
    },
    async put (key, value) {
      const transaction = (await opened()).transaction(STORE, 'readwrite', { durability: 'strict' }) // on disk, not on its way there
      transaction.objectStore(STORE).put(value, key)
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve
        transaction.onabort = () => reject(broken(transaction.error))
      })
    }
  }
}

/** For as long as the program runs: for tests, and for programs that keep no money. @returns {ChannelStorage} */
export function memoryStorage () {
  /** @type {Map<string, unknown>} */
  const kept = new Map()
  return {
    async get (key) {
      return structuredClone(kept.get(key))
    },
    async put (key, value) {
      kept.set(key, structuredClone(value))
    }
  }
}

/** @type {ChannelStorage | undefined} */
let shared

/** What is used where nothing else is named: IndexedDB where there is one, else memory; the same for everybody on the page. */
export function defaultStorage () {
  shared ??= globalThis.indexedDB === undefined ? memoryStorage() : pageStorage()
  return shared
}

/** @type {Map<string, Promise<unknown>>} */
const turns = new Map()

/**
 * Do something while nobody else does anything under this name, in any tab where the browser has locks.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function alone (name, work) {
  if (globalThis.navigator?.locks !== undefined) return await navigator.locks.request(`retrieval ${name}`, work)
  const before = turns.get(name) ?? Promise.resolve()
  const turn = before.then(work, work)
  turns.set(name, turn)
  try {
    return await turn
  } finally {
    if (turns.get(name) === turn) turns.delete(name)
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
async function finished (request) {
  return await new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(broken(request.error))
  })
}

/** @param {unknown} cause */
function broken (cause) {
  return new RetrievalError('internal', "the page's storage failed, so that nothing can be paid from a channel", { cause })
}
