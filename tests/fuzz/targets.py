"""What must hold of every parser, whatever bytes it is given: one function a parser, and inputs to begin with.

Its rule: a target takes bytes and returns, or fails. Of the parsers' errors only the two families are let through, and what was read must
be written the same where there is one way to write it. ``run.py`` looks for inputs that fail, under atheris; ``test_targets.py`` tries
mutations of the seeds wherever the tests run.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import golden
from declared_settings import Settings
from fuzz.connection import check_handshake, check_negotiation, check_noise, check_yamux, handshake_seeds, yamux_seeds

from retrieval import _native
from retrieval._native import _pure
from retrieval.cid import BLAKE3, CID_SIZE_MAX, CID_TEXT_MAX, DAG_CBOR, DAG_JSON, DAG_PB, SHA2_256, Cid, cid_of, format_cid, parse_cid
from retrieval.dag import byterange, dag_cbor, dag_json, directory, pb, unixfs
from retrieval.dag.datamodel import links_in
from retrieval.dag.links import links_of
from retrieval.dag.reader import chunks, read_root
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import format_peer_id, parse_peer_id
from retrieval.payment.receipt import ReceiptBundle, verify_bundle
from retrieval.payment.x402.answer import Charged
from retrieval.payment.x402.offer import PaymentRequired
from retrieval.payment.x402.payment import Payment
from retrieval.settings.load import values_in_file
from retrieval.settings.write import write_default
from retrieval.store.car import CarReader
from retrieval.transport.libp2p import parse_address, parse_listen
from retrieval.wire import cbor, shape
from retrieval.wire.framing import FRAME_SIZE_MAX, Block, FrameDecoder
from retrieval.wire.messages import MESSAGE_OF_TYPE, Message
from retrieval.wire.receipt import Receipt

LOADS_MAX: Final = 200  # blocks that one reading is given before they cannot be had any more
HERE: Final = Path(__file__).parent
KEPT: Final = HERE / "kept"
"""Inputs that once failed, in a folder for each target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


def check_cbor(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        value = cbor.decode(data)
        assert cbor.encode(value) == data


def check_messages(data: bytes) -> None:
    cls = MESSAGE_OF_TYPE.get(data[0] if data else 0)
    if cls is None:
        return
    with suppress(RemoteProtocolError):
        message = shape.decode(cls, data[1:])
        assert shape.encode(message) == data[1:]


def check_receipts(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert Receipt.decode(data).encode() == data
    with suppress(RemoteProtocolError, LocalProtocolError):
        bundle = ReceiptBundle.decode(data)
        assert bundle.encode() == data
        verify_bundle(bundle)


def check_framing(data: bytes) -> None:
    """However a stream is cut, it holds the same, and what is kept of it is no more than one frame."""
    if not data:
        return
    step, stream = data[0] + 1, data[1:]
    assert _items(stream, max(1, len(stream))) == _items(stream, step)


def _items(stream: bytes, step: int) -> list[object]:
    decoder = FrameDecoder()
    items: list[object] = []
    try:
        for start in range(0, len(stream), step):
            for item in decoder.feed(stream[start : start + step]):
                items += [_plain(block) for block in item] if isinstance(item, list) else [item]
            assert decoder.n_bytes <= FRAME_SIZE_MAX
    except RemoteProtocolError as error:
        items.append(error.code)
    return items


def _plain(item: Block | Message) -> object:
    return (item.deal_id, item.index, item.cid, bytes(item.payload), item.status) if isinstance(item, Block) else item


def check_native(data: bytes) -> None:
    """The C core says what the plain Python says."""
    if _native.BACKEND != "c":
        return
    from retrieval._native import _core

    offset, frames_max = (data[0] % 8, 1 + data[1]) if len(data) > 1 else (0, 1)
    for function, arguments in (
        ("decode_uvarint", (data, offset)),
        ("parse_cid", (data, offset)),
        ("scan_frames", (data, offset, frames_max)),
        ("verify_frames", (data, offset, frames_max)),
        ("verify_sections", (data, offset, frames_max)),
        ("verify_block", (data[: 4 * offset], data[4 * offset :])),
    ):
        assert _said(getattr(_core, function), arguments) == _said(getattr(_pure, function), arguments)


def _said(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


def check_names(data: bytes) -> None:
    """What people paste: CIDs, peer ids, addresses, ranges."""
    text = data.decode("utf-8", "replace")
    with suppress(RemoteProtocolError):
        cid = parse_cid(text)
        assert len(text) <= CID_TEXT_MAX
        assert len(cid) <= CID_SIZE_MAX
        assert parse_cid(format_cid(cid)) == cid
    with suppress(RemoteProtocolError, LocalProtocolError):
        peer_id = parse_peer_id(text)
        assert parse_peer_id(format_peer_id(peer_id)) == peer_id
    with suppress(RemoteProtocolError, LocalProtocolError):
        address = parse_address(text)
        assert parse_address(str(address)) == address
    with suppress(RemoteProtocolError, LocalProtocolError):
        endpoint = parse_listen(text)
        assert parse_listen(str(endpoint)) == endpoint
    with suppress(RemoteProtocolError, LocalProtocolError):
        start, stop = byterange.ByteRange.parse(text).resolve(1000)
        assert start >= 0
        assert stop <= 1000


def check_nodes(data: bytes) -> None:
    """A block that claims to be a node or a document, read in every way there is."""
    if not data:
        return
    codec, payload = (DAG_PB, DAG_CBOR, DAG_JSON)[data[0] % 3], data[1:]
    with suppress(RemoteProtocolError):
        links_of(cid_of(codec, payload), payload)
    if codec == DAG_PB:
        _check_dag_pb(payload)
    else:
        with suppress(RemoteProtocolError):
            list(links_in((dag_cbor if codec == DAG_CBOR else dag_json).decode(payload)))


def _check_dag_pb(payload: bytes) -> None:
    with suppress(RemoteProtocolError):
        node = pb.decode(payload)
        assert pb.decode(pb.encode(node.links, node.data)).data == node.data
        content = unixfs.decode(node.data or b"")
        assert unixfs.decode(unixfs.encode(content)) == content
        load, cid = _the_same_again(payload), cid_of(DAG_PB, payload)
        if content.is_directory:
            for name in (b"", b"a", *(link.name or b"" for link in node.links[:4])):
                directory.find(node, name, 0)
            list(directory.list_entries(load, cid))
        elif content.is_file:
            for chunk in chunks(load, read_root(cid, payload)):
                assert chunk


def _the_same_again(payload: bytes) -> Callable[[Cid], bytes]:
    """A loader that gives one block for every CID, which no hash prevents a forger of a test from doing; and not without end."""
    n_loads = 0

    def load(cid: Cid) -> bytes:
        nonlocal n_loads
        n_loads += 1
        if n_loads > LOADS_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, "the test gives no more blocks")
        return payload

    return load


def check_car(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        reader = CarReader(io.BytesIO(data))
        for cid, payload in reader:
            assert len(payload) <= len(data)
            assert len(cid) <= CID_SIZE_MAX


def check_headers(data: bytes) -> None:
    """What x402 puts into HTTP headers: JSON, in base64."""
    header = base64.b64encode(data).decode()
    with suppress(RemoteProtocolError):
        offer = PaymentRequired.from_header(header)
        assert PaymentRequired.from_header(offer.to_header()) == offer
        for text in (offer.url, offer.description, offer.error, *(entry.token_name for entry in offer.accepts)):
            text.encode()  # who signs a token's name, or prints the others, can
    with suppress(RemoteProtocolError):
        payment = Payment.from_header(header)
        assert Payment.from_header(payment.to_header()) == payment
    with suppress(RemoteProtocolError):
        Charged.from_header(header)


def check_settings(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(LocalProtocolError):
        values_in_file(Settings, text, Path("config.toml"))


def _vectors(name: str, *sections: str, field: str) -> Iterator[bytes]:
    for section in sections:
        for case in golden.load(name)[section]:
            if isinstance(case[field], str):
                yield bytes.fromhex(case[field])


def _message_seeds() -> Iterator[bytes]:
    for case in golden.load("messages")["messages"]:
        frame = bytes.fromhex(case["frame"])
        _, start = _pure.decode_uvarint(frame, 0)
        yield frame[start:]


def _node_seeds() -> Iterator[bytes]:
    for name in ("dir-v0.car", "trickle-v0.car"):
        for _, payload in CarReader(io.BytesIO((golden.VECTORS / "unixfs" / name).read_bytes())):
            if len(payload) < 1000:
                yield b"\0" + payload
    shard = unixfs.UnixfsNode(type=unixfs.NodeType.HAMT_SHARD, data=b"\x01", hash_type=0x22, fanout=8)
    links = [pb.PBLink(cid_of(DAG_PB, b""), b"0", 0), pb.PBLink(cid_of(DAG_PB, b""), b"1name", 0)]
    yield b"\0" + pb.encode(links, unixfs.encode(shard))
    link = b"\xd8\x2a\x58\x25\x00" + cid_of(DAG_CBOR, b"")
    yield b"\1" + b"\xa2\x61a\x82\x01\x20\x61b" + link
    yield b"\1" + b"\x83\xf5\xf6\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"
    yield b"\2" + b'{"a":[1,-1.5,true,null,"\\u00e9"],"b":{"/":"' + format_cid(cid_of(DAG_CBOR, b"")).encode() + b'"}}'
    yield b"\2" + b'{"/":{"bytes":"AQI"}}'


def _name_seeds() -> Iterator[bytes]:
    for peer in golden.load("identity")["peers"]:
        for text in (peer["text"], peer["text_cid_base36"], peer["text_cid_base32"], f"/dns4/example.com/tcp/4001/p2p/{peer['text']}"):
            yield text.encode()
    for code in (SHA2_256, BLAKE3):
        yield format_cid(Cid(bytes((1, DAG_PB, code, 32)) + bytes(32))).encode()
    yield from (b"/ip4/127.0.0.1/tcp/0", b"/ip6/::1/tcp/65535", b"0:*", b"-5:10")


def _car_seeds() -> Iterator[bytes]:
    for path in sorted((golden.VECTORS / "unixfs").glob("*.car")):
        yield path.read_bytes()[:4096]
    v1 = (golden.VECTORS / "unixfs" / "dir-v0.car").read_bytes()
    header = bytes(16) + (51).to_bytes(8, "little") + len(v1).to_bytes(8, "little") + bytes(8)
    yield bytes.fromhex("0aa16776657273696f6e02") + header + v1


def _settings_seeds() -> Iterator[bytes]:
    yield write_default(Settings, {}).encode()
    yield b'name = "x"\n[serve]\nlisten = ["/ip4/127.0.0.1/tcp/0"]\nprice = "1 USD/GiB"\n'


def _header_seeds() -> Iterator[bytes]:
    address, word, signature = "0x" + "12" * 20, "0x" + "34" * 32, "0x" + "56" * 65
    network = {"network": "eip155:31337", "asset": address, "amount": "1000", "payTo": address, "maxTimeoutSeconds": 60}
    exact = {"scheme": "exact", **network, "extra": {"name": "USD Coin", "version": "2"}}
    channel = {"receiverAuthorizer": address, "withdrawDelay": 900, "minDeposit": "1"}
    batch = {"scheme": "batch-settlement", **network, "extra": {"name": "USD", "version": "2", **channel}}
    offer = {"x402Version": 2, "error": "none", "resource": {"url": "/ipfs", "description": "x"}, "accepts": [exact, batch]}
    times = {"validAfter": "0", "validBefore": "9"}
    transfer = {"from": address, "to": address, "value": "1000", **times, "nonce": word}
    payment = {"x402Version": 2, "accepted": exact, "payload": {"signature": signature, "authorization": transfer}}
    charge = {"success": True, "extra": {"chargedAmount": "5", "channelState": {"chargedCumulativeAmount": "7"}}}
    for members in (offer, payment, charge):
        yield json.dumps(members).encode()
    yield json.dumps(offer | {"error": "\ud800"}).encode()


def _receipt_seeds() -> Iterator[bytes]:
    return _vectors("receipt", "receipts", field="body")


def _framing_seeds() -> Iterator[bytes]:
    return (b"\xff" + data for data in _vectors("framing", "accepted", "refused", field="bytes"))


TARGETS: Final[dict[str, Target]] = {
    "car": Target(check=check_car, seeds=_car_seeds),
    "cbor": Target(check=check_cbor, seeds=lambda: _vectors("cbor", "accepted", "refused", field="encoded")),
    "framing": Target(check=check_framing, seeds=_framing_seeds),
    "headers": Target(check=check_headers, seeds=_header_seeds),
    "handshake": Target(check=check_handshake, seeds=handshake_seeds),
    "messages": Target(check=check_messages, seeds=_message_seeds),
    "names": Target(check=check_names, seeds=_name_seeds),
    "native": Target(check=check_native, seeds=lambda: _vectors("native", "uvarint", "cid", "scan_frames", "verify_frames", field="data")),
    "negotiation": Target(check=check_negotiation, seeds=lambda: [b"\x00\x13/multistream/1.0.0\n\x07/noise\n", b"\x01\x03na\n"]),
    "nodes": Target(check=check_nodes, seeds=_node_seeds),
    "noise": Target(check=check_noise, seeds=lambda: [bytes(20), b"\x03abcdef\x00\x02\x01"]),
    "receipts": Target(check=check_receipts, seeds=_receipt_seeds),
    "settings": Target(check=check_settings, seeds=_settings_seeds),
    "yamux": Target(check=check_yamux, seeds=yamux_seeds),
}


def inputs_of(name: str) -> list[bytes]:
    """The seeds of a target, and what it once failed on."""
    kept = [path.read_bytes() for path in sorted((KEPT / name).glob("*"))]
    return [*TARGETS[name].seeds(), *kept]
