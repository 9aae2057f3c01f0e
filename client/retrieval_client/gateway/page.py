"""The page at the gateway's own address: what this is, and for whoever has a token what is left to spend and what was bought.

One rule: the page itself says nothing that a stranger may not know. What it shows it asks for with the token that the person types in,
which stays in the tab; it is made without anything from elsewhere, and its one script is named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_SCRIPT: Final = """
"use strict";
const $ = (id) => document.getElementById(id);
const usd = (units) => (Number(units) / 1e6).toFixed(6).replace(/0{1,4}$/, "") + " USD";
const size = (n) => { let u = 0; while (n >= 1024 && u < 4) { n /= 1024; u++; }
  return (u ? n.toFixed(1) : n) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][u]; };
const cell = (row, text, name) => { const td = row.insertCell(); td.textContent = text; if (name) td.className = name; };
let token = sessionStorage.getItem("token") || "";
const ask = async (path) => {
  const answer = await fetch(path, { headers: { Authorization: "Bearer " + token } });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.title + (said.detail ? ": " + said.detail : ""));
  return said;
};
const show = async () => {
  try {
    const [budget, deals] = await Promise.all([ask("/v1/budget"), ask("/v1/deals?limit=20")]);
    $("left").replaceChildren();
    for (const [name, value] of [["The next request may cost", budget.may_spend], ["Left of today, for all tokens", budget.left.today],
        ["Left of this token", budget.left.token], ["Spent today, by all tokens", budget.spent_today]]) {
      const row = $("left").insertRow(); cell(row, name); cell(row, usd(value), "n");
    }
    $("deals").replaceChildren();
    for (const deal of deals.deals) {
      const row = $("deals").insertRow();
      cell(row, new Date(deal.time).toLocaleString([], { dateStyle: "short", timeStyle: "short" }));
      const link = document.createElement("a"), path = deal.path ? "/" + deal.path : "";
      link.textContent = deal.root.slice(0, 8) + "…" + deal.root.slice(-6) + path; link.title = deal.root + path;
      link.href = "/ipfs/" + deal.root + path.split("/").map(encodeURIComponent).join("/");
      cell(row, "", "cid"); row.lastChild.append(link);
      cell(row, size(deal.bytes), "n"); cell(row, usd(deal.paid), "n"); cell(row, deal.outcome);
    }
    $("none").hidden = deals.deals.length > 0;
    $("books").hidden = false; $("trouble").textContent = "";
    sessionStorage.setItem("token", token);
  } catch (error) { $("books").hidden = true; $("trouble").textContent = error.message; }
};
$("open").addEventListener("submit", (event) => { event.preventDefault(); token = $("token").value.trim(); show(); });
$("go").addEventListener("submit", (event) => { event.preventDefault();
  location.href = "/ipfs/" + $("cid").value.trim().replace(/^ipfs:\\/\\//, "").replace(/^\\/ipfs\\//, ""); });
if (token) { show(); setInterval(show, 5000); }
"""

_STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
form { display: flex; gap: .5rem; flex-wrap: wrap; margin: .5rem 0; }
input { flex: 1 1 18rem; font: inherit; padding: .5rem; min-width: 0; } button { font: inherit; padding: .5rem 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.cid { font-family: ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
#trouble { color: #b3261e; } code { font-size: .9em; overflow-wrap: anywhere; }
"""

PAGE: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Retrieval gateway</title><style>{_STYLE}</style></head><body>
<h1>Retrieval gateway</h1>
<p>This machine fetches content by its CID, checks every block of it, and keeps it for the next time. What is here, and what is free,
anybody at this machine may have. What has a price is bought with a token, within its limits, and with nothing else.</p>
<form id="go"><input id="cid" aria-label="CID" placeholder="bafy… or bafy…/path" autocomplete="off" required>
<button>Open</button></form>
<h2>What is left, and what was bought</h2>
<form id="open"><input id="token" type="password" aria-label="Token" placeholder="A token with the scope read" autocomplete="off" required>
<button>Show</button></form>
<p>A token is made by <code>retrieval-client token new --scope read</code>, and is kept by this tab only.</p>
<p id="trouble" role="alert"></p>
<div id="books" hidden><div class="wide"><table><tbody id="left"></tbody></table></div>
<h2>Recent deals</h2><p id="none">Nothing was bought yet.</p>
<div class="wide"><table>
<thead><tr><th>when</th><th>what</th><th class="n">size</th><th class="n">paid</th><th>outcome</th></tr></thead>
<tbody id="deals"></tbody></table></div></div>
<p><a href="/openapi.json">The interface, for programs</a></p>
<script>{_SCRIPT}</script></body></html>
""".encode()

_SCRIPT_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY: Final = (
    f"default-src 'none'; script-src 'sha256-{_SCRIPT_HASH}'; style-src 'sha256-{_STYLE_HASH}'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
