"""Kubo's Bitswap between two daemons: blocks verified and stored on disk at both ends. Not paid.

The environment variable ``KUBO`` names the binary; without it the one that ``python -m benchmarks.peers.kubo_bitswap build`` has made
with the Go toolchain is taken. Both daemons listen on loopback alone and know nobody but each other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.pair import Fetched, Peer, Unavailable
from benchmarks.processes import ANSWER_TIMEOUT_S, END_TIMEOUT_S, READY_TIMEOUT_S, ROOT, cpu_seconds
from retrieval.units import MIB

LABEL: Final = "Kubo Bitswap"
VERSION: Final = "0.22.0"  # the anchor that earlier figures were taken with
GO_TOOLCHAIN: Final = "go1.20.14"  # its QUIC library refuses a newer one
BUILT: Final = ROOT / ".venv" / "kubo" / f"ipfs-{VERSION}"
POLL_S: Final = 0.05
SETTINGS: Final = {
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": [],
    "Bootstrap": [],
    "Discovery.MDNS.Enabled": False,
    "Routing.Type": "none",
    "Swarm.DisableNatPortMap": True,
    "Swarm.RelayClient.Enabled": False,
    "Swarm.EnableHolePunching": False,
    "AutoNAT.ServiceMode": "disabled",
    "Reprovider.Interval": "0",
}


@contextmanager
def open_peer(folder: Path, file: Path) -> Iterator[Peer]:
    """A pair that moves ``file``, cut as ``retrieval-provider add`` cuts it. Raises ``Unavailable``."""
    binary = find_binary()
    provider = _Repository(binary, folder / "kubo-provider")
    chunking = ("--cid-version=1", "--raw-leaves", f"--chunker=size-{MIB}", "--quieter")
    root = provider.run("add", *chunking, str(file)).strip()
    with provider.daemon() as pid:
        (address,) = provider.ask("id")["Addresses"]
        yield _Pair(binary, folder / "kubo-client", root, file.stat().st_size, pid, address)


def find_binary() -> Path:
    """The binary to measure. Raises ``Unavailable``."""
    named = os.environ.get("KUBO")
    if named and not Path(named).is_file():
        raise Unavailable(f"KUBO names {named}, which is no file")
    if named:
        return Path(named)
    if not BUILT.is_file():
        raise Unavailable("KUBO names no binary, and none was built: run `make bench-env` where Go is installed")
    return BUILT


def version() -> str | None:
    """What the binary calls itself; None without one."""
    try:
        return subprocess.run([find_binary(), "version", "--number"], capture_output=True, text=True, check=True).stdout.strip()
    except Unavailable:
        return None


def build() -> None:
    """Build the anchor version from the module proxy, with the toolchain of its day."""
    if BUILT.is_file():
        return
    if shutil.which("go") is None:
        sys.exit("[bench] no Go toolchain here: Kubo is left out")
    module = BUILT.parent / "module"
    module.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": GO_TOOLCHAIN}
    (module / "go.mod").write_text("module kubo.invalid\n\ngo 1.20\n")
    for arguments in (
        ["mod", "edit", f"-require=github.com/ipfs/kubo@v{VERSION}"],
        ["build", "-o", str(BUILT), "github.com/ipfs/kubo/cmd/ipfs"],
    ):
        subprocess.run(["go", *arguments], cwd=module, env=environment, check=True)


class _Repository:
    """An IPFS repository, and the daemon that opens it."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary: Final = binary
        self._folder: Final = folder
        shutil.rmtree(folder, ignore_errors=True)
        self.run("init", "--empty-repo")
        config = json.loads((folder / "config").read_text())
        for dotted, value in SETTINGS.items():
            *sections, key = dotted.split(".")
            place = config
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
        (folder / "config").write_text(json.dumps(config))

    def run(self, *arguments: str) -> str:
        command = [str(self._binary), *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout

    def ask(self, command: str, **arguments: str) -> dict[str, list[str]]:
        """One call of the daemon's RPC."""
        host, port = (self._folder / "api").read_text().split("/")[2:5:2]
        url = f"http://{host}:{port}/api/v0/{command}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=ANSWER_TIMEOUT_S) as response:
            answer: dict[str, list[str]] = json.loads(response.read() or b"{}")
            return answer

    @contextmanager
    def daemon(self) -> Iterator[int]:
        """Run the daemon while the block runs; gives its process id."""
        log = self._folder / "daemon.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self._binary, "daemon"], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while b"Daemon is ready" not in log.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable(f"Kubo's daemon does not start: {log.read_text()[-500:]}")
                time.sleep(POLL_S)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"IPFS_PATH": str(self._folder), "IPFS_TELEMETRY": "off"}


class _Pair:
    """A provider daemon that stays, and a client daemon with an empty repository for every fetch."""

    def __init__(self, binary: Path, folder: Path, root: str, n_bytes: int, provider_pid: int, address: str) -> None:
        self._binary: Final = binary
        self._folder: Final = folder
        self._root: Final = root
        self._n_bytes: Final = n_bytes
        self._provider_pid: Final = provider_pid
        self._address: Final = address

    def fetch(self) -> Fetched:
        client = _Repository(self._binary, self._folder)
        with client.daemon() as pid:
            provider_before, client_before = cpu_seconds(self._provider_pid), cpu_seconds(pid)
            began = time.perf_counter()
            client.ask("swarm/connect", arg=self._address)
            client.ask("pin/add", arg=self._root)
            seconds = time.perf_counter() - began
            return Fetched(
                n_bytes=self._n_bytes,
                seconds=seconds,
                first_s=None,
                provider_cpu_s=cpu_seconds(self._provider_pid) - provider_before,
                client_cpu_s=cpu_seconds(pid) - client_before,
            )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build"]:
            build()
        case _:
            sys.exit(__doc__)
