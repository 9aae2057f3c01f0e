"""The loops that bytes go through, in C where it is built and in Python everywhere.

``RETRIEVAL_NATIVE=require`` refuses to run without the C extension, ``off`` ignores it; unset takes the C extension when it is
there. ``_pure`` defines correct: the C must agree with it byte for byte.
"""

from retrieval._native._pure import encode_uvarint, decode_uvarint, parse_cid

BACKEND = "pure"

__all__ = ["BACKEND", "decode_uvarint", "encode_uvarint", "parse_cid"]
