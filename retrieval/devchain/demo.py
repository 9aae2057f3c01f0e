"""The demo: a chain, a provider and a client as separate processes on this machine, and one retrieval sold, settled and proven.

One rule: it takes nobody's word. It compares what arrived with what was sold, asks the chain what the provider received, and has the
receipt and both journals checked, each by a process that only reads.
"""

from __future__ import annotations

import filecmp
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from retrieval import _native
from retrieval.console import show_amount, show_duration, show_rate, show_size
from retrieval.devchain.children import Child, ChildFailed, Children, Json
from retrieval.identity import format_address
from retrieval.payment.chain import DEVCHAIN
from retrieval.units import MIB, ceil_div

FILE_BYTES: Final = 64 * MIB
FILE_SEED: Final = 64  # of the file that is sold when none is named, so that its root CID is the same everywhere
DEPOSIT: Final = "1 USD"
PATIENCE_S: Final = 120
BYTES_PER_S_MIN: Final = 1 * MIB  # a machine that moves less than this is stuck, not slow
RPC_TIMEOUT_S: Final = 10.0
BALANCE_OF: Final = "0x70a08231"  # selector of ERC-20's balanceOf(address)


class DemoFailed(Exception):
    """Something in the demo is not as it must be."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, readable=True), required=False)
@click.option("--keep", is_flag=True, help="Leave the two homes, the receipt and the output where they are, to look around in.")
def main(file: Path | None, keep: bool) -> None:
    """Sell FILE, a file or a directory, to a client on this machine; without one, 64 MiB are made up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended like this or by Ctrl-C, our children end first
    try:
        with _folder(keep) as folder, Children(folder) as children:
            outcome = _Demo(folder, children).run(file.resolve() if file is not None else None)
    except (ChildFailed, DemoFailed) as error:
        sys.exit(f"The demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; all it started has ended.")
    sys.stderr.flush()
    click.echo(json.dumps(outcome))


class _Demo:
    """One run, in one folder."""

    def __init__(self, folder: Path, children: Children) -> None:
        self._folder: Final = folder
        self._children: Final = children
        self._began: Final = time.monotonic()

    def run(self, file: Path | None) -> Json:
        """Everything from an empty folder to a settled, proven retrieval. Raises ``ChildFailed`` and ``DemoFailed``."""
        if _native.NOTICE is not None:
            self._tell("notice", _native.NOTICE)
        chain = self._children.start("retrieval-devchain", "--port", "0")
        content = file or _make_up(self._folder / "demo.bin")
        size_bytes = _size_bytes(content)
        patience_s = PATIENCE_S + ceil_div(size_bytes, BYTES_PER_S_MIN)
        rpc = str(chain.ready()["rpc"])
        self._tell("chain", f"a development chain answers at {rpc}")

        # What does not wait for each other runs side by side: most of a short command is its imports.
        client = self._client("init", "--rpc", rpc)
        receiver = str(self._provider("init", "--rpc", rpc).result()["receiver"])
        adding = self._provider("add", content)
        provider = self._provider("serve", "--listen", "/ip4/127.0.0.1/tcp/0", "--rpc", rpc)
        added = adding.result(timeout_s=patience_s)
        self._tell("provider", f"added {content.name}: {show_size(size_bytes)} in {added['blocks']} blocks, root {added['root']}")
        wallet = client.result()
        minted, limit = show_amount(int(wallet["minted"])), show_amount(int(wallet["per_fetch"]))
        self._tell("client", f"has a wallet with {minted} of test money, and a limit of {limit} a fetch")
        address = str(provider.ready()["addresses"][0])
        self._tell("provider", f"serves at {address}")

        self._client("fund", DEPOSIT, "--provider", address).result()
        self._tell("client", f"put {DEPOSIT} into a channel to this provider")
        output = self._folder / "output" / content.name
        output.parent.mkdir()
        got = self._client("get", added["root"], "--from", address, "-o", output).result(timeout_s=patience_s)
        self._tell("client", _told(got))
        if not _same(content, output):
            raise DemoFailed(f"{output} is not what was added")
        self._tell("client", "what arrived is what was added, byte for byte")

        receipt = self._folder / "demo.receipt.cbor"
        exporting = self._client("receipts", "export", got["deal_id"], "-o", receipt)
        if status := provider.stop():
            raise ChildFailed(provider, f"ended with exit status {status} when it was stopped")
        claimed = _token_balance(rpc, receiver)
        self._tell("chain", f"the provider claimed on its way out, and {show_amount(claimed)} reached {receiver}")
        exporting.result()
        self._check(receipt)
        if claimed != int(got["paid"]):
            raise DemoFailed(f"{got['paid']} was paid and {claimed} reached the receiver")
        return {
            "root": added["root"],
            "bytes": got["bytes"],
            "blocks": got["blocks"],
            "verified": got["verified"],
            "paid": got["paid"],
            "claimed": str(claimed),
            "receipt_verified": got["receipt_verified"],
            "ttfb_ms": got["ttfb_ms"],
            "seconds": got["seconds"],
        }

    def _check(self, receipt: Path) -> None:
        """Have everything checked that can be checked by one party alone."""
        verdict = self._client("receipts", "verify", receipt)
        journals = self._provider("journal", "check"), self._client("journal", "check")
        verdict.result()
        self._tell("receipt", f"{_size_bytes(receipt)} bytes that both parties signed prove the delivery to anybody, offline")
        sold, bought = (journal.result()["entries"] for journal in journals)
        self._tell("journals", f"{sold} entries of the provider and {bought} of the client replay to what is on disk")

    def _provider(self, *arguments: str | Path) -> Child:
        return self._children.start("retrieval-provider", "--home", self._folder / "provider", *arguments)

    def _client(self, *arguments: str | Path) -> Child:
        return self._children.start("retrieval-client", "--home", self._folder / "client", *arguments)

    def _tell(self, who: str, sentence: str) -> None:
        elapsed_s = time.monotonic() - self._began
        _say(f"{elapsed_s:5.1f} s  {who:<9} {sentence}")


def _told(got: Json) -> str:
    """What a `get` reported, as a sentence."""
    rate = show_rate(got["bytes"] / got["seconds"])
    return (
        f"fetched, verified and paid {show_size(got['bytes'])} in {show_duration(got['seconds'])} ({rate}), "
        f"the first block after {got['ttfb_ms']:.0f} ms, for {show_amount(int(got['paid']))}"
    )


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """A new folder for everything the demo makes, removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="retrieval-demo-"))
    try:
        yield folder
    finally:
        if keep:
            _say(f"The homes, the receipt and the output stay in {folder}: try `retrieval-client --home {folder / 'client'} statement`")
        else:
            shutil.rmtree(folder)
            _say(f"All of it was in {folder}, and is gone; `python -m retrieval.devchain.demo --keep` leaves it to look around in.")


def _say(sentence: str) -> None:
    """A line of the story, which goes to stderr: stdout has the outcome alone."""
    click.echo(sentence, err=True)


def _make_up(path: Path) -> Path:
    """The file that is sold when none is named: incompressible, and the same on every machine."""
    source = random.Random(FILE_SEED)
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // MIB):
            file.write(source.randbytes(MIB))
    return path


def _size_bytes(path: Path) -> int:
    """Of a file, or of all files below a directory."""
    return sum(one.lstat().st_size for one in (path, *path.rglob("*")) if one.is_file())


def _same(sold: Path, received: Path) -> bool:
    """Whether two files, or two directories with all that is below them, are equal byte for byte."""
    if sold.is_symlink() or received.is_symlink():
        return sold.is_symlink() and received.is_symlink() and os.readlink(sold) == os.readlink(received)
    if sold.is_dir() and received.is_dir():
        names = sorted(os.listdir(sold))
        return names == sorted(os.listdir(received)) and all(_same(sold / name, received / name) for name in names)
    return sold.is_file() and received.is_file() and filecmp.cmp(sold, received, shallow=False)


def _token_balance(rpc: str, owner: str) -> int:
    """What an account holds in the test dollar's smallest unit, asked of the chain itself and not of the programs under show."""
    call = {"to": format_address(DEVCHAIN.token), "data": BALANCE_OF + owner.removeprefix("0x").rjust(64, "0")}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}).encode()
    request = urllib.request.Request(rpc, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=RPC_TIMEOUT_S) as response:
        return int(json.load(response)["result"], 16)


if __name__ == "__main__":
    main()
