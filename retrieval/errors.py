"""The one registry of errors: exceptions, wire codes, HTTP status, shell exit status, documentation and metric labels.

Numbers are part of the protocol and are never reused. An error says what happened (``summary`` and the detail given where it was
raised), whose doing it was (``blame``) and what to try (``hint``, ``retry``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

DETAIL_MAX: Final = 256  # characters of free text that may cross the wire or reach a log


class Blame(Enum):
    """The party whose doing the error was."""

    CLIENT = "client"
    PROVIDER = "provider"
    CHAIN = "chain"
    NETWORK = "network"
    OPERATOR = "operator"
    """The person at this machine: a flag, a file, a full disk."""


class Retry(Enum):
    """Whether the same request can be expected to work later."""

    NO = "no"
    LATER = "later"
    """The same peer, after ``retry_after_s``."""
    ELSEWHERE = "elsewhere"
    """Another peer."""


class Exit(IntEnum):
    """Exit status of the command line programs (PROTOCOL.md, "Errors and deadlines")."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    BUDGET = 3
    NOT_FOUND = 4
    PAYMENT = 5
    PEER = 6
    RESUMABLE = 7


class ErrorCode(IntEnum):
    """Number of an error on the wire."""

    # 1xx hello and capabilities
    MALFORMED_FRAME = 101
    FRAME_TOO_LARGE = 102
    MALFORMED_MESSAGE = 103
    UNEXPECTED_MESSAGE = 104
    VERSION_UNSUPPORTED = 105
    CAPABILITY_MISSING = 106
    BAD_SIGNATURE = 107
    UNSUPPORTED_KEY = 108
    HELLO_TIMEOUT = 109
    DIAL_FAILED = 110
    MALFORMED_REQUEST = 111
    REQUEST_TOO_LARGE = 112
    UNKNOWN_ROUTE = 113
    UNSUPPORTED_METHOD = 114
    MISDIRECTED_REQUEST = 115
    UNAUTHORIZED = 116
    ADDRESS_TOO_LONG = 117
    BODY_TOO_LARGE = 118
    BODY_ENCODED = 119
    FORBIDDEN = 120
    # 2xx lookup
    NOT_FOUND = 201
    PATH_NOT_FOUND = 202
    UNSUPPORTED_SCOPE = 203
    UNSUPPORTED_CODEC = 204
    INVALID_CID = 205
    DAG_TOO_LARGE = 206
    INVALID_CURSOR = 207
    INVALID_PATH = 208
    INVALID_RANGE = 209
    UNSUPPORTED_FORMAT = 210
    RANGE_NOT_SATISFIABLE = 211
    NOT_CACHED = 212
    INSIDE_DOCUMENT = 213
    CONTENT_GONE = 214
    CONTENT_RESTRICTED = 215
    # 3xx quote and budget
    QUOTE_EXPIRED = 301
    QUOTE_UNKNOWN = 302
    QUOTE_MISMATCH = 303
    OVER_BUDGET = 304
    PRICE_TOO_HIGH = 305
    QUOTE_TIMEOUT = 306
    INVALID_AMOUNT = 307
    INVALID_SIZE = 308
    INVALID_ADDRESS = 309
    SPENDING_NOT_ALLOWED = 310
    # 4xx payment
    CHANNEL_MISSING = 401
    CHANNEL_UNACCEPTABLE = 402
    CHANNEL_UNFUNDED = 403
    CHANNEL_CLOSING = 404
    SESSION_KEY_MISSING = 405
    SESSION_KEY_INVALID = 406
    BAD_VOUCHER = 407
    STALE_VOUCHER = 408
    VOUCHER_OVER_DEPOSIT = 409
    PAYMENT_MISMATCH = 410
    PAYMENT_TIMEOUT = 411
    DEBT_OUTSTANDING = 412
    WRONG_CHAIN = 413
    RPC_UNAVAILABLE = 414
    TRANSACTION_FAILED = 415
    WALLET_INSUFFICIENT = 416
    SLOW_SIGNATURES = 417
    CHANNEL_BUSY = 418
    CHANNEL_TIMEOUT = 419
    PAYMENT_REQUIRED = 420
    MALFORMED_PAYMENT = 421
    PAYMENT_USED = 422
    PAYMENT_IN_FLIGHT = 423
    # 5xx transfer
    CORRUPT_BLOCK = 501
    UNEXPECTED_BLOCK = 502
    BLOCK_TOO_LARGE = 503
    TRANSFER_TRUNCATED = 504
    TRANSFER_STALLED = 505
    FIRST_BLOCK_TIMEOUT = 506
    QUOTE_EXCEEDED = 507
    WINDOW_EXCEEDED = 508
    MALFORMED_BLOCK = 509
    MALFORMED_CAR = 510
    CANCELLED = 511
    TOO_LARGE_FOR_TRANSPORT = 512
    # 6xx receipt and settlement
    BAD_RECEIPT = 601
    RECEIPT_UNSIGNED = 602
    DEAL_UNKNOWN = 603
    EQUIVOCATION = 604
    MALFORMED_RECEIPT = 605
    # 7xx limits and policy
    RATE_LIMITED = 701
    TOO_MANY_SESSIONS = 702
    TOO_MANY_DEALS = 703
    SHUTTING_DOWN = 704
    # 9xx internal and storage
    INTERNAL = 901
    STORE_FULL = 902
    DISK_FULL = 903
    STATE_LOCKED = 904
    JOURNAL_BROKEN = 905
    STORE_BROKEN = 906
    CONFIG_INVALID = 907
    SECRET_EXPOSED = 908
    NOT_INITIALISED = 909
    FILE_UNREADABLE = 910
    USAGE = 911
    ALREADY_INITIALISED = 912
    CONTROL_UNAVAILABLE = 913
    CONTENT_IN_USE = 914
    RADIO_UNAVAILABLE = 915

    @property
    def label(self) -> str:
        """The name used in logs, metrics, JSON and problem documents: ``stale_voucher``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """What is known about one error before it happens."""

    summary: str
    hint: str
    blame: Blame
    retry: Retry
    http_status: int
    exit_status: Exit


class RetrievalError(Exception):
    """An error of the registry, with what happened this time. ``detail`` may be shown to the other party: no secrets, no paths."""

    def __init__(self, code: ErrorCode, detail: str = "", *, retry_after_s: int | None = None) -> None:
        self.code: Final = code
        self.detail: Final = detail[:DETAIL_MAX]
        self.retry_after_s: Final = retry_after_s
        super().__init__(code, self.detail)

    def __str__(self) -> str:
        return f"{self.row.summary}: {self.detail}" if self.detail else self.row.summary

    @property
    def row(self) -> ErrorRow:
        return REGISTRY[self.code]


class LocalProtocolError(RetrievalError):
    """We, or the person at this machine, asked for something that cannot be done."""


class RemoteProtocolError(RetrievalError):
    """The other party, or bytes from outside, broke a rule or refused us."""


_CLIENT, _PROVIDER, _CHAIN, _NETWORK, _OPERATOR = Blame.CLIENT, Blame.PROVIDER, Blame.CHAIN, Blame.NETWORK, Blame.OPERATOR
_NO, _LATER, _ELSEWHERE = Retry.NO, Retry.LATER, Retry.ELSEWHERE
_C = ErrorCode

# fmt: off
REGISTRY: Final[dict[ErrorCode, ErrorRow]] = {
    _C.MALFORMED_FRAME:      ErrorRow("the peer sent bytes that are not a frame", "the peer is broken or hostile; use another", _NETWORK, _ELSEWHERE, 400, Exit.PEER),
    _C.FRAME_TOO_LARGE:      ErrorRow("the peer announced a frame above the limit", "the peer is broken or hostile; use another", _NETWORK, _ELSEWHERE, 413, Exit.PEER),
    _C.MALFORMED_MESSAGE:    ErrorRow("the peer sent a message that does not follow its format", "the peer is broken, hostile or of another version; use another", _NETWORK, _ELSEWHERE, 400, Exit.PEER),
    _C.UNEXPECTED_MESSAGE:   ErrorRow("the peer sent a message that has no place in this state", "the peer is broken or hostile; use another", _NETWORK, _ELSEWHERE, 400, Exit.PEER),
    _C.VERSION_UNSUPPORTED:  ErrorRow("no protocol version in common", "update the older of the two programs", _NETWORK, _ELSEWHERE, 505, Exit.PEER),
    _C.CAPABILITY_MISSING:   ErrorRow("a required capability is missing on the other side", "update the older of the two programs, or use another peer", _NETWORK, _ELSEWHERE, 501, Exit.PEER),
    _C.BAD_SIGNATURE:        ErrorRow("a signature does not verify", "the message was altered or signed by another key; use another peer", _NETWORK, _ELSEWHERE, 400, Exit.PEER),
    _C.UNSUPPORTED_KEY:      ErrorRow("the peer's identity is not an Ed25519 key", "only Ed25519 identities may buy or sell", _NETWORK, _ELSEWHERE, 400, Exit.PEER),
    _C.HELLO_TIMEOUT:        ErrorRow("the peer did not say hello in time", "check the address, then try again", _NETWORK, _LATER, 504, Exit.PEER),
    _C.DIAL_FAILED:          ErrorRow("the peer could not be reached", "check that the provider runs and that the address is right", _NETWORK, _LATER, 502, Exit.PEER),
    _C.MALFORMED_REQUEST:    ErrorRow("the HTTP request cannot be understood", "mend the header or query parameter that is named", _CLIENT, _NO, 400, Exit.PEER),
    _C.REQUEST_TOO_LARGE:    ErrorRow("the HTTP request is above the limits", "shorten its address and headers, and send no body", _CLIENT, _NO, 431, Exit.PEER),
    _C.UNKNOWN_ROUTE:        ErrorRow("nothing is served at this address", "content is at /ipfs/CID, providers of it at /routing/v1/providers/CID", _CLIENT, _NO, 404, Exit.PEER),
    _C.UNSUPPORTED_METHOD:   ErrorRow("this address does not answer that method", "use GET or HEAD", _CLIENT, _NO, 405, Exit.PEER),
    _C.MISDIRECTED_REQUEST:  ErrorRow("the request names a host that this machine does not go by", "ask at a loopback address, such as 127.0.0.1", _CLIENT, _NO, 421, Exit.PEER),
    _C.UNAUTHORIZED:         ErrorRow("a token is needed, and what came is none or not a good one", "send Authorization: Bearer and a token that is valid here", _CLIENT, _NO, 401, Exit.PEER),
    _C.ADDRESS_TOO_LONG:     ErrorRow("the address of the HTTP request is above the limit", "ask for the CID of a folder further down its path", _CLIENT, _NO, 414, Exit.PEER),
    _C.BODY_TOO_LARGE:       ErrorRow("the HTTP request has a larger body than is taken here", "send none with GET and HEAD, and elsewhere a smaller one", _CLIENT, _NO, 413, Exit.PEER),
    _C.BODY_ENCODED:         ErrorRow("the body of the HTTP request is compressed", "send it as it is: nothing is unpacked here", _CLIENT, _NO, 415, Exit.PEER),
    _C.FORBIDDEN:            ErrorRow("the token does not allow this", "use a token that has the scope, and is good for the web page, that is named", _CLIENT, _NO, 403, Exit.PEER),

    _C.NOT_FOUND:            ErrorRow("the provider does not have this CID", "ask another provider, or have it added", _PROVIDER, _ELSEWHERE, 404, Exit.NOT_FOUND),
    _C.PATH_NOT_FOUND:       ErrorRow("the path does not exist below this CID", "check the path; `get` of the directory shows its names", _CLIENT, _NO, 404, Exit.NOT_FOUND),
    _C.UNSUPPORTED_SCOPE:    ErrorRow("this scope is not served", "a range goes with the scope 'entity'", _CLIENT, _NO, 501, Exit.USAGE),
    _C.UNSUPPORTED_CODEC:    ErrorRow("the codec or hash of this CID is not supported", "raw, dag-pb, DAG-CBOR, DAG-JSON, CBOR, JSON, sha2-256 and BLAKE3 are", _CLIENT, _NO, 406, Exit.USAGE),
    _C.INVALID_CID:          ErrorRow("this is not a CID", "a CID looks like bafybei… or Qm…", _CLIENT, _NO, 400, Exit.USAGE),
    _C.DAG_TOO_LARGE:        ErrorRow("the DAG is larger or deeper than the limit", "fetch it in parts, by path", _PROVIDER, _NO, 413, Exit.PEER),
    _C.INVALID_CURSOR:       ErrorRow("the resume position does not fit this deal", "ask for a new quote", _CLIENT, _NO, 400, Exit.PEER),
    _C.INVALID_PATH:         ErrorRow("this is not a usable path", "a path is names joined by '/', without '..'", _CLIENT, _NO, 400, Exit.USAGE),
    _C.INVALID_RANGE:        ErrorRow("this is not a usable range of bytes", "write ranges like '0:1023', '4096:*' or '-1024:*'", _CLIENT, _NO, 400, Exit.USAGE),
    _C.UNSUPPORTED_FORMAT:   ErrorRow("the content cannot be had in this format", "ask for the block with ?format=raw, or for its DAG with ?format=car", _CLIENT, _NO, 406, Exit.USAGE),
    _C.RANGE_NOT_SATISFIABLE: ErrorRow("no byte of the range lies inside the content", "ask for a range that begins before the content ends", _CLIENT, _NO, 416, Exit.USAGE),
    _C.NOT_CACHED:           ErrorRow("the content is not here, and only what is here was asked for", "ask again without only-if-cached, or elsewhere", _PROVIDER, _ELSEWHERE, 412, Exit.NOT_FOUND),
    _C.INSIDE_DOCUMENT:      ErrorRow("the path leads to a value inside a document", "ask for the document that holds it, and read the value there", _CLIENT, _NO, 501, Exit.USAGE),
    _C.CONTENT_GONE:         ErrorRow("the provider serves this content no longer", "ask another provider", _PROVIDER, _ELSEWHERE, 410, Exit.NOT_FOUND),
    _C.CONTENT_RESTRICTED:   ErrorRow("the provider may not serve this content", "it is withheld on legal grounds here; they can differ elsewhere", _PROVIDER, _NO, 451, Exit.NOT_FOUND),

    _C.QUOTE_EXPIRED:        ErrorRow("the quote has expired", "ask for a new quote", _CLIENT, _LATER, 410, Exit.PEER),
    _C.QUOTE_UNKNOWN:        ErrorRow("the provider does not know this quote", "ask for a new quote", _CLIENT, _LATER, 404, Exit.PEER),
    _C.QUOTE_MISMATCH:       ErrorRow("the quote is not an answer to our query", "the provider is broken or hostile; use another", _PROVIDER, _ELSEWHERE, 400, Exit.PEER),
    _C.OVER_BUDGET:          ErrorRow("it would cost more than the budget allows", "raise --max-spend or wallet.per_fetch, or ask a cheaper provider", _CLIENT, _ELSEWHERE, 402, Exit.BUDGET),
    _C.PRICE_TOO_HIGH:       ErrorRow("the provider asks more than the price the query named", "offer a higher price, or ask another provider", _CLIENT, _ELSEWHERE, 402, Exit.BUDGET),
    _C.QUOTE_TIMEOUT:        ErrorRow("the provider did not quote in time", "try again, or ask another provider", _PROVIDER, _LATER, 504, Exit.PEER),
    _C.INVALID_AMOUNT:       ErrorRow("this is not a usable amount", "write amounts like '0.05 USD' and prices like '0.01 USD/GiB'", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.INVALID_SIZE:         ErrorRow("this is not a usable size", "write sizes like '10 GiB' or '512'", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.INVALID_ADDRESS:      ErrorRow("this is not an EVM address", "write it as 0x and 40 hex digits, as wallets show it", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.SPENDING_NOT_ALLOWED: ErrorRow("this content has a price, and the request may not spend", "send Authorization: Bearer and a token that may spend; `retrieval-client token new` makes one", _CLIENT, _ELSEWHERE, 402, Exit.BUDGET),

    _C.CHANNEL_MISSING:      ErrorRow("there is no payment channel with this provider", "open one with `retrieval-client fund AMOUNT --provider ADDR`", _CLIENT, _NO, 402, Exit.PAYMENT),
    _C.CHANNEL_UNACCEPTABLE: ErrorRow("the payment channel does not meet the provider's terms", "open another with `retrieval-client fund AMOUNT --provider ADDR`", _CLIENT, _NO, 402, Exit.PAYMENT),
    _C.CHANNEL_UNFUNDED:     ErrorRow("the payment channel does not hold enough", "top it up with `retrieval-client fund AMOUNT --provider ADDR`", _CLIENT, _LATER, 402, Exit.PAYMENT),
    _C.CHANNEL_CLOSING:      ErrorRow("a withdrawal from the payment channel has begun", "open another channel", _CLIENT, _NO, 402, Exit.PAYMENT),
    _C.SESSION_KEY_MISSING:  ErrorRow("the channel's owner has not vouched for this client", "send the SessionKey with the first Accept", _CLIENT, _LATER, 402, Exit.PAYMENT),
    _C.SESSION_KEY_INVALID:  ErrorRow("the SessionKey does not verify, or has expired", "sign a new one with the channel's authorizer", _CLIENT, _NO, 402, Exit.PAYMENT),
    _C.BAD_VOUCHER:          ErrorRow("the voucher is not signed by the channel's authorizer", "the client is broken or hostile", _CLIENT, _NO, 402, Exit.PAYMENT),
    _C.STALE_VOUCHER:        ErrorRow("the voucher is below one already given", "adopt the best voucher that the quote carries, then pay on", _CLIENT, _LATER, 409, Exit.PAYMENT),
    _C.VOUCHER_OVER_DEPOSIT: ErrorRow("the voucher promises more than the channel holds", "top the channel up with `retrieval-client fund`", _CLIENT, _LATER, 402, Exit.PAYMENT),
    _C.PAYMENT_MISMATCH:     ErrorRow("the sums of voucher and receipts disagree", "the client is broken or hostile", _CLIENT, _NO, 400, Exit.PAYMENT),
    _C.PAYMENT_TIMEOUT:      ErrorRow("a payment was due and did not come", "reconnect and pay for what was verified", _CLIENT, _LATER, 408, Exit.PAYMENT),
    _C.DEBT_OUTSTANDING:     ErrorRow("delivered bytes of this channel were never paid", "pay for what was verified, then ask again", _CLIENT, _LATER, 402, Exit.PAYMENT),
    _C.WRONG_CHAIN:          ErrorRow("the chain is not the one that was agreed", "point --rpc at the right chain", _OPERATOR, _NO, 409, Exit.PAYMENT),
    _C.RPC_UNAVAILABLE:      ErrorRow("the chain's RPC does not answer", "check --rpc and that the node runs", _CHAIN, _LATER, 503, Exit.PAYMENT),
    _C.TRANSACTION_FAILED:   ErrorRow("the chain refused the transaction", "read the reason, then try again", _CHAIN, _LATER, 502, Exit.PAYMENT),
    _C.WALLET_INSUFFICIENT:  ErrorRow("the wallet does not hold enough", "send tokens or gas money to the wallet's address", _OPERATOR, _NO, 402, Exit.PAYMENT),
    _C.SLOW_SIGNATURES:      ErrorRow("the secp256k1 backend is the slow one", "install coincurve; a paid provider does not run without it", _OPERATOR, _NO, 500, Exit.PAYMENT),
    _C.CHANNEL_BUSY:         ErrorRow("another process is spending from this wallet", "wait for it, or end it", _OPERATOR, _LATER, 409, Exit.PAYMENT),
    _C.CHANNEL_TIMEOUT:      ErrorRow("the provider did not confirm the channel in time", "try again; its chain may be slow to answer", _PROVIDER, _LATER, 504, Exit.PAYMENT),
    _C.PAYMENT_REQUIRED:     ErrorRow("this content has a price, and nothing was paid", "pay by x402 as the answer says, or open a deal over libp2p", _CLIENT, _LATER, 402, Exit.PAYMENT),
    _C.MALFORMED_PAYMENT:    ErrorRow("this is not an x402 payment that can be read", "send PAYMENT-SIGNATURE as x402 version 2 writes it", _CLIENT, _NO, 400, Exit.PAYMENT),
    _C.PAYMENT_USED:         ErrorRow("this payment was used before", "sign a new one; what it paid beyond its request is kept for you", _CLIENT, _NO, 402, Exit.PAYMENT),
    _C.PAYMENT_IN_FLIGHT:    ErrorRow("another request is being paid for from this channel", "wait for its answer, or pay from a channel with another salt", _CLIENT, _LATER, 402, Exit.PAYMENT),

    _C.CORRUPT_BLOCK:        ErrorRow("a block does not match its CID", "nothing was paid for it; use another provider", _PROVIDER, _ELSEWHERE, 502, Exit.PEER),
    _C.UNEXPECTED_BLOCK:     ErrorRow("a block came that was not the next one expected", "nothing was paid for it; use another provider", _PROVIDER, _ELSEWHERE, 502, Exit.PEER),
    _C.BLOCK_TOO_LARGE:      ErrorRow("a block is above the 2 MiB limit", "import the content again with smaller chunks", _PROVIDER, _NO, 413, Exit.PEER),
    _C.TRANSFER_TRUNCATED:   ErrorRow("the transfer ended early", "run the same command again; it resumes", _NETWORK, _LATER, 502, Exit.RESUMABLE),
    _C.TRANSFER_STALLED:     ErrorRow("nothing more was verified in time", "run the same command again; it resumes", _NETWORK, _LATER, 504, Exit.RESUMABLE),
    _C.FIRST_BLOCK_TIMEOUT:  ErrorRow("the first block did not come in time", "run the same command again, or use another provider", _PROVIDER, _LATER, 504, Exit.RESUMABLE),
    _C.QUOTE_EXCEEDED:       ErrorRow("the content is larger than the quote said", "nothing beyond the quote was paid; use another provider", _PROVIDER, _ELSEWHERE, 502, Exit.PEER),
    _C.WINDOW_EXCEEDED:      ErrorRow("the provider sent beyond the agreed window", "nothing beyond the window was paid; use another provider", _PROVIDER, _ELSEWHERE, 502, Exit.PEER),
    _C.MALFORMED_BLOCK:      ErrorRow("a block's content does not follow its codec", "the content itself is broken; nothing can be done here", _PROVIDER, _NO, 502, Exit.PEER),
    _C.MALFORMED_CAR:        ErrorRow("this is not a well-formed CAR file", "check the file, or export it again", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.CANCELLED:            ErrorRow("the transfer was cancelled", "run the same command again; it resumes", _CLIENT, _LATER, 499, Exit.RESUMABLE),
    _C.TOO_LARGE_FOR_TRANSPORT: ErrorRow("the content is larger than this transport carries", "nothing was paid; fetch it over the internet, or a part of it by path", _CLIENT, _NO, 413, Exit.USAGE),

    _C.BAD_RECEIPT:          ErrorRow("the receipt does not match what was delivered", "the client is broken or hostile", _CLIENT, _NO, 400, Exit.PEER),
    _C.RECEIPT_UNSIGNED:     ErrorRow("the receipt lacks the provider's countersignature", "fetch it with the deal id, or pass --allow-unsigned", _PROVIDER, _LATER, 409, Exit.PEER),
    _C.DEAL_UNKNOWN:         ErrorRow("the provider does not know this deal", "ask for a new quote", _CLIENT, _LATER, 404, Exit.PEER),
    _C.EQUIVOCATION:         ErrorRow("two different receipts carry the same sequence number", "keep both: together they prove it", _CLIENT, _NO, 409, Exit.PEER),
    _C.MALFORMED_RECEIPT:    ErrorRow("this is not a well-formed receipt file", "export it again with `retrieval-client receipts export`", _OPERATOR, _NO, 400, Exit.USAGE),

    _C.RATE_LIMITED:         ErrorRow("too many requests", "wait as long as the answer says", _CLIENT, _LATER, 429, Exit.BUDGET),
    _C.TOO_MANY_SESSIONS:    ErrorRow("too many sessions are open", "close one, or wait", _CLIENT, _LATER, 429, Exit.BUDGET),
    _C.TOO_MANY_DEALS:       ErrorRow("too many deals are open", "finish one, or wait", _CLIENT, _LATER, 429, Exit.BUDGET),
    _C.SHUTTING_DOWN:        ErrorRow("the provider is shutting down", "run the same command again later; it resumes", _PROVIDER, _LATER, 503, Exit.RESUMABLE),

    _C.INTERNAL:             ErrorRow("something went wrong inside", "report it, with the log", _OPERATOR, _LATER, 500, Exit.INTERNAL),
    _C.STORE_FULL:           ErrorRow("the store would grow above store.bytes_max", "remove content, or raise store.bytes_max", _OPERATOR, _NO, 507, Exit.BUDGET),
    _C.DISK_FULL:            ErrorRow("the disk is full", "free some space; nothing acknowledged was lost", _OPERATOR, _LATER, 507, Exit.INTERNAL),
    _C.STATE_LOCKED:         ErrorRow("another process holds this home's state", "use it through that process, or end it first", _OPERATOR, _LATER, 409, Exit.INTERNAL),
    _C.JOURNAL_BROKEN:       ErrorRow("the journal does not check", "restore the state/ folder from a backup; do not serve on it", _OPERATOR, _NO, 500, Exit.INTERNAL),
    _C.STORE_BROKEN:         ErrorRow("the store cannot be read", "check the disk, then restore from a backup", _OPERATOR, _NO, 500, Exit.INTERNAL),
    _C.CONFIG_INVALID:       ErrorRow("the configuration is not usable", "mend the named key in config.toml", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.SECRET_EXPOSED:       ErrorRow("a key file can be read by others", "run chmod 600 on it", _OPERATOR, _NO, 500, Exit.USAGE),
    _C.NOT_INITIALISED:      ErrorRow("this home has not been set up", "run the program's `init` first", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.FILE_UNREADABLE:      ErrorRow("a file cannot be read or written", "check the path and its permissions", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.USAGE:                ErrorRow("the command cannot be understood", "see --help", _OPERATOR, _NO, 400, Exit.USAGE),
    _C.ALREADY_INITIALISED:  ErrorRow("this home is set up already", "choose another --home, or keep this one", _OPERATOR, _NO, 409, Exit.USAGE),
    _C.CONTROL_UNAVAILABLE:  ErrorRow("the running process does not answer", "end it, or wait for it", _OPERATOR, _LATER, 503, Exit.INTERNAL),
    _C.CONTENT_IN_USE:       ErrorRow("deals for this content are open", "wait until they end, or pass --force and let them fail", _OPERATOR, _LATER, 409, Exit.INTERNAL),
    _C.RADIO_UNAVAILABLE:    ErrorRow("the radio does not answer, or not as it was set", "check the port, its permissions and the board's firmware", _OPERATOR, _LATER, 503, Exit.INTERNAL),
}
# fmt: on


def code_of(number: int) -> ErrorCode:
    """A code as a peer gave it; numbers of a later version count as internal to the peer."""
    try:
        return ErrorCode(number)
    except ValueError:
        return ErrorCode.INTERNAL
