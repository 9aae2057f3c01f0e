// @helia/verified-fetch as it comes, over a Helia that shows a token to the gateway its router names, which buys what it is asked for.
// Says how each fetch ended, a line of JSON each.

import { createHash } from 'node:crypto'
import { withHTTP } from '@helia/http'
import { createVerifiedFetchWithHelia } from '@helia/verified-fetch'
import { createHeliaLight } from 'helia'

const PATIENCE_MS = 20_000
const NO_GATEWAY = 'http://127.0.0.1:1' // one has to be named, and must not be what answers

const [module, told, ...resources] = process.argv.slice(2)
const { router, token, maxSpend } = JSON.parse(told)
const { heliaTransform } = await import(module)
const helia = await withHTTP(createHeliaLight(), {
  delegatedRouters: [router],
  recursiveGateways: [NO_GATEWAY],
  allowInsecure: true,
  allowLocal: true,
  transformRequestInit: heliaTransform({ token, maxSpend })
}).start()
const verifiedFetch = await createVerifiedFetchWithHelia(helia)

for (const resource of resources) {
  let said
  try {
    const response = await verifiedFetch(resource, { signal: AbortSignal.timeout(PATIENCE_MS) })
    const body = Buffer.from(await response.arrayBuffer())
    said = { status: response.status, nBytes: body.length, sha256: createHash('sha256').update(body).digest('hex') }
  } catch (error) {
    said = { error: `${error}` }
  }
  console.log(JSON.stringify(said))
}

await verifiedFetch.stop()
process.exit(0)
