"""Kubo's Bitswap between two daemons: blocks verified and stored on disk at both ends. Not paid.

Two versions are peers of their own, the anchor that earlier figures were taken with and a current one, as far as
``python -m benchmarks.peers.kubo_bitswap build`` could make them with the Go toolchain; the environment variable ``KUBO`` names a third
binary. All daemons listen on loopback alone, look for nobody, and know nobody but each other.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.pair import Fetched, Peer, Unavailable, delete, prepare, sync, warm_up
from benchmarks.processes import ANSWER_TIMEOUT_S, END_TIMEOUT_S, READY_TIMEOUT_S, ROOT, cpu_seconds
from retrieval.units import MIB

MODULE: Final = "github.com/ipfs/kubo"
POLL_S: Final = 0.05
SETTINGS: Final = {
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": [],
    "AutoConf.Enabled": False,
    "AutoNAT.ServiceMode": "disabled",
    "AutoTLS.Enabled": False,
    "Bootstrap": [],
    "DNS.Resolvers": {},
    "Discovery.MDNS.Enabled": False,
    "HTTPRetrieval.Enabled": False,
    "Ipns.DelegatedPublishers": [],
    "Routing.DelegatedRouters": [],
    "Routing.Type": "none",
    "Swarm.DisableNatPortMap": True,
    "Swarm.EnableHolePunching": False,
    "Swarm.RelayClient.Enabled": False,
}
"""What a version does not know yet, it leaves alone."""
PROVIDE_SINCE: Final = (0, 38)
"""From this version on the settings of ``Reprovider`` are called ``Provide``, and a daemon with the old ones does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version to build."""

    number: str
    toolchain: str
    """What ``GOTOOLCHAIN`` says while it is built."""

    @property
    def binary(self) -> Path:
        return ROOT / ".venv" / "kubo" / f"ipfs-{self.number}"


ANCHOR: Final = Release(number="0.22.0", toolchain="go1.20.14")  # its QUIC library refuses a newer one
CURRENT: Final = Release(number="0.43.0", toolchain="auto")  # wants Go 1.26.5, which an older toolchain fetches as a module
RELEASES: Final = (ANCHOR, CURRENT)


def label_of(number: str) -> str:
    """What a peer of this version is called."""
    return f"Kubo {number} Bitswap"


ANCHOR_LABEL: Final = label_of(ANCHOR.number)


@contextmanager
def open_peer(binary: Path, folder: Path, file: Path) -> Iterator[Peer]:
    """A pair that moves ``file``, cut as ``retrieval-provider add`` cuts it. ``folder`` is new. Raises ``Unavailable``."""
    provider = Repository(binary, folder / "provider")
    chunking = ("--cid-version=1", "--raw-leaves", f"--chunker=size-{MIB}", "--quieter")
    root = provider.run("add", *chunking, str(file)).strip()
    warm_up(folder / "provider")
    with provider.daemon() as pid:
        (address,) = provider.ask("id")["Addresses"]
        yield _Pair(binary, folder / "client", root, file.stat().st_size, pid, address)


def binaries() -> dict[str, Path]:
    """What there is to measure, by version. Raises ``Unavailable`` where there is nothing, or ``KUBO`` names no file."""
    found = {release.number: release.binary for release in RELEASES if release.binary.is_file()}
    if named := os.environ.get("KUBO"):
        if not Path(named).is_file():
            raise Unavailable(f"KUBO names {named}, which is no file")
        found[_version_of(Path(named))] = Path(named)
    if not found:
        raise Unavailable("none was built, and KUBO names none: run `make bench-env` where Go is installed")
    return found


def build() -> None:
    """Build every release that is not here from the module proxy. One that cannot be built is named and left out."""
    for release in RELEASES:
        if release.binary.is_file():
            continue
        if shutil.which("go") is None:
            print(f"[bench] no Go toolchain here: Kubo {release.number} is left out", file=sys.stderr)
            continue
        print(f"[bench] building Kubo {release.number} (some minutes the first time)", file=sys.stderr, flush=True)
        try:
            _build(release)
        except subprocess.CalledProcessError as error:
            print(f"[bench] Kubo {release.number} is left out, it does not build here:\n{error.stderr[-2000:]}", file=sys.stderr)


def _build(release: Release) -> None:
    module = release.binary.with_name(f"module-{release.number}")
    module.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": release.toolchain}
    (module / "go.mod").write_text("module kubo.invalid\n\ngo 1.20\n")
    for arguments in (
        ["mod", "edit", f"-require={MODULE}@v{release.number}"],
        ["build", "-o", str(release.binary), f"{MODULE}/cmd/ipfs"],
    ):
        subprocess.run(["go", *arguments], cwd=module, env=environment, check=True, capture_output=True, text=True)


def _version_of(binary: Path) -> str:
    return subprocess.run([binary, "version", "--number"], capture_output=True, text=True, check=True).stdout.strip()


def _settings_for(number: str) -> dict[str, object]:
    version = tuple(int(part) for part in number.partition("-")[0].split(".")[:2])
    return SETTINGS | ({"Provide.Enabled": False} if version >= PROVIDE_SINCE else {"Reprovider.Interval": "0"})


class Repository:
    """An IPFS repository, and the daemon that opens it."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary: Final = binary
        self._folder: Final = folder
        folder.mkdir(parents=True)
        self.run("init", "--empty-repo")
        config = json.loads((folder / "config").read_text())
        for dotted, value in _settings_for(_version_of(binary)).items():
            *sections, key = dotted.split(".")
            place = config
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
        (folder / "config").write_text(json.dumps(config))

    def run(self, *arguments: str) -> str:
        ended = subprocess.run([self._binary, *arguments], env=self._environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise Unavailable(f"`ipfs {' '.join(arguments)}` failed: {ended.stderr[-500:]}")
        return ended.stdout

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
        prepare(self._folder)
        client = Repository(self._binary, self._folder)
        with client.daemon() as pid:
            provider_before, client_before = cpu_seconds(self._provider_pid), cpu_seconds(pid)
            began = time.perf_counter()
            client.ask("swarm/connect", arg=self._address)
            client.ask("pin/add", arg=self._root)
            seconds = time.perf_counter() - began
            provider_cpu_s, client_cpu_s = cpu_seconds(self._provider_pid) - provider_before, cpu_seconds(pid) - client_before
            synced_s = sync(self._folder)
        delete(self._folder)
        return Fetched(
            n_bytes=self._n_bytes,
            seconds=seconds,
            first_s=None,
            synced_s=synced_s,
            provider_cpu_s=provider_cpu_s,
            client_cpu_s=client_cpu_s,
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build"]:
            build()
        case _:
            sys.exit(__doc__)
