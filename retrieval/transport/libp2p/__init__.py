"""Trio: streams to other peers over libp2p: TCP, Noise, Yamux. The only door to ``cryptography``."""

from .address import PeerAddress, address_prefix, parse_address, parse_listen
from .host import PROTOCOL_ID, Host, open_host
from .yamux import Stream

__all__ = ["PROTOCOL_ID", "Host", "PeerAddress", "Stream", "address_prefix", "open_host", "parse_address", "parse_listen"]
