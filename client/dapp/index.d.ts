/** What a page imports from `retrieval.js`. Amounts are in the token's smallest unit, sizes in bytes. */

/** A whole number: a BigInt, a safe integer, or decimal digits. */
export type Amount = bigint | number | string

export interface Options {
  /** Where to ask: what stands before `/ipfs/`, such as `https://provider.example` or `http://127.0.0.1:4803`. */
  gateway?: string
  /** Several, in the order they are asked: the next takes over from the byte where one failed. */
  gateways?: string[]
  /** Of the gateway on this machine, which pays then. It is sent to `gateway` alone. */
  token?: string
  /** Pays by x402. It is asked for signatures, and shows its owner for what. */
  wallet?: Eip1193Provider
  /** The most that this retrieval may cost. Required with a wallet; with a token it lowers what the gateway would spend. */
  maxSpend?: Amount
  /** Of a page or a session: what several retrievals may cost together. */
  budget?: Pick<Budget, 'left' | 'spend'>
  /** The most that one deposit may move into a channel; `maxSpend` unless it is given. What is not spent stays in the channel. */
  depositMax?: Amount
  /** The only way to pay. Without it, the first that the gateway offers and the wallet's chain has. */
  scheme?: 'batch-settlement' | 'exact'
  /** Where channels are kept: the page's IndexedDB unless it is given. */
  storage?: ChannelStorage
  /** Bytes asked for with one payment; 16 MiB unless it is given. With `exact`, all of them: each payment is a question to the user. */
  windowBytes?: number
  /** Both included; below zero they count from the end of the file. */
  range?: { first?: number, last?: number }
  signal?: AbortSignal
}

export interface RetrieveOptions extends Options {
  onProgress?: (progress: Progress) => void
}

export interface Progress {
  /** Verified. */
  receivedBytes: number
  totalBytes: number
  /** Charged so far. */
  spent: bigint
  /** Who sends. */
  gateway: string
}

/** What content would cost, by the gateway's word. */
export interface Quote {
  /** For all of it in one answer. */
  amount: bigint
  /** What to allow: the same, and what it may cost more to ask for it window by window. */
  maxSpend: bigint
  /** At most, framing included. */
  bytes: number
  pricePerGib: bigint
  flatFee: bigint
  /** Of the token, where the gateway says it: amounts have so many `decimals`. */
  symbol: string
  decimals: number
  /** How it can be paid for in one answer. `amount` is what would be signed, `depositMin` the least that opens a channel. */
  ways: { scheme: string, chainId: number, amount: bigint, depositMin: bigint }[]
  /** What an address may have for nothing. */
  freeBytesPerDay: number
}

/** Open a file, or the `index.html` of a directory: `what` is a CID or a CID and a path. Throws `RetrievalError`. */
export function retrieve(what: string, options: RetrieveOptions): Promise<Retrieved>

/** The names in a directory. */
export function list(what: string, options: Options): Promise<Entry[]>

/** What a retrieval would cost at most; null where the gateway does not say. */
export function quote(what: string, options: Options): Promise<Quote | null>

export interface Entry {
  name: string
  cid: string
  /** Of all blocks below it: a claim of whoever made the directory. */
  size: number | null
}

/** One file, or a part of one. It can be read once. */
export interface Retrieved {
  /** The file's own CID. */
  readonly cid: string
  readonly path: string
  /** Of the whole file, as its root node claims: what comes is held against it. */
  readonly fileSize: number
  /** Of what will come. */
  readonly size: number
  /** Verified bytes. A stream that fails has brought only verified bytes until then. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>
  readonly payments: Payment[]
  /** Of a gateway that pays itself: the ids of the deals by which it bought what came so far. */
  readonly deals: string[]
  readonly spent: bigint
  readonly receipts: Receipt[]
  blob(options?: BlobPropertyBag): Promise<Blob>
  arrayBuffer(): Promise<ArrayBuffer>
  bytes(): Promise<Uint8Array<ArrayBuffer>>
  text(): Promise<string>
}

/** One answer that was paid for. */
export interface Payment {
  scheme: string
  /** What was signed for it. */
  amount: bigint
  /** What was charged, at most: of an answer that was cut less is. */
  charged: bigint
  /** The hash of the transfer or deposit that it caused, if it caused one. */
  transaction: string
  payer: string
  channelId: string | null
  receipt: Receipt | null
}

/** The provider's signed word for one answer. */
export interface Receipt {
  /** The content of a `*.receipt.cbor` file. */
  bytes: Uint8Array
  /** `verified`, or the label of what is wrong; absent where nobody has looked. */
  status?: string
  /** Its peer id: the key that signed. */
  provider: string
  body: Uint8Array
  signature: Uint8Array
  orderId: string
  root: string
  path: string[]
  scope: string
  /** Of the answer's body, at most. */
  size: number
  pricePerGib: bigint
  flatFee: bigint
  amount: bigint
  payer: string
  receiver: string
  chainId: number
  token: string
  channelId: string | null
  /** Charged over the channel's life. */
  channelAmount: bigint | null
  transaction: string
  time: Date
  channel: { config: Uint8Array, contract: string, voucher: { channelId: string, amount: bigint, signature: Uint8Array } } | null
}

/** A receipt out of a file, or out of the header `Retrieval-Receipt`. Nothing in it is believed yet. */
export function readReceipt(encoded: Uint8Array | string): Receipt

/** Check its signatures, and what else is expected. Throws `bad_signature`, `bad_voucher`, `bad_receipt`, `unsupported_key`. */
export function verifyReceipt(
  receipt: Receipt, expected?: { root?: string, payer?: string, amount?: bigint, channelId?: string | null }
): Promise<void>

/** What `retrieval-client receipts` would call its file. */
export function receiptFileName(receipt: Receipt): string

/**
 * The `transformRequestInit` of Helia's trustless gateway broker, for the gateway of this machine. Helia does not say where a request goes,
 * so the token goes to every gateway of that Helia: name no other.
 */
export function heliaTransform(options: { token: string, maxSpend?: Amount }): (init: RequestInit) => RequestInit

/** A `fetch` that pays by x402 out of a wallet, up to `maxSpend` for all of its requests together. It verifies nothing. */
export function payingFetch(options: Options & { onPayment?: (payment: Payment) => void }): typeof fetch

/** An amount that only becomes less, shared by the retrievals of a page or a session. */
export class Budget {
  constructor(amount: Amount)
  readonly left: bigint
  /** Throws `over_budget`, and takes nothing then. */
  spend(amount: bigint): void
}

/** What failed: `code` is a label of the project's registry, such as `corrupt_block` or `over_budget`. */
export class RetrievalError extends Error {
  constructor(code: string, detail?: string, more?: { cause?: unknown })
  readonly code: string
  readonly number: number
  readonly detail: string
  readonly retry: string
  readonly hint: string
  readonly status: number | undefined
  readonly retryAfterS: number | undefined
}

/** The registry's rows of what this module raises itself: number, summary, and whether it is worth a second try. */
export const ERRORS: Readonly<Record<string, readonly [number, string, 'no' | 'later' | 'elsewhere']>>

/** What wallets give a page (EIP-1193). */
export interface Eip1193Provider {
  request(ask: { method: string, params?: unknown }): Promise<unknown>
}

/** Keeps what a page must not forget. `put` ends when the value is safe. */
export interface ChannelStorage {
  get(key: string): Promise<unknown>
  put(key: string, value: unknown): Promise<void>
}

export function pageStorage(): ChannelStorage
export function memoryStorage(): ChannelStorage

/** Who pays for requests. */
export interface Payer {
  /** What every request is sent with. */
  headers(): Promise<Record<string, string>>
  /** The answer, and what was paid for it. */
  fetch(url: string, init: RequestInit): Promise<{ response: Response, payment: Payment | null }>
}

/** A content identifier. */
export interface Cid {
  readonly bytes: Uint8Array
  readonly codec: number
  readonly hash: number
  readonly digest: Uint8Array
  toString(): string
}

export function parseCid(text: string): Cid

/** The gateway of the person's own machine, as a token with the scope `read` sees it. */
export class LocalGateway {
  constructor(options: { gateway: string, token: string })
  budget(options?: LocalOptions): Promise<{ maySpend: bigint, spentToday: bigint, leftToday: bigint, leftOfToken: bigint }>
  deal(dealId: string, options?: LocalOptions): Promise<Deal>
  receipts(options?: LocalOptions): Promise<(Deal & { status: string })[]>
  /** The file that `retrieval-client receipts verify` takes. */
  receiptFile(dealId: string, options?: LocalOptions): Promise<Uint8Array<ArrayBuffer>>
  /** Until `signal`. Throws when the connection breaks: call it again with the last event's `id`. */
  events(options?: LocalOptions & { lastEventId?: string }): AsyncGenerator<GatewayEvent>
}

export interface LocalOptions {
  signal?: AbortSignal
}

export interface Deal {
  dealId: string
  provider: string
  root: string
  path: string
  bytes: number
  paid: bigint
  time: string
}

/** What happened: `progress`, `ended`, `quote`, or `gap` where events were missed. */
export interface GatewayEvent {
  id: string
  type: string
  data: unknown
}
