"""Trio: this node on the network. It listens, dials, and hands out authenticated streams.

Its rule: nothing a peer or a handler does ends the host, and leaving ``open_host`` leaves nothing behind.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import trio

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerId, PeerKey, format_peer_id

from .address import Endpoint, PeerAddress, address_prefix, parse_address, parse_listen
from .channel import SecureChannel
from .connection import IDLE_TIMEOUT_S, LINGER_S, Connection
from .negotiation import Confirmation, answer, proposal
from .upgrade import Identity
from .yamux import WINDOW_INITIAL, Muxer, Remote, Stream

PROTOCOL_ID: Final = "/retrieval/session/1.0.0"

DIAL_TIMEOUT_S: Final = 10.0  # PROTOCOL.md, "Errors and deadlines"
HANDSHAKE_TIMEOUT_S: Final = 10.0  # from accepting a connection to knowing who it is, and from its first stream to the protocol's name

DIALED_WINDOW: Final = 16 * 1024 * 1024  # bytes; a client downloads, at 80 MB/s over 100 ms of round trip: half a window each
ACCEPTED_WINDOW: Final = WINDOW_INITIAL  # bytes; a provider hears short messages, from many peers at once
CONNECTIONS_MAX: Final = 512  # accepted and not yet ended
HANDSHAKES_MAX: Final = 256  # peers that have not yet said who they are
HANDSHAKES_PER_PREFIX_MAX: Final = 64  # one takes some 5 ms; those of peers that stay silent last until the timeout
LISTEN_BACKLOG: Final = 128

StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]

_NAME_FAMILIES: Final = {"dns4": trio.socket.AF_INET, "dns6": trio.socket.AF_INET6}

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_host(peer_key_seed: bytes, listen: Sequence[str] = ()) -> AsyncIterator[Host]:
    """A host that answers as this Ed25519 key, listening on the given multiaddrs (none: it only dials).

    Leaving it closes every connection within 2 s; what streams closed before said is delivered first. Raises
    ``LocalProtocolError(usage)`` for an address that cannot be parsed or bound.
    """
    key = PeerKey.from_seed(peer_key_seed)
    listeners = [listener for text in listen for listener in await _bind(parse_listen(text))]
    try:
        async with trio.open_nursery() as nursery:
            host = Host(nursery, Identity(peer_key_seed), key.peer_id, listeners)
            yield host
            await host.shut_down()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:  # what the caller's block raised: give it back as it was
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise
    finally:
        for listener in listeners:
            listener.socket.close()


class Host:
    """Made by ``open_host``. ``addresses`` are what others dial, with the ports the system chose."""

    def __init__(self, nursery: trio.Nursery, identity: Identity, peer_id: PeerId, listeners: list[trio.SocketListener]) -> None:
        self.peer_id: Final = peer_id
        self.addresses: Final = tuple(str(PeerAddress(endpoint=_bound_to(listener), peer_id=peer_id)) for listener in listeners)
        self._nursery: Final = nursery
        self._identity: Final = identity
        self._listeners: Final = listeners
        self._accepting: Final = trio.CancelScope()
        self._connections: Final[set[Connection]] = set()
        self._handshakes: Final[Counter[str]] = Counter()

    def serve(self, handler: StreamHandler) -> None:
        """Run ``handler`` in a task of its own for every session stream that a peer opens, from now on.

        The stream is closed when the handler returns, and reset when it raises; what it raises is logged and goes no further.
        """
        assert self._listeners, "a host that serves listens"
        self._nursery.start_soon(self._accept_connections, handler)

    async def dial(self, address: str, timeout_s: float = DIAL_TIMEOUT_S) -> Stream:
        """Open a session stream to the peer at a multiaddr, on a connection of its own.

        The peer has proven who it is; what it speaks it confirms while it is being spoken to. Raises ``LocalProtocolError(usage)`` for
        an address that cannot be read, and ``RemoteProtocolError``: ``unsupported_key`` for a peer without an Ed25519 key,
        ``dial_failed`` for all else. The stream raises ``capability_missing`` where its first bytes are received, when the peer speaks
        another protocol.
        """
        target = parse_address(address)
        with trio.move_on_after(timeout_s):
            try:
                return await self._dial(target)
            except RemoteProtocolError as error:
                if error.code is not ErrorCode.TRANSFER_TRUNCATED:
                    raise
                raise RemoteProtocolError(ErrorCode.DIAL_FAILED, f"{target.endpoint}: {error.detail}") from error
        raise RemoteProtocolError(ErrorCode.DIAL_FAILED, f"{target.endpoint}: no answer within {timeout_s:g} s")

    async def shut_down(self) -> None:
        """Accept nothing more; let what was said last arrive where nothing more is to be said; cut the other connections.

        It arrives, and a stock libp2p peer that has not read it when the connection ends loses it all the same: whoever must know that it
        was read waits for an answer, as a buyer does for ``Done``.
        """
        self._accepting.cancel()
        async with trio.open_nursery() as nursery:
            for connection in tuple(self._connections):
                if all(stream.sending_ended.is_set() for stream in connection.muxer.open_streams):
                    nursery.start_soon(connection.part)
                else:
                    connection.cut()

    async def _dial(self, target: PeerAddress) -> Stream:
        socket = await _connect(target.endpoint)
        try:
            channel = await self._identity.secure_dialed(socket, target.peer_id)
        except BaseException:
            await trio.aclose_forcefully(socket)
            raise
        remote = Remote(peer_id=target.peer_id, address=_prefix_of(socket))
        muxer = Muxer(channel, remote=remote, is_dialer=True, receive_window=DIALED_WINDOW)
        stream = muxer.open_stream(proposal(PROTOCOL_ID))
        stream.before_receiving(partial(_confirm, Confirmation(stream, PROTOCOL_ID)))
        connection = Connection(socket, muxer, idle_timeout_s=LINGER_S)
        self._nursery.start_soon(self._keep, connection)
        self._nursery.start_soon(connection.see_off, stream)
        return stream

    async def _accept_connections(self, handler: StreamHandler) -> None:
        with self._accepting:
            await trio.serve_listeners(partial(self._welcome, handler), self._listeners, handler_nursery=self._nursery)

    async def _welcome(self, handler: StreamHandler, socket: trio.SocketStream) -> None:
        """Find out who connected, then carry their streams until they leave or fall idle."""
        prefix = _prefix_of(socket)
        channel = await self._find_out(socket, prefix)
        if channel is None:
            return

        def accept(stream: Stream) -> None:
            self._nursery.start_soon(self._serve_stream, connection, handler, stream)

        remote = Remote(peer_id=channel.peer_id, address=prefix)
        muxer = Muxer(channel, remote=remote, is_dialer=False, receive_window=ACCEPTED_WINDOW, accept=accept)
        connection = Connection(socket, muxer, idle_timeout_s=IDLE_TIMEOUT_S)
        await self._keep(connection)

    async def _find_out(self, socket: trio.SocketStream, prefix: str) -> SecureChannel | None:
        """Who connected: None when there is no room for them, or when they do not prove it in time."""
        if (
            len(self._connections) >= CONNECTIONS_MAX
            or self._handshakes.total() >= HANDSHAKES_MAX
            or self._handshakes[prefix] >= HANDSHAKES_PER_PREFIX_MAX
        ):
            _log.info("%s: connection refused, too many are open", prefix)
            return None
        self._handshakes[prefix] += 1
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                return await self._identity.secure_accepted(socket)
        except RemoteProtocolError as error:
            level = logging.INFO if error.code is ErrorCode.UNSUPPORTED_KEY else logging.DEBUG  # that one is honest, and cannot know
            _log.log(level, "%s: connection refused: %s", prefix, error)
        except trio.TooSlowError:
            _log.debug("%s: connection refused: no handshake within %g s", prefix, HANDSHAKE_TIMEOUT_S)
        finally:
            self._handshakes[prefix] -= 1
            if not self._handshakes[prefix]:
                del self._handshakes[prefix]
        return None

    async def _keep(self, connection: Connection) -> None:
        self._connections.add(connection)
        try:
            await connection.keep()
        finally:
            self._connections.remove(connection)

    async def _serve_stream(self, connection: Connection, handler: StreamHandler, stream: Stream) -> None:
        """Carry a stream to its end. Until then its place is taken, whatever the peer does: no connection has more tasks than places."""
        try:
            await self._serve(handler, stream)
            await connection.see_off(stream)
        finally:
            stream.let_go()

    async def _serve(self, handler: StreamHandler, stream: Stream) -> None:
        """Let the peer name the protocol, then hand the stream over. Whatever goes wrong costs this stream only."""
        peer = format_peer_id(stream.peer_id)
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                await answer(stream, PROTOCOL_ID)
        except (RetrievalError, trio.TooSlowError) as error:
            _log.debug("%s: stream refused: %s", peer, error)
            await stream.reset()
            return
        try:
            await handler(stream)
            await stream.close()
        except RetrievalError as error:
            _log.info("%s: session ended early: %s", peer, error)
            await stream.reset()
        except Exception:  # noqa: BLE001 — a fault of ours in one session must not end the others
            _log.exception("%s: session failed inside", peer)
            await stream.reset()


async def _bind(endpoint: Endpoint) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(endpoint.port, host=endpoint.host, backlog=LISTEN_BACKLOG))
    except OSError as error:
        raise LocalProtocolError(ErrorCode.USAGE, f"cannot listen on {endpoint}: {error.strerror or error}") from error


async def _connect(endpoint: Endpoint) -> trio.SocketStream:
    """A TCP connection; the name is looked up first if there is one. Raises ``RemoteProtocolError(dial_failed)``."""
    host = endpoint.host
    try:
        if endpoint.family in _NAME_FAMILIES:
            found = await trio.socket.getaddrinfo(host, endpoint.port, _NAME_FAMILIES[endpoint.family], trio.socket.SOCK_STREAM)
            host = found[0][4][0]
        stream = await trio.open_tcp_stream(host, endpoint.port)
    except (OSError, UnicodeError) as error:
        raise RemoteProtocolError(ErrorCode.DIAL_FAILED, f"{endpoint}: {_reason(error)}") from error
    return stream


async def _confirm(confirmation: Confirmation) -> None:
    with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
        return await confirmation.wait()
    raise RemoteProtocolError(ErrorCode.DIAL_FAILED, f"it names no protocol within {HANDSHAKE_TIMEOUT_S:g} s")


def _reason(error: BaseException) -> str:
    """Why a connection failed; Trio keeps the reason of each address it tried one or two levels down."""
    while cause := error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__:
        error = cause
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(getattr(error, "strerror", None) or error)


def _prefix_of(socket: trio.SocketStream) -> str:
    try:
        return address_prefix(socket.socket.getpeername()[0])
    except OSError:  # the peer has left already; the first read will say so
        return "unknown"


def _bound_to(listener: trio.SocketListener) -> Endpoint:
    host, port = listener.socket.getsockname()[:2]
    return Endpoint(family="ip6" if ":" in host else "ip4", host=host, port=port)
