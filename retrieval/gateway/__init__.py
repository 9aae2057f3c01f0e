"""asyncio. What both programs' gateways share: which content is asked for, in which form, what answers it, and how its bytes leave.

A trustless gateway (ipfs/specs, "Trustless Gateway", 2026-03) answers with blocks and CARs that a client verifies; a path gateway shows
people files, directories and documents. Everything here reads one block store and fetches nothing. The provider's door puts a till in
front of it, and the client's gateway a store that waits for what is on its way.
"""
