"""Neighbours that are measured beside our node, one a file, each in two processes that cannot leave loopback."""
