"""The retrieval session protocol, ``/retrieval/session/1.0.0``: the specification, and the code that follows it to the byte.

This page says what the two parties do; four modules say what the bytes are, each with golden vectors under ``tests/vectors``.

============= ==================================================================================== ============================
module        specifies                                                                            vectors
============= ==================================================================================== ============================
``cbor``      the subset of deterministic CBOR that control messages are made of                   ``cbor.json``
``framing``   how messages and blocks share one stream                                             ``framing.json``
``messages``  every message, field by field (``shape`` is how the code declares them)              ``messages.json``
``receipt``   the delivery receipt's fixed layout                                                  ``receipt.json``
============= ==================================================================================== ============================

Vouchers, channel ids and SessionKeys are EIP-712 typed data (``retrieval.payment.channel`` and ``voucher``, ``voucher.json``); the tree
in a receipt is that of RFC 9162 (``retrieval.payment.accumulator``, ``accumulator.json``); errors are in ``retrieval.errors``.

The parties
===========

A *provider* holds blocks and sells their delivery; a *client* buys it. Each is an Ed25519 libp2p peer id. The client pays from a
*channel*, a deposit in a contract from which the provider may claim what *vouchers* promise; a voucher is cumulative over the channel's
life and signed by the channel's ``payerAuthorizer``. Neither trusts the other: the client pays only for bytes it has verified, and the
provider never has more than one window unpaid. Whatever a message promises is on the sender's disk before it leaves.

Every Ed25519 signature covers ``retrieval/<kind>/1``, a zero byte, and the body as it was received, never a re-encoding. Amounts are
integers in the token's smallest unit. No bytes cost nothing, and ``n`` bytes of one deal, rounded up once on the running total::

    flat_fee + ceil(n * price_per_gib / 2^30)

The session
===========

A session is one libp2p stream that the client opens on an authenticated connection. Several sessions may follow one another; deals and
debts outlive them. Nobody waits for an answer unless this page says so, and several frames may share a write.

::

    client                                     provider
    Hello, Present, Query            ->
                                     <-        Hello, ChannelStatus, SignedQuote
    Accept                           ->
                                     <-        Block, Block, Block, ...
    Payment (voucher, receipt)       ->
                                     <-        Block, Block, ...
    Payment (voucher, last receipt)  ->
                                     <-        SignedDone

1. The client sends Hello, and may go on at once. The provider answers with its own Hello before anything else. (A provider without a place
   says Hello and Error without having been asked.) The session speaks the lower minor version and the capabilities that both name; one
   that either requires and the other lacks ends it with ``capability_missing`` and the name.
2. Then anything may come, in any order that the deals below allow. A message of the wrong party, a message before Hello and a second
   Hello are ``unexpected_message``. Ping is answered by Pong with its nonce.
3. Error is the last word and says why. A stream that ends without it was cut, and nobody is to blame yet.

=================== ============= ==========================================================================================
capability          1.0 peers     means
=================== ============= ==========================================================================================
``xfer.blocks``     require it    block frames in depth-first order
``rcpt.1``          require it    receipts of version 1
``xfer.resume``     offer it      an Accept of a known deal takes it up again
``pay.free``        offer it      deals at price zero, without a channel
``pay.evm-channel`` may offer it  deals paid from a channel; a node without a chain does not
=================== ============= ==========================================================================================

What goes wrong ends as little as it can:

============================================ ===================================================================================
what                                         ends
============================================ ===================================================================================
Refuse with ``query_id``                     that query
Refuse with ``channel_id``                   that Present; the channel is not taken
Refuse with ``deal_id`` or ``quote_digest``  that deal on this session. If nothing of it was verified yet, it was never opened. Else
                                             it may be taken up after ``channel_unfunded``, ``over_budget``, ``shutting_down``,
                                             ``rate_limited`` and ``too_many_deals``, and has failed after all others; one that is
                                             all verified and paid only lacks its countersignature
Cancel                                       that deal, with its code as the reason
Error                                        the session; its deals may be taken up on another
============================================ ===================================================================================

Error answers a frame or message that cannot be read or has no place here, a Quote, Accept or Done with a wrong signature, a Quote or Done
that does not fit what was asked or receipted, and a deadline. A Payment, Present or Accept that is well-formed and not acceptable is
answered by Refuse.

Codes are those of ``retrieval.errors``; an unknown one counts as ``internal``. ``retry_after_s`` says when asking again makes sense.

Query and Quote
===============

A Query names a selection (root CID, path, scope, range) and how many blocks from its beginning the client has already (``cursor``), and
may name the highest price it would pay. The order of a selection's blocks is fixed: first those that prove the path, then depth first,
links in the order of their node or document, each distinct CID once at its first appearance. Identity CIDs carry their content: they are
followed, never sent, never counted, never paid. Scopes and ranges mean what ``dag-scope`` and ``entity-bytes`` do (IPIP-402): of what
the path leads to, ``block`` is its one block, ``entity`` a file, or the directory without its entries, ``all`` everything it links to. A
range goes with ``entity`` (else ``unsupported_scope``) and is resolved against the size that the file's root claims: the blocks that hold
bytes of it come, and the nodes above them.

The provider answers with a SignedQuote or a Refuse. ``n_bytes`` and ``n_blocks`` are what the deal may deliver at most, exactly that
where ``exact`` is true. The client refuses a quote (``quote_mismatch``) unless it is signed by this provider, names this client, its
query, selection digest and cursor, and the digest of both Hello bodies as they were sent, ``amount_max`` is what ``n_bytes`` cost, a
price comes with a Settlement and is not above what the query allowed, ``window_first`` holds the largest block and ``pay_interval`` is
not above ``window_max``. A quote lives ``lifetime_s``: by the provider's clock from when it was signed, by the client's from when it
arrived. The deal it may become is ``SHA-256(quote body || client peer id)``, its first 16 bytes.

A Query with ``deal_id`` instead asks for the SignedDone of a past deal; ``deal_unknown`` when there is none.

Channels
========

TermsQuery is answered by Terms: what a channel with this provider must be. Quotes say the same, once there is content.

Present shows a channel: its config, and the SessionKey by which its authorizer lets this peer spend from it, since configs are public.
The provider checks, in this order, that receiver, receiver authorizer and token are its own, that the id follows from the config on its
chain and contract, that there is an authorizer, that the withdraw delay lies within its terms, the SessionKey, and on chain that the
deposit is there and no withdrawal has begun. It answers with ChannelStatus or Refuse. This is the only wait for a chain, and it comes
before any deal. One Present serves all sessions of the two peers until the SessionKey expires.

KnownChannel, in ChannelStatus and in each paid Quote, is what the provider knows: the deposit, its best voucher, and what open windows
reserve. A client whose own best is lower adopts that voucher if its own key signed it, having forgotten it; a client whose own is higher
goes on from the lower one, since the provider never got the payment, unless more was claimed. Both only while no deal of the channel is
open. ChannelStatus, Terms and Refuse that answer nothing the client asked are ignored.

Accept and blocks
=================

An Acceptance names the quote by digest, the channel, and the most the client will pay (``spend_max``). The provider refuses in this
order: ``quote_unknown``, ``quote_expired``, ``too_many_deals``, ``invalid_cursor`` (a new deal begins at 0), then channel, SessionKey,
``channel_closing``, ``debt_outstanding``, and ``channel_unfunded`` when what the deposit still covers does not pay for the first window.

Then blocks come, those of several deals in turns. ``index`` counts the blocks of the deal from 0, behind ``quote.cursor``. The client
checks each: that the payload has the CID's digest (sha2-256 or BLAKE3, all 32 bytes), that index and CID are the next in order, that the
deal stays within ``n_bytes`` and ``n_blocks``. The first that fails ends the deal: the client pays for what it verified before and sends
Cancel. Blocks of deals that are not open are ignored; some may be on their way after Cancel. Pause and Resume hold the blocks of a deal,
not its payments.

Windows
=======

What was sent and is not covered by a receipt that the provider has on disk is *unpaid*. It belongs to the channel, over all its deals,
sessions and restarts. A block leaves when nothing is unpaid, or when unpaid bytes and its own stay within the window::

    window = max(window_first, min(bytes paid over the channel's life / 2, window_max))

What was sent and will not be paid, by deals that are over and by those that were cut off until they are taken up again, is *debt*. One
``window_first`` of it is forgiven a channel; what is above fills the window like unpaid bytes. Paid bytes take as much from the debt of
deals that are over. So at no time more than a window and a ``window_first`` are lost to one payer.

A block leaves only while no withdrawal has begun, the deposit covers its price beyond the best voucher and the windows of other deals,
and ``spend_max`` is kept. When nothing is unpaid and the block still may not leave, the deal is refused with ``debt_outstanding``,
``channel_closing``, ``channel_unfunded`` or ``over_budget``. Where the price is zero, all this belongs to the peer instead of the
channel, and receipts alone open the window.

Payments
========

The client pays as soon as ``pay_interval`` bytes are verified and unpaid, when the selection is complete, before Cancel, and
``PAY_AFTER_S`` after the first block that is verified and unpaid, so that a slow link never waits for an interval. As what a deal has
paid opens the window, the client may wait for a quarter of it, shared among its open deals, where that is more.

A Payment is one voucher and the receipts it pays for, at most one a deal; receipts alone where the price is zero. It is taken whole or
not at all. The provider checks:

1. Seen before, or each receipt is the newest of its deal: nothing happens. Anything may arrive twice.
2. Each receipt is of a deal open on this session (``deal_unknown``), all of one channel (``payment_mismatch``).
3. The receipts' signatures (``bad_signature``) and the voucher's channel and signature (``bad_voucher``).
4. No two receipts of one sequence (``equivocation``); a voucher not below the best (``stale_voucher``).
5. The sums (``payment_mismatch``): every ``channel_amount`` equals the voucher's amount; ``deal_amount`` is what the bytes cost; its
   increases sum to the voucher's; blocks and sequence rise, bytes do not fall.
6. Coverage (``bad_receipt``): each receipt counts a prefix of the blocks sent, and its root is the tree over their CIDs.
7. The voucher is covered by the deposit (``voucher_over_deposit``), and each increase by what was set aside for its deal
   (``channel_unfunded``): a deposit that shrank meanwhile.

Payments are not acknowledged; more blocks are the answer.

The end
=======

When all blocks are sent and receipted, the provider sends SignedDone, which names the last receipt by digest and so countersigns it, with
``complete`` true. The client's success is the verified selection, not Done: without it the receipt is the client's word alone, and a
Query with the deal's id gets it later. A Done before the selection is complete is ``transfer_truncated``. After Cancel the provider
countersigns what was receipted, with ``complete`` false. The last receipt of each deal is the ``prev`` of the next between the two peers.
``retrieval.payment.receipt`` keeps all of it in one file that anyone can check.

Taking up a deal
================

A deal without an end outlives its session, for as long as its quote lives. The client sends an Accept of the same quote, channel and
``spend_max`` with ``cursor``, the blocks of the deal it has verified; then its last Payment once more, in case it was lost; then one for
what it has verified beyond. The provider steps over the blocks, answers payments when it has, and sends on from the cursor. Terms,
receipts and amounts go on where they were. The cursor may not lie before the last receipt, nor claim more unpaid blocks than
``window_max`` holds. An Accept of a deal that its session already serves changes nothing; on another session it moves the deal there.

What was sent beyond the cursor is lost, and becomes debt of the channel. A provider that went down and does not know how much had left
presumes one ``window_first`` until the deal is taken up, and then believes the cursor. A new deal is refused with ``debt_outstanding``
when debts leave no room for its largest block.

When the quote's life ends, what was cut off has failed, and a new Query with a cursor covers the rest. A flat fee is not asked again for
the same selection by the same peer within 24 hours.

Deadlines and limits
====================

Each side keeps its own deadlines, in seconds; who misses one hears the error. A test holds these rows against the code.

===================================================== ========== ===============================================================
name                                                  value      what
===================================================== ========== ===============================================================
``retrieval.deal.client.HELLO_DUE_S``                 5          from the stream to the other side's Hello: ``hello_timeout``
``retrieval.deal.client.QUOTE_DUE_S``                 10         from Query to its answer: ``quote_timeout``
``retrieval.deal.client.FIRST_BLOCK_DUE_S``           15         from Accept to its first block: ``first_block_timeout``
``retrieval.deal.client.PROGRESS_DUE_S``              20         between verified blocks, and to Done: ``transfer_stalled``
``retrieval.deal.client.PAY_AFTER_S``                 0.25       from the first unpaid verified block to its payment
``retrieval.deal.provider.PAYMENT_DUE_S``             15         from the oldest unpaid block, or the last payment, to the next:
                                                                 ``payment_timeout``. A second more for each ...
``retrieval.deal.provider.LINK_RATE_MIN``             65536      ... unpaid bytes, since a slow link may still hold them
``retrieval.wire.cbor.MESSAGE_SIZE_MAX``              65536      bytes of a control frame's body
``retrieval.wire.messages.BLOCK_SIZE_MAX``            2097152    bytes of a block's payload
``retrieval.wire.messages.WINDOW_BYTES_MAX``          1073741824 bytes of any window
``retrieval.wire.messages.LIFETIME_MAX_S``            604800     seconds that a quote lives at most
``retrieval.wire.messages.RECEIPTS_PER_PAYMENT_MAX``  16         receipts in a Payment
``retrieval.deal.hello.DEALS_PER_SESSION_MAX``        16         open deals a session, as Hello says: ``too_many_deals``
``retrieval.deal.provider.QUERIES_PENDING_MAX``       16         unanswered queries a session: ``rate_limited``
``retrieval.deal.provider.PRESENTS_PENDING_MAX``      4          unanswered Presents a session: ``rate_limited``
``retrieval.deal.provider.PARKED_PAYMENTS_MAX``       32         payments while a deal is stepped over: ``rate_limited``
``retrieval.deal.provider.DEALS_PER_LINE_MAX``        64         deals of one channel without an end: ``too_many_deals``
``retrieval.deal.provider.TAKEN_UP_MAX``              256        times one deal is taken up: ``quote_expired``
``retrieval.deal.sale.IN_FLIGHT_BLOCKS_MAX``          16384      blocks of a deal sent and not receipted
===================================================== ========== ===============================================================
"""
