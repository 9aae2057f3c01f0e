"""The HTTP door: content by CID for whatever speaks HTTP, served by processes of their own beside the node.

It is a trustless gateway (ipfs/specs, "Trustless Gateway", 2026-03): blocks and CARs that a client verifies. For people it is a path
gateway too: files, directories, documents. It serves what the block store holds and fetches nothing. Nothing here is imported by a
provider without an HTTP door but ``workers``, which starts the processes; they alone load aiohttp.
"""
