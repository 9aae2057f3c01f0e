"""How answers over HTTP are paid for: the part of the door that knows money, in the process that holds the journal.

A worker serves bytes and holds no state. Before an answer leaves, it asks the node over ``bridge`` what the answer costs and whether it may
go (``counter``); when the answer has ended, it says how much of it left. A first part of each day is free (``allowance``); beyond it the
client gets a 402 that says how to pay (``tariff``), by x402 in either scheme.

What is decided here, and why:

- ``batch-settlement``: a voucher and its price are on disk before the first byte leaves, and what left is charged afterwards. A cut answer
  lowers the charged total, and the client learns so from the corrective 402 that its next voucher meets.
- ``exact``: the transfer is tried on the chain, written down, submitted, and mined before the first byte leaves. It has a floor, since each
  costs gas; what the answer does not use is the payer's credit, and is spent first: a transfer that comes while there is enough credit is
  only looked at, as proof of who is asking, and never submitted. So money that was moved is either spent on bytes that left or still there,
  through cuts, restarts and lost answers.
- A worker that dies, or a node that restarts, forgives what was under way: at most 8 answers a tab.
"""
