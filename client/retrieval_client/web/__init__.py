"""Buying over HTTP: from any trustless gateway, ours or a stranger's, paid by x402 where it asks to be.

Trio, as the rest of the client: an answer's body is received straight into the buffers in which its blocks are verified, and what is
signed is committed by the writer that commits deals.

``WebFetch`` is to a gateway what ``retrieval_client.fetch.Fetch`` is to a peer; ``provider_of`` tells by its address which of the two a
provider is::

    provider = provider_of(text)                                    # a PeerAddress, or a GatewayAddress
    wanted = WebWanted(source=…, provider=provider, spend_max=…, timeout_s=…)
    fetch = WebFetch(wallet, store, writer, wanted, clock=…, open_chain=EvmChain, on_progress=…)
    await fetch.run()                                               # everything is verified and in the store; or RetrievalError
    fetch.tally.spent_sum, fetch.are_receipts_verified

Several may run at once over one wallet and writer, from one gateway too: a channel signs one payment at a time. ``wallet`` may be None
where nothing is to be paid.

========== =============================================================================================================
module     is
========== =============================================================================================================
address    where a gateway is
http1      the answers of HTTP/1.1, as pure parsing
connection one connection: a request, the head of its answer, its body into buffers
intake     verifying what arrives, many blocks at a time, against the walk it must follow
plan       what to ask for next, out of what is held
fetch      the whole: asking, paying, storing, and again after every break
till       paying: offers judged, vouchers signed after they are on disk, charges and receipts checked
channel    what may be signed on one channel, over the books of ``retrieval.deal.outlay``
replies    what a gateway says besides content: refusals, offers, quotes
funding    a channel with a gateway, apart from any fetch; its quotes
leaving    closing such a channel
receipts   rows and files of what was bought
========== =============================================================================================================
"""
