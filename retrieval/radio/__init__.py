"""The radio's protocol, version 1: control records and blocks of a few KiB over LoRa, hop by hop, each hop paid.

This page says every byte and every rule. Python, the C core and the firmware follow it; the vectors hold all three together.

============= ==================================================================================== ============================
module        specifies                                                                            vectors
============= ==================================================================================== ============================
``packet``    the frame, its verdicts, what a relay does to it, the cost vector                     ``radio_packet.json``
``codes``     numbers of one and two bytes                                                         ``radio_packet.json``
``advert``    who is on the air, and who is paid                                                   ``radio_packet.json``
``proof``     receipts of relays and of destinations                                               ``radio_packet.json``
``payload``   want, quote, segment, acknowledgement                                                ``radio_packet.json``
``airtime``   how long a frame takes                                                               ``radio_airtime.json``
``regions``   which bands there are, how much of an hour and of a second they allow                 ``radio_airtime.json``
``duty``      what a node has sent within an hour                                                  ``radio_airtime.json``
============= ==================================================================================== ============================

Integers are unsigned and big-endian. A node is an Ed25519 key; its *radio id* is the first 8 bytes of SHA-256 over the public key, its
*tag* the first 4 of those.

The frame
=========

============ ======= =================================================================================== ==========
offset       bytes   field                                                                               immutable
============ ======= =================================================================================== ==========
0            1       version, 1, in the high four bits; type in the low four                             yes
1            1       hop limit, 0 to 8, in the high four bits; flags: 1 direct, the others zero          yes
2            1       n, the payload's length                                                             yes
3            4       packet id: the origin never uses one twice, over restarts too                       yes
7            8       origin, a radio id                                                                  yes
15           8       destination, a radio id, or zeros: everyone                                         yes
23           2       fee cap, a code16: what all relays together may ask                                 yes
25           n       payload                                                                             yes
25 + n       1       hops: relays that have carried it                                                   no
26 + n       2       latency, a code16 of milliseconds: the sum over relays                              no
28 + n       1       bandwidth, a code8 of bits per second: the least on the way                         no
29 + n       1       MTU, the longest frame in bytes: the least on the way                               no
30 + n       8       token                                                                               no
38 + n       6 t     trail: t entries of tag (4) and fee (2, a code16)                                   no
38 + n + 6 t 2       CRC-16/IBM-3740 over all before it; each sender computes it                         no
============ ======= =================================================================================== ==========

The **packet hash** is the first 16 bytes of SHA-256 over the immutable part, which is a prefix. The **cost vector** is price (the sum of
the trail's fees), latency, bandwidth, hops and MTU; price and hops are exact, since the trail says them. Where a vector travels without
its trail it has 7 bytes: price (code16), latency (code16), bandwidth (code8), hops, MTU.

In a *flood* the trail grows: t = hops. In a *direct* packet the origin wrote it whole, with the fees it offers: t = hop limit, and the
first ``hops`` entries are behind it. A frame always leaves room for all hops it allows: ``40 + n + 6 * hop limit <= 255``.

Bytes are refused for the first of these reasons: size (below 40, above 255), CRC, version, type, flags (or hop limit above 8), payload
(no room for it in the frame, or for the hop limit), hops above the hop limit, a length that is not ``40 + n + 6 t``, direct to everyone,
a fee cap on a type that is free.

==== ========= ============================================================================ ==== ======== ==========
type name      payload                                                                      fee  priority deadline s
==== ========= ============================================================================ ==== ======== ==========
7    ACK       ``payload.Ack``: which segments came                                         free 0        20
4    VOUCHER   ``payload.Segment`` of a Payment: voucher and receipts                       yes  1        60
5    RECEIPT   ``proof``: a delivery receipt or a relay's receipt                           free 1        120
2    WANT      ``payload.Want``: who has this CID?                                          yes  2        30
3    QUOTE     ``payload.Quote``: I have; so large, at this price, over this way            yes  2        30
8    RECORD    ``payload.Segment`` of any other message of ``retrieval.wire``               yes  2        60
6    FRAGMENT  ``payload.Segment`` of a block frame, checked against its CID when whole     yes  3        120
1    ADVERT    ``advert``: who I am, whom you pay                                           free 3        300
==== ========= ============================================================================ ==== ======== ==========

A relay's queue goes by priority; of one priority the older goes first, and what is older than its deadline is dropped. The lowest
priority gets at least every tenth frame that leaves, if one of it waits.

What a relay does
=================

1. Refuses what is no packet, and drops what it sent itself, what is for itself (after handing it to its host), and what has no hop left.
2. Direct: carries it on only if entry number ``hops`` of the trail has its tag.
3. Fees, unless the type is free. Flood: the trail's fees and its own must not be above the fee cap. Direct: the entry must offer at
   least its fee, and the whole trail must not be above the cap.
4. The frame as it would leave must fit its own MTU.
5. Then it adds one to hops; adds its latency, rounding up; takes the lesser bandwidth, rounding down, and the lesser MTU; replaces the
   token by ``SHA-256(token || packet hash || its radio id || fee)[:8]``, the fee as the two bytes in its entry; in a flood appends its
   entry {tag, its fee}; and computes the CRC. A direct entry stays as the origin wrote it, and what it offers is the fee.

``packet.carriage`` has these rules in their order; ``packet.carry`` has the result.

**Twice heard.** A node remembers the first 8 bytes of the hash of each flood it *sent on*, and the code16 (rounded up) of the price it
had when it came; not of what it merely heard, or refused: a copy over a dear way must not block the cheap one. It carries a packet on
again only if it came cheaper than ever before, and at most 3 times in all. A direct packet is carried once. A destination acts on the
first copy, and answers over the cheapest. What is remembered is forgotten after 10 minutes, or when 128 newer ones came.

The trail cannot be rewritten
=============================

The origin sends ``HMAC-SHA-256(trail key, packet hash)[:8]`` as the token; the trail key is its secret. Each relay folds itself into the
token and forgets the old one, as Ariadne (Hu, Perrig and Johnson, 2002) does with its list of nodes. Whoever got a packet from a relay
has only the token behind that relay: to cut it out of the trail, or to change its tag or fee, it would need the token before. The
origin, which alone can compute the first token, holds the trail of a delivery receipt against the last one, with full radio ids, so that
a tag that was ground to look like another's does not pass; and pays nobody on a trail that fails. It knows then which relays to avoid.

Chosen over signatures, which have 64 bytes an entry, and over a MAC an entry under a key of relay and origin: that takes 4 to 8 bytes an
entry, a Diffie-Hellman and a table of keys in each relay, and does not keep an entry from being cut out. What the token does not stop: a
relay that also heard the packet from before its neighbour may leave that neighbour out, since it could have done without; and any relay
may append entries of its own behind itself, which is the same as asking more: the fee cap bounds both, and the cheaper way wins.

Who owes what
=============

The origin of a packet owes each relay on its trail the fee of its entry, once, against the relay's own receipt *and* a delivery receipt
over this packet, trail and fees; over all delivery receipts of one packet never more than its cap. Fees are in millionths of the
token's unit: the smallest unit of a token of six decimals. A packet that is lost costs nothing. A relay's operator presents its
receipts to the origin over IP and is paid by a voucher: ``account``. Free types have cap zero; what relays write into the trail of an
advertisement is what they would ask, so that it is a price list of the way back, and nobody owes it.

Want, quote, session
====================

A client floods a Want. A provider that holds the CID answers with a Quote, direct, over the reversed trail with the fees that were asked
there. It says how large the content is: who may not carry so much over this transport hears ``too_large_for_transport`` before anything
is paid. Then the client opens a *session*: the messages of ``retrieval.wire``, unchanged, compressed with a dictionary both know
(``compact``), cut to segments and acknowledged (``bearer``). Quotes, vouchers and receipts that count are the signed ones in there.

Quote, Segment and Ack end in a *seal*, the first 4 bytes of HMAC-SHA-256 over the immutable part without the seal, under a key that the
two nodes have from X25519 over their identity keys. It keeps strangers from breaking a session with forged segments; money does not rest
on it.

Sending
=======

Every transmission counts against the sub-band's duty budget before it starts, by ``airtime``: a sliding hour, kept as 61 buckets of one
minute. A node that restarted counts as spent at least what it may have sent in the hour before: the firmware what it had set aside in
flash, an eighth of the budget at a time, and whoever has kept nothing all of it. A frame above a band's dwell limit is not sent. A host
may lower a budget and never raise it.

A station lets the way clear: after a frame that relays carry on it is silent for the time that the frame takes on so many of them, at most
three, and a quarter more. A relay that still carries the last frame does not hear the next.

The code
========

============= ====================================================================================================
module        does
============= ====================================================================================================
``station``   a node at the end of the radio: frames and ``now`` in, frames, records and events out
``bearer``    one session: what is written there is read here. ``assembly`` puts records together, ``compact`` makes
              them small
``delivery``  which packets arrived and are to be receipted
``account``   what an origin owes relays, and the payment on both sides
``lottery``   prizes in place of fees, by the VRF of RFC 9381 (``vrf``, ``radio_vrf.json``)
``modem``     the host's end of the line to a board, in ``kiss`` frames (``radio_kiss.json``)
============= ====================================================================================================

``retrieval.transport.serial`` and ``.radio`` give them a port and a clock.
"""
