// The dapp module in Node, told what to fetch line by line: answers each with a line of what came, or of what it failed with.

import { createInterface } from 'node:readline'

const { retrieve, list, quote } = await import(process.argv[2])

const VERBS = {
  async retrieve (what, options) {
    const file = await retrieve(what, options)
    return { hex: Buffer.from(await file.bytes()).toString('hex'), cid: file.cid, size: file.size, fileSize: file.fileSize }
  },
  async list (what, options) {
    return { entries: await list(what, options) }
  },
  async quote (what, options) {
    const found = await quote(what, options)
    return { amount: found === null ? null : `${found.amount}` }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { verb, what, options } = JSON.parse(line)
  try {
    console.log(JSON.stringify(await VERBS[verb](what, { ...options, signal: AbortSignal.timeout(20_000) })))
  } catch (error) {
    console.log(JSON.stringify({ code: error.code ?? error.name, number: error.number, message: `${error.stack}` }))
  }
}
