// js-libp2p with its stock parts, told what to do by tests/stock_peers.py: one JSON object a line, in and out.

import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const PROTOCOL_ID = '/retrieval/session/1.0.0'
const PATTERN_PERIOD = 251
const PIECE_BYTES = 64 * PATTERN_PERIOD
const WINDOW_MAX = 16 * 1024 * 1024 // what the stock muxer lets a window grow to

// The one thing of newer runtimes that these packages need and Node 20 has not.
Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

/** A stream that is read when asked: it is paused in between, so that its window closes on a sender who goes on. */
class Conversation {
  constructor (stream) {
    this.stream = stream
    this.rest = new Uint8Array(0)
    stream.maxReadBufferLength = WINDOW_MAX // the stock 4 MiB are less, so that a paused stream would be given up
    stream.pause()
  }

  /** The next bytes; null at the clean end. Rejects at every other end. */
  async next () {
    const { stream } = this
    if (this.rest.length > 0) {
      return this.rest
    }
    if (stream.readableEnded && stream.status !== 'reset' && stream.status !== 'aborted') {
      return null
    }
    const arrived = Promise.withResolvers()
    const onMessage = (event) => {
      if (stream.readStatus === 'readable') {
        stream.pause()
      }
      arrived.resolve(event.data.subarray())
    }
    const onEnd = () => stream.status === 'reset' ? arrived.reject(new Error('the peer reset the stream')) : arrived.resolve(null)
    const onClose = (event) => event.error == null ? arrived.resolve(null) : arrived.reject(event.error)
    stream.addEventListener('message', onMessage)
    stream.addEventListener('end', onEnd)
    stream.addEventListener('close', onClose)
    try {
      if (stream.status === 'reset' || stream.status === 'aborted') {
        throw new Error(`the stream is ${stream.status}`)
      }
      if (stream.readStatus === 'paused') {
        stream.resume()
      }
      return await arrived.promise
    } finally {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('end', onEnd)
      stream.removeEventListener('close', onClose)
    }
  }

  async write (data) {
    if (!this.stream.send(data)) {
      await this.stream.onDrain()
    }
  }
}

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { inboundConnectionThreshold: Infinity }, // of one address, in a second: tests come faster than the stock five
  services: { identify: identify(), ping: ping() }
})
const conversations = []
const accepted = []
const waiting = []

await node.handle(PROTOCOL_ID, (stream) => {
  const conversation = new Conversation(stream)
  const taker = waiting.shift()
  taker == null ? accepted.push(conversation) : taker(conversation)
})

function adopt (conversation) {
  return { stream: conversations.push(conversation) - 1 }
}

const verbs = {
  async open ({ address }) {
    return adopt(new Conversation(await node.dialProtocol(multiaddr(address), PROTOCOL_ID)))
  },

  async accept () {
    return adopt(accepted.shift() ?? await new Promise((resolve) => waiting.push(resolve)))
  },

  async send ({ stream, n_bytes: nBytes }) {
    const period = Uint8Array.from({ length: PATTERN_PERIOD }, (_, n) => n)
    const piece = Buffer.alloc(PIECE_BYTES, period)
    for (let left = nBytes; left > 0; left -= piece.length) {
      await conversations[stream].write(piece.subarray(0, Math.min(left, piece.length)))
    }
    return {}
  },

  async receive ({ stream, n_bytes: nBytes }) {
    const conversation = conversations[stream]
    const hash = createHash('sha256')
    let n = 0
    let end = 'open'
    while (n < nBytes && end === 'open') {
      try {
        const data = await conversation.next()
        if (data == null) {
          end = 'clean'
          break
        }
        const part = data.subarray(0, nBytes - n)
        hash.update(part)
        n += part.length
        conversation.rest = data.subarray(part.length)
      } catch (error) {
        end = 'broken'
      }
    }
    return { n_bytes: n, sha256: hash.digest('hex'), end }
  },

  async close ({ stream }) {
    await conversations[stream].stream.close()
    return {}
  },

  reset ({ stream }) {
    conversations[stream].stream.abort(new Error('told to'))
    return {}
  },

  async ping ({ address }) {
    return { seconds: await node.services.ping.ping(multiaddr(address)) / 1000 }
  },

  connections () {
    return { n_open: node.getConnections().filter((connection) => connection.status === 'open').length }
  }
}

function say (words) {
  process.stdout.write(JSON.stringify(words) + '\n')
}

say({ address: String(node.getMultiaddrs()[0]) })
for await (const line of createInterface({ input: process.stdin })) {
  const { id, verb, ...what } = JSON.parse(line)
  Promise.resolve()
    .then(() => verbs[verb](what))
    .then((answer) => say({ id, ...answer }), (error) => say({ id, error: String(error) }))
}
process.exit(0)
