// A web page's fetch with x402's payments in it, as its packages come: it asks for ranges of one URL and pays for each.
// One line of JSON on standard input: {url, ranges, scheme, secret, rpc, chain}. One line on standard output for each range.
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { toClientEvmSigner } from "@x402/evm";
import { wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { createHash } from "node:crypto";
import { text } from "node:stream/consumers";
import { createPublicClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const told = JSON.parse(await text(process.stdin));
const signer = toClientEvmSigner(privateKeyToAccount(told.secret), createPublicClient({ transport: http(told.rpc) }));
const client = told.scheme === "exact" ? new ExactEvmScheme(signer) : new BatchSettlementEvmScheme(signer);
const paying = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: `eip155:${told.chain}`, client }],
  spendControls: { allowedAssets: true },
});
for (const [first, last] of told.ranges) {
  const answer = await paying(told.url, { headers: { Range: `bytes=${first}-${last}` } });
  const body = Buffer.from(await answer.arrayBuffer());
  const sha256 = createHash("sha256").update(body).digest("hex");
  console.log(JSON.stringify({ status: answer.status, bytes: body.length, sha256, paid: answer.headers.get("payment-response") }));
}
