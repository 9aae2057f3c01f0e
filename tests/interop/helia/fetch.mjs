// @helia/verified-fetch as it comes. Told where to ask who has content, and what to fetch; says how each ended, a line of JSON each.

import { createHash } from 'node:crypto'
import { createVerifiedFetch } from '@helia/verified-fetch'

const PATIENCE_MS = 20_000
const NO_GATEWAY = 'http://127.0.0.1:1' // one has to be named, and must not be what answers

const [router, ...resources] = process.argv.slice(2)
const verifiedFetch = await createVerifiedFetch({ gateways: [NO_GATEWAY], routers: [router], allowInsecure: true, allowLocal: true })

for (const resource of resources) {
  const response = await verifiedFetch(resource, { signal: AbortSignal.timeout(PATIENCE_MS) })
  const body = Buffer.from(await response.arrayBuffer())
  const sha256 = createHash('sha256').update(body).digest('hex')
  console.log(JSON.stringify({ status: response.status, nBytes: body.length, sha256 }))
}

await verifiedFetch.stop()
process.exit(0)
