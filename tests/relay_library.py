"""The firmware's host library, built where it can be, with the C signatures that tests call.

``RELAY_LIBRARY`` names another build of it: ``make -C firmware sanitize`` and ``coverage`` run these tests with theirs.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

FIRMWARE: Final = Path(__file__).parents[1] / "firmware"
MAKE_TIMEOUT_S: Final = 600


class Modulation(ctypes.Structure):
    """struct rmn_modulation."""

    _fields_ = (
        ("bandwidth_hz", ctypes.c_uint32),
        ("spreading_factor", ctypes.c_uint8),
        ("coding_rate", ctypes.c_uint8),
        ("preamble", ctypes.c_uint16),
    )


class Hop(ctypes.Structure):
    """struct rmn_hop."""

    _fields_ = (
        ("relay", ctypes.c_uint8 * 8),
        ("fee_code", ctypes.c_uint16),
        ("mtu", ctypes.c_uint8),
        ("latency_ms", ctypes.c_uint32),
        ("bandwidth_bps", ctypes.c_uint32),
    )


class Kiss(ctypes.Structure):
    """struct rmn_kiss."""

    _fields_ = (("state", ctypes.c_int), ("size", ctypes.c_size_t))


_BYTES: Final = ctypes.c_char_p
_ROOM: Final = ctypes.c_void_p
_SIGNATURES: Final = (
    ("rmn_code16_up", ctypes.c_uint16, (ctypes.c_uint64,)),
    ("rmn_code8_down", ctypes.c_uint8, (ctypes.c_uint64,)),
    ("rmn_value_of_code16", ctypes.c_uint64, (ctypes.c_uint16,)),
    ("rmn_value_of_code8", ctypes.c_uint64, (ctypes.c_uint8,)),
    ("rmn_crc16", ctypes.c_uint16, (ctypes.c_uint16, _BYTES, ctypes.c_size_t)),
    ("rmn_kiss_take", ctypes.c_size_t, (ctypes.POINTER(Kiss), ctypes.c_uint8, _ROOM, ctypes.c_size_t)),
    ("rmn_kiss_escape", ctypes.c_size_t, (ctypes.c_uint8, _ROOM)),
    ("rmn_modulation_valid", ctypes.c_bool, (ctypes.POINTER(Modulation),)),
    ("rmn_low_data_rate", ctypes.c_bool, (ctypes.POINTER(Modulation),)),
    ("rmn_airtime_us", ctypes.c_uint32, (ctypes.POINTER(Modulation), ctypes.c_size_t)),
    ("rmn_packet_check", ctypes.c_int, (_BYTES, ctypes.c_size_t)),
    ("rmn_packet_type", ctypes.c_int, (_BYTES,)),
    ("rmn_packet_direct", ctypes.c_bool, (_BYTES,)),
    ("rmn_packet_free", ctypes.c_bool, (_BYTES,)),
    ("rmn_packet_hop_limit", ctypes.c_uint32, (_BYTES,)),
    ("rmn_packet_hops", ctypes.c_uint32, (_BYTES,)),
    ("rmn_packet_price", ctypes.c_uint64, (_BYTES,)),
    ("rmn_packet_hash", None, (_BYTES, _ROOM)),
    ("rmn_packet_carriage", ctypes.c_int, (_BYTES, ctypes.c_size_t, ctypes.POINTER(Hop))),
    ("rmn_packet_carry", ctypes.c_size_t, (_ROOM, ctypes.c_size_t, ctypes.POINTER(Hop), _BYTES)),
    ("sha512_begin", None, (_ROOM,)),
    ("sha512_add", None, (_ROOM, _BYTES, ctypes.c_size_t)),
    ("sha512_end", None, (_ROOM, _ROOM)),
    ("ed25519_public_key", None, (_BYTES, _ROOM)),
    ("ed25519_sign", None, (_BYTES, _BYTES, _BYTES, _BYTES, ctypes.c_size_t, _ROOM)),
    ("band_of", ctypes.c_uint32, (ctypes.c_uint32, ctypes.c_uint32)),
    ("band_budget_us", ctypes.c_uint32, (ctypes.c_uint32,)),
    ("duty_start", None, (_ROOM, ctypes.c_uint64, _ROOM)),
    ("duty_limit", None, (_ROOM, ctypes.c_uint32)),
    ("duty_spent_us", ctypes.c_uint32, (_ROOM, ctypes.c_uint32, ctypes.c_uint64)),
    ("duty_budget_us", ctypes.c_uint32, (_ROOM, ctypes.c_uint32)),
    ("duty_allows", ctypes.c_bool, (_ROOM, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)),
    ("duty_charge", None, (_ROOM, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)),
    ("duty_free_at_us", ctypes.c_uint64, (_ROOM, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)),
    ("seen_allows", ctypes.c_bool, (_ROOM, _BYTES, ctypes.c_uint16, ctypes.c_bool, ctypes.c_uint32)),
    ("seen_mark", None, (_ROOM, _BYTES, ctypes.c_uint16, ctypes.c_uint32)),
    ("routing_free_at_us", ctypes.c_uint64, (_ROOM, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)),
    ("routing_charge", None, (_ROOM, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64)),
)


def make(*targets: str) -> str | None:
    """Run make in the firmware's folder; returns why it failed, or None. One at a time, since tests run in several processes."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    with (FIRMWARE / "Makefile").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["make", "--silent", "-C", str(FIRMWARE), *targets]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=MAKE_TIMEOUT_S)
    return None if finished.returncode == 0 else (finished.stderr or finished.stdout).strip()


@cache
def library() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    path = os.environ.get("RELAY_LIBRARY")
    if path is None:
        if shutil.which("make") is None or shutil.which("gcc") is None:
            return "there is no C compiler, or no make"
        if (failure := make("build/libtest.so")) is not None and "[firmware] Monocypher cannot be had" in failure:
            return failure
        assert failure is None, failure
        path = str(FIRMWARE / "build" / "libtest.so")
    loaded = ctypes.CDLL(path)
    for name, result, arguments in _SIGNATURES:
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
