"""Content as DAGs: files into blocks, blocks into files, and the order in which blocks are delivered.

``walk`` is what both sides of a deal share. ``importer`` and ``exporter`` meet the disk; ``measure`` says what a delivery comes to. Below
them ``directory`` (with ``hamt``) and ``path`` know names, ``block`` knows what a CID announces, and ``pb`` and ``unixfs`` are the two
codecs over ``protobuf``. Nothing here meets a socket, and all of it stands on the port in ``retrieval/store/blocks.py``.
"""
