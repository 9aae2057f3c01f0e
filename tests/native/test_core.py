"""The core without Python: free of warnings and of libc, and sound under sanitizers on buffers of exact size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import golden
import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "retrieval" / "_native"
SOURCES = sorted((NATIVE / "core").glob("*.c"))
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wcast-align", "-Wpedantic", "-Werror"]
MEMORY_FUNCTIONS = {"memcpy", "memmove", "memset", "memcmp"}  # GCC and Clang may call them from freestanding code too
VECTOR_SIZE_MAX = 200  # bytes; each costs nine runs

COMPILERS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")) for name in ("gcc", "clang")
]


def run(*command: object) -> str:
    # Where the whole suite runs under a preloaded sanitizer, the compiler must not.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    finished = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def vectors(folder: Path) -> list[Path]:
    """The short inputs of the golden vectors, one file each."""
    cases = [case for section in ("uvarint", "cid", "scan_frames", "verify_frames") for case in golden.load("native")[section]]
    inputs = {bytes.fromhex(case["data"]) for case in cases if isinstance(case["data"], str)}
    folder.mkdir()
    paths = []
    for n, data in enumerate(sorted(inputs)):
        if len(data) <= VECTOR_SIZE_MAX:
            paths.append(folder / str(n))
            paths[-1].write_bytes(data)
    return paths


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("target", [[], ["-U__x86_64__"]], ids=["this processor", "no x86"])
def test_the_core_is_freestanding_and_free_of_warnings(tmp_path: Path, compiler: str, target: list[str]) -> None:
    for source in SOURCES:
        run(compiler, *STRICT, *target, "-O2", "-ffreestanding", "-c", source, "-o", tmp_path / f"{source.stem}.o")
    symbols = run("nm", "--undefined-only", *tmp_path.glob("*.o"))
    needed = set(re.findall(r"^ +[Uw] (\w+)$", symbols, re.MULTILINE))
    assert "rmn_uvarint_decode" in needed
    assert {name for name in needed if not name.startswith("rmn_")} <= MEMORY_FUNCTIONS


@cache
def sanitized_objects(compiler: str, folder: Path) -> list[Path]:
    """The core and its checks, compiled once for every test that links them."""
    coverage = "fuzzer-no-link," if compiler == "clang" else ""
    sanitizers = [f"-fsanitize={coverage}address,undefined", "-fno-sanitize-recover=all"]
    sources = [HERE / "fuzz_core.c", *SOURCES]
    objects = [folder / f"{compiler}-{source.stem}.o" for source in sources]
    for source, made in zip(sources, objects):
        run(compiler, *STRICT, "-O1", "-g1", *sanitizers, f"-I{NATIVE}", "-c", source, "-o", made)
    return objects


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_core_is_sound_on_every_cut_and_flipped_bit_of_the_vectors(tmp_path: Path, build: Path, compiler: str) -> None:
    program = tmp_path / "replay"
    run(compiler, "-fsanitize=address,undefined", HERE / "replay_core.c", *sanitized_objects(compiler, build), "-o", program)
    assert int(run(program, *vectors(tmp_path / "inputs"))) > 10_000


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-gcc") is None or shutil.which("qemu-aarch64") is None,
    reason="gcc-aarch64-linux-gnu and qemu-user are not installed",
)
def test_the_core_is_sound_on_armv8_and_its_kernel_equals_the_plain_loop(tmp_path: Path) -> None:
    program = tmp_path / "replay"
    sources = [HERE / "fuzz_core.c", HERE / "replay_core.c", *SOURCES]
    run("aarch64-linux-gnu-gcc", *STRICT, "-O2", "-static", f"-I{NATIVE}", *sources, "-o", program)
    assert b"\0armv8\0" in program.read_bytes(), "the kernel is not compiled in"
    assert int(run("qemu-aarch64", "-cpu", "max", program, *vectors(tmp_path / "inputs"))) > 10_000


@pytest.mark.skipif(shutil.which("clang") is None, reason="libFuzzer comes with clang, which is not installed")
def test_the_core_survives_a_short_fuzzing(tmp_path: Path, build: Path) -> None:
    program = tmp_path / "fuzz"
    inputs = vectors(tmp_path / "inputs")
    run("clang", "-fsanitize=fuzzer,address,undefined", *sanitized_objects("clang", build), "-o", program)
    run(program, "-runs=20000", "-seed=1", "-max_len=1024", inputs[0].parent)
