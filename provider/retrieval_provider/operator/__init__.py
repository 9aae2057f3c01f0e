"""The operator's view: what is earned and how it goes, on a page, in metrics and in checks. In a process of its own, beside the node.

The node counts (``tally``, ``counting``), looks after itself (``health``) and tells what is going on now (``live``); the process behind
``worker`` reads the journal beside it and shows all of it. Nothing here changes anything: prices and claims are the command line's.
"""
