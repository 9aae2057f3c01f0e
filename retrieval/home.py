"""A program's home: one directory that holds its configuration, its secrets and its two stores.

The rule: a secret is 32 bytes in a file only its owner can open, written once, whole, and never shown.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from retrieval.errors import ErrorCode, LocalProtocolError

HOME_VARIABLE: Final = "RETRIEVAL_HOME"
SECRET_BYTES: Final = 32  # an Ed25519 seed and a secp256k1 secret are both this long
SECRET_FILE_BYTES_MAX: Final = 256  # 64 hex digits, an optional 0x and some white space; a larger file is some other file
DIRECTORY_MODE: Final = 0o700
SECRET_MODE: Final = 0o600
_OTHERS: Final = 0o077  # every right of group and others


class Secret:
    """A private key on its way from its file to the module that signs. Printing or logging it shows nothing."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        assert len(value) == SECRET_BYTES
        self._value: Final = value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def reveal(self) -> bytes:
        """The 32 bytes. Call this only where a key object is made of them."""
        return self._value


@dataclass(frozen=True, slots=True)
class Home:
    """The places in a home. Naming them touches no disk; `create` and `require` do."""

    path: Path
    program: str
    """The command that owns this home, for messages: ``retrieval-provider``."""

    @classmethod
    def locate(cls, program: str, option: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Home:
        """The home named by ``--home``, else by RETRIEVAL_HOME, else the user's data directory for this program."""
        chosen = option or environ.get(HOME_VARIABLE)
        return cls(Path(chosen).expanduser().absolute() if chosen else _default_path(program), program)

    @property
    def config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def identity_key_path(self) -> Path:
        """Seed of the Ed25519 key behind the peer id."""
        return self.path / "identity.key"

    @property
    def wallet_key_path(self) -> Path:
        """Client only: the secp256k1 key that signs vouchers."""
        return self.path / "wallet.key"

    @property
    def receiver_key_path(self) -> Path:
        """Provider only: the secp256k1 key that is the channels' receiverAuthorizer."""
        return self.path / "receiver.key"

    @property
    def state_path(self) -> Path:
        return self.path / "state"

    @property
    def blocks_path(self) -> Path:
        return self.path / "blocks"

    @property
    def control_path(self) -> Path:
        return self.path / "control.sock"

    def command(self, verb: str) -> str:
        """How a command on this home begins, ready for a shell."""
        where = "" if self.path == _default_path(self.program) else f" --home {shlex.quote(str(self.path))}"
        return f"{self.program} {verb}{where}"

    def create(self) -> None:
        """Make the directories, readable by their owner only.

        A home is set up once its config.toml exists, so `init` writes that last: an `init` that was cut off can be run again, and
        keys that were put here beforehand are kept (see `ensure_secret`). A directory that existed keeps its mode.
        Raises ``LocalProtocolError``: already_initialised, file_unreadable or disk_full.
        """
        if self._is_initialised():
            raise LocalProtocolError(ErrorCode.ALREADY_INITIALISED, f"{self.config_path} exists")
        for directory in (self.path, self.state_path, self.blocks_path):
            try:
                directory.mkdir(mode=DIRECTORY_MODE, parents=directory == self.path, exist_ok=True)
            except FileExistsError as error:
                raise _not_a_directory(directory) from error
            except OSError as error:
                raise file_error(error, directory) from error

    def require(self) -> Home:
        """This home, known to be set up. Raises ``LocalProtocolError(not_initialised)`` with the command that would do it."""
        if not self._is_initialised():
            raise LocalProtocolError(ErrorCode.NOT_INITIALISED, f"run `{self.command('init')}`")
        return self

    def _is_initialised(self) -> bool:
        try:
            return stat.S_ISREG(os.stat(self.config_path).st_mode)
        except FileNotFoundError:
            return False
        except NotADirectoryError as error:
            raise _not_a_directory(self.path) from error
        except OSError as error:
            raise file_error(error, self.config_path) from error


def read_secret(path: Path) -> Secret:
    """Read a key file: 64 hex digits, optionally after ``0x``, in a regular file that only its owner may open.

    Raises ``LocalProtocolError``: secret_exposed with the chmod to run, config_invalid (which never shows the content) or
    file_unreadable.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path} is not a regular file")
            if mode & _OTHERS:
                raise LocalProtocolError(ErrorCode.SECRET_EXPOSED, f"run `chmod 600 {shlex.quote(str(path))}`")
            content = file.read(SECRET_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise file_error(error, path) from error
    return _parse_secret(content, path)


def write_secret(path: Path, secret: Secret) -> None:
    """Write a new key file, durably. Raises ``LocalProtocolError(already_initialised)`` when the file exists; it is not touched."""
    create_file(path, secret.reveal().hex().encode() + b"\n", mode=SECRET_MODE)


def ensure_secret(path: Path, generate: Callable[[], bytes]) -> Secret:
    """The key in ``path``, or a new one from ``generate`` that is on disk before this returns. Raises as the other two do."""
    if os.path.lexists(path):
        return read_secret(path)
    secret = Secret(generate())
    write_secret(path, secret)
    return secret


def create_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet. It appears whole or not at all, and survives a power cut once this returns.

    Raises ``LocalProtocolError``: already_initialised, file_unreadable or disk_full.
    """
    # A hard link is the one POSIX way to publish a finished file that fails when the name is taken; rename would replace it.
    _publish(path, content, mode, lambda finished: os.link(finished, path))


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file over whatever stands there: a reader sees the old content or the new, never a part. Raises as `create_file`."""
    _publish(path, content, mode, lambda finished: os.replace(finished, path))


def file_error(error: OSError, path: Path) -> LocalProtocolError:
    """The registry's error for what the operating system said about ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalProtocolError(ErrorCode.DISK_FULL, f"while writing {path}")
    if isinstance(error, FileExistsError):
        return LocalProtocolError(ErrorCode.ALREADY_INITIALISED, f"{path} exists")
    return LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path}: {error.strerror or error}")


def _publish(path: Path, content: bytes, mode: int, publish: Callable[[str], None]) -> None:
    try:
        descriptor, finished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            publish(finished)
        finally:
            if os.path.lexists(finished):  # gone already when it was renamed
                os.unlink(finished)
        _sync_directory(path.parent)
    except OSError as error:
        raise file_error(error, path) from error


def _sync_directory(path: Path) -> None:
    """Make a new name in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe laid in the key's place is opened, then refused, instead of waited for."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _parse_secret(content: bytes, path: Path) -> Secret:
    if len(content) > SECRET_FILE_BYTES_MAX:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{path} is too large to be a key file")
    digits = content.strip().removeprefix(b"0x")
    try:
        value = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        # `from None`: the decoder's own message may quote what it could not read.
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{path} does not hold hexadecimal digits") from None
    if len(value) != SECRET_BYTES or len(digits) != 2 * SECRET_BYTES:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{path} does not hold exactly {2 * SECRET_BYTES} hexadecimal digits")
    return Secret(value)


def _not_a_directory(path: Path) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path} stands where a directory should be, and is none")


def _default_path(program: str) -> Path:
    return Path(platformdirs.user_data_dir(program, appauthor=False))
