"""The retrieval market protocol: content-addressed data, sold by the window, paid for when verified.

``retrieval`` is the library both programs stand on. It can be used without either: the deal machines in ``retrieval.deal`` take
messages and a time, and never reach a socket, a clock or a disk.
"""
