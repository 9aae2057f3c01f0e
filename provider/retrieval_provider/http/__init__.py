"""The HTTP door: content by CID for whatever speaks HTTP, served by processes of their own beside the node.

What it answers is ``retrieval.gateway``'s; here stand the routes, the till, and the processes. Nothing here is imported by a provider
without an HTTP door but ``workers``, which starts the processes; they alone load aiohttp.
"""
