// The golden vectors of the Python path, replayed by the dapp module: in Node, and in a browser. Gives the names of what does not agree.

/**
 * @param {string} module where the module's folder is
 * @param {Record<string, any>} vectors by the name of their file
 */
export async function failures (module, vectors) {
  const [bytes, varint, cid, hamt, keccak, secp256k1, typedData, receipt] = await Promise.all(
    [
      'content/bytes.js', 'content/varint.js', 'content/cid.js', 'content/hamt.js', 'payment/keccak.js', 'payment/secp256k1.js',
      'payment/typed-data.js', 'payment/receipt.js'
    ].map((path) => import(`${module}/${path}`))
  )
  const { fromHex, toHex, equal, concat } = bytes
  const failed = []
  let nChecked = 0
  const check = async (name, work) => {
    nChecked++
    try {
      if ((await work()) !== true) failed.push(`${name}: differs`)
    } catch (error) {
      failed.push(`${name}: ${error.stack}`)
    }
  }
  const refuses = async (code, work) => {
    try {
      await work()
      return false
    } catch (error) {
      if (error.code !== code) throw error
      return true
    }
  }
  /** Hex, or a list of hex and `{ repeat, times }`. */
  const read = (data) => concat(...[data].flat().map((part) => fromHex(typeof part === 'string' ? part : part.repeat.repeat(part.times))))

  for (const { data, value, end } of vectors.native.uvarint) {
    const isCounted = value <= Number.MAX_SAFE_INTEGER // larger ones are refused here, since JavaScript has no such numbers
    await check(`uvarint ${data}`, () =>
      isCounted
        ? `${varint.readUvarint(read(data), 0, 'malformed_car')}` === `${value},${end}`
        : refuses('malformed_car', () => varint.readUvarint(read(data), 0, 'malformed_car')))
  }
  for (const { why, data, codec, hash_code: hash, digest_start: start, end } of vectors.native.cid) {
    await check(`cid: ${why}`, () => {
      if (!(codec <= Number.MAX_SAFE_INTEGER)) return refuses('invalid_cid', () => cid.readCid(read(data)))
      const [found, foundEnd] = cid.readCid(read(data))
      return found.codec === codec && found.hash === hash && foundEnd === end && equal(found.digest, read(data).subarray(start, end))
    })
  }
  for (const { data, digest } of vectors.native.sha256) await check('sha256', async () => toHex(await cid.sha256(read(data))) === digest)
  for (const { root } of vectors.unixfs) await check(`cid text ${root}`, () => `${cid.parseCid(root)}` === root)
  for (const { text_cid_base36: base36, text_cid_base32: base32, text } of vectors.identity.peers) {
    await check(`cid in base36 ${base36}`, () => `${cid.parseCid(base36)}` === base32)
    await check(`peer id ${text}`, () => toHex(cid.parseCid(base36).bytes).startsWith('0172'))
  }
  for (const { message, digest } of vectors.identity.keccak256) {
    await check('keccak256', () => toHex(keccak.keccak256(read(message))) === digest)
  }
  for (const { secret, address, digest, signature } of vectors.identity.evm) {
    await check(`address ${address}`, () => `0x${toHex(secp256k1.addressOf(fromHex(secret)))}` === address.toLowerCase())
    await check(`signature by ${address}`, async () => toHex(await secp256k1.signDigest(fromHex(secret), fromHex(digest))) === signature)
    const signer = `0x${toHex(secp256k1.recoverAddress(fromHex(digest), fromHex(signature)))}`
    await check(`signer ${address}`, () => signer === address.toLowerCase())
  }
  for (const { chain_id: chainId, contract, config, channel_id: channelId, vouchers } of vectors.voucher.channels) {
    const read = typedData.readConfig(fromHex(config))
    await check(`channel ${channelId}`, () => typedData.channelId(read, chainId, contract) === `0x${channelId}`)
    for (const { amount, digest, signature } of vouchers) {
      const found = typedData.voucherDigest(`0x${channelId}`, BigInt(amount), chainId, contract)
      await check(`voucher of ${amount}`, () => toHex(found) === digest)
      const secret = fromHex(vectors.voucher.secrets.payer_authorizer)
      if (`0x${toHex(secp256k1.addressOf(secret))}` !== read.payerAuthorizer) continue
      await check(`signed voucher of ${amount}`, async () => toHex(await secp256k1.signDigest(secret, found)) === signature)
    }
  }
  for (const { name, hash } of vectors.hamt) {
    await check(`murmur3 ${name}`, () => `${hamt.murmur3(new TextEncoder().encode(name))}` === hash)
  }
  const whole = receipt.readReceipt(fromHex(vectors.http_receipt.receipt))
  await check('receipt', async () => {
    await receipt.verifyReceipt(whole)
    return toHex(whole.body) === vectors.http_receipt.statement
  })
  for (let at = 0; at < whole.bytes.length; at += 13) {
    const bent = whole.bytes.slice()
    bent[at] ^= 1
    const codes = ['malformed_receipt', 'bad_signature', 'bad_receipt', 'bad_voucher', 'unsupported_key']
    await check(`receipt bent at ${at}`, async () => {
      try {
        await receipt.verifyReceipt(receipt.readReceipt(bent))
        return false
      } catch (error) {
        return codes.includes(error.code)
      }
    })
  }
  return { failed, nChecked }
}
