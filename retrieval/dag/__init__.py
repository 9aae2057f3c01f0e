"""Content as DAGs: files into blocks, blocks into files, and the order in which blocks are delivered.

``walk`` is what both sides of a deal share; ``entity`` and ``byterange`` say what of a DAG it takes when not everything is wanted.
``importer`` and ``exporter`` meet the disk; ``measure`` says what a delivery comes to; ``lookup`` and ``reader`` are for whoever shows
content to people. Below them ``directory`` (with ``hamt``), ``filenode`` and ``path`` know UnixFS, ``links`` knows what any block links to
and ``block`` what a CID announces. ``pb`` and ``unixfs`` are codecs over ``protobuf``, ``dag_cbor`` and ``dag_json`` codecs of the
``datamodel``. Nothing here meets a socket, and all of it stands on the port in ``retrieval/store/blocks.py``.
"""
