/**
 * The errors that a page meets, by the labels of the project's one registry (`retrieval/errors.py`).
 *
 * One rule: what comes from outside, a gateway, a block, a wallet, fails as a RetrievalError or not at all. A caller that aborts gets the
 * reason of its own signal, as everywhere on the web.
 */

export const DETAIL_MAX = 256 // characters of free text; some of it was written by strangers

/**
 * Number, summary, and whether the same can be expected to work later: the registry's, of every error that this module raises itself.
 * @type {Readonly<Record<string, readonly [number, string, 'no' | 'later' | 'elsewhere']>>}
 */
export const ERRORS = {
  bad_signature: [107, 'a signature does not verify', 'elsewhere'],
  unsupported_key: [108, "the peer's identity is not an Ed25519 key", 'elsewhere'],
  dial_failed: [110, 'the peer could not be reached', 'later'],
  not_found: [201, 'the provider does not have this CID', 'elsewhere'],
  path_not_found: [202, 'the path does not exist below this CID', 'no'],
  unsupported_codec: [204, 'the codec or hash of this CID is not supported', 'no'],
  invalid_cid: [205, 'this is not a CID', 'no'],
  dag_too_large: [206, 'the DAG is larger or deeper than the limit', 'no'],
  invalid_path: [208, 'this is not a usable path', 'no'],
  invalid_range: [209, 'this is not a usable range of bytes', 'no'],
  unsupported_format: [210, 'the content cannot be had in this format', 'no'],
  range_not_satisfiable: [211, 'no byte of the range lies inside the content', 'no'],
  over_budget: [304, 'it would cost more than the budget allows', 'elsewhere'],
  invalid_amount: [307, 'this is not a usable amount', 'no'],
  channel_unacceptable: [402, "the payment channel does not meet the provider's terms", 'no'],
  bad_voucher: [407, "the voucher is not signed by the channel's authorizer", 'no'],
  payment_mismatch: [410, 'the sums of voucher and receipts disagree', 'no'],
  wrong_chain: [413, 'the chain is not the one that was agreed', 'no'],
  payment_required: [420, 'this content has a price, and nothing was paid', 'later'],
  malformed_payment: [421, 'this is not an x402 payment that can be read', 'no'],
  corrupt_block: [501, 'a block does not match its CID', 'elsewhere'],
  unexpected_block: [502, 'a block came that was not the next one expected', 'elsewhere'],
  block_too_large: [503, 'a block is above the 2 MiB limit', 'no'],
  transfer_truncated: [504, 'the transfer ended early', 'later'],
  transfer_stalled: [505, 'nothing more was verified in time', 'later'],
  malformed_block: [509, "a block's content does not follow its codec", 'no'],
  malformed_car: [510, 'this is not a well-formed CAR file', 'no'],
  cancelled: [511, 'the transfer was cancelled', 'later'],
  bad_receipt: [601, 'the receipt does not match what was delivered', 'no'],
  malformed_receipt: [605, 'this is not a well-formed receipt file', 'no'],
  rate_limited: [701, 'too many requests', 'later'],
  internal: [901, 'something went wrong inside', 'later']
}

/** What failed: `code` is a label of the registry, such as `corrupt_block`, also where a gateway named it. */
export class RetrievalError extends Error {
  /**
   * @param {string} code a label of the registry
   * @param {string} [detail] what happened this time
   * @param {{
   *   cause?: unknown, status?: number, number?: number, summary?: string, retry?: string, hint?: string, retryAfterS?: number
   * }} [more] what a gateway's problem document says
   */
  constructor (code, detail = '', more = {}) {
    const [number, summary, retry] = ERRORS[code] ?? ERRORS.internal
    const shown = detail.slice(0, DETAIL_MAX)
    super(`${more.summary ?? summary}${shown ? `: ${shown}` : ''}`, more.cause === undefined ? undefined : { cause: more.cause })
    this.name = 'RetrievalError'
    this.code = code
    this.detail = shown
    this.number = more.number ?? number
    /** `no`, `later` (the same gateway again) or `elsewhere` (another one). */
    this.retry = more.retry ?? retry
    this.hint = more.hint ?? ''
    /** The HTTP status, where a gateway refused. */
    this.status = more.status
    this.retryAfterS = more.retryAfterS
  }
}
