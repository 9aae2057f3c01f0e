"""A store's folder: only its owner may enter, and a new file's name in it lasts."""

from __future__ import annotations

import os
from pathlib import Path

from retrieval.store.lmdb.failure import file_failure


def make_folder(path: Path) -> None:
    """Make ``path`` where it is missing. Raises ``LocalProtocolError``: ``disk_full``, ``file_unreadable``."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise file_failure(error, path) from error


def sync_folder(path: Path) -> None:
    """Make the names in ``path`` durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_failure(error, path) from error
