"""x402 version 2 as it is spoken over HTTP, in the two schemes this project is paid by.

A server that wants money answers 402 with ``PAYMENT-REQUIRED``; the client sends the request again with ``PAYMENT-SIGNATURE``; the answer
says in ``PAYMENT-RESPONSE`` what was charged. Each of these headers is base64 of a JSON object:

==================== ============ =====================================================================================================
header               module       says
==================== ============ =====================================================================================================
PAYMENT-REQUIRED     ``offer``    the ways to pay for this request, and why a payment that came with it did not do
PAYMENT-SIGNATURE    ``payment``  one way chosen, and the signatures for it: of ``batch`` or of ``exact``
PAYMENT-RESPONSE     ``answer``   what was charged, by which transaction if by any
==================== ============ =====================================================================================================

``batch-settlement`` pays by cumulative vouchers on the channels of ``retrieval.payment.channel``; ``exact`` by a signed transfer
(EIP-3009). Amounts are decimal strings of the token's smallest unit, networks are CAIP-2 names (``eip155:8453``), bytes are hex
behind ``0x``. Everything here is pure. What a stranger wrote is read by ``fields`` alone, which knows a limit for everything.
"""
