"""The client's gateway: a CID at an address of this machine, from the cache, for free, or bought within the budget of a token.

Trio fetches and asyncio answers, beside each other in one process (``serve``). A request that finds everything here is answered out of
the store. Any other joins an *errand*: one fetch of one selection, for all who want it. Its readers wait in threads for the blocks, in a
store that looks like any other (``arrivals``), so that what answers a provider's visitors answers ours.
"""
