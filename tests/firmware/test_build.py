"""What is flashed: valid for its ROM, the same from every build, made of the objects that emulators run, and within its budgets."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from relay_library import FIRMWARE, make

BUILD = FIRMWARE / "build"
BOARDS = {"esp32c3_ct62": "riscv64-unknown-elf-gcc", "qemu_virt": "riscv64-unknown-elf-gcc", "mps2_an385": "arm-none-eabi-gcc"}
CORE = FIRMWARE.parent / "retrieval" / "_native" / "core"


@pytest.fixture(scope="module")
def built() -> None:
    """Every board that has a compiler here."""
    if shutil.which("make") is None or shutil.which("gcc") is None:
        pytest.skip("there is no make, or no C compiler")
    failure = make("all")
    if failure is not None and "Monocypher cannot be had" in failure:
        pytest.skip(failure)
    assert failure is None, failure


def need(board: str) -> None:
    if shutil.which(BOARDS[board]) is None:
        pytest.skip(f"{BOARDS[board]} is not installed")
    if board == "esp32c3_ct62" and importlib.util.find_spec("esptool") is None:
        pytest.skip("esptool is not installed")


def test_the_product_is_an_image_that_its_rom_starts(built: None) -> None:
    need("esp32c3_ct62")
    command = [sys.executable, "-m", "esptool", "--chip", "esp32c3", "image-info", str(BUILD / "esp32c3_ct62.bin")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Checksum: 0x" in said
    assert said.count("(valid)") == 2
    assert "invalid" not in said


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_keeps_its_budget(built: None, board: str) -> None:
    need(board)
    said = (BUILD / f"{board}.budget").read_text()
    flash, ram = (int(part.split()[1]) for part in said.split(": ")[1].split(",")[:2])
    assert 0 < flash <= 64 * 1024
    assert 0 < ram <= 16 * 1024


def test_a_board_beyond_its_budget_fails_its_build(built: None, tmp_path: Path) -> None:
    need("qemu_virt")
    tool = (FIRMWARE / "tools" / "budget.py").read_text()
    (tmp_path / "budget.py").write_text(tool.replace("RAM_MAX = 16 * 1024", "RAM_MAX = 10 * 1024"))
    paths = (tmp_path / "budget.py", BUILD / "qemu_virt.elf", BUILD / "qemu_virt", tmp_path / "report")
    command = [sys.executable, *map(str, paths)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "exceeds its budget" in finished.stderr


def test_the_product_and_the_emulated_machine_are_made_of_the_same_objects(built: None) -> None:
    need("esp32c3_ct62")
    compared = 0
    for folder in ("core", "src"):
        for mine in sorted((BUILD / "esp32c3_ct62" / folder).glob("*.o")):
            assert mine.read_bytes() == (BUILD / "qemu_virt" / folder / mine.name).read_bytes(), mine.name
            compared += 1
    assert (BUILD / "esp32c3_ct62" / "monocypher.c.o").read_bytes() == (BUILD / "qemu_virt" / "monocypher.c.o").read_bytes()
    assert compared >= 25


def test_two_builds_in_two_places_give_the_same_bytes(built: None, tmp_path: Path) -> None:
    need("esp32c3_ct62")
    images = []
    for place in ("one", "another_place_of_another_length"):
        root = tmp_path / place
        shutil.copytree(FIRMWARE, root / "firmware", ignore=shutil.ignore_patterns("build"))
        shutil.copytree(CORE, root / "retrieval" / "_native" / "core")
        command = ["make", "-s", "-C", str(root / "firmware"), "BOARD=esp32c3_ct62", f"MONOCYPHER={BUILD / 'monocypher'}"]
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        target = "build/esp32c3_ct62.bin"
        subprocess.run([*command, f"TOOLS_PYTHON={sys.executable}", target], env=environment, check=True, capture_output=True)
        images.append((root / "firmware" / target).read_bytes())
    assert images[0] == images[1] == (BUILD / "esp32c3_ct62.bin").read_bytes()


def test_the_portable_code_names_no_board_and_no_library() -> None:
    for source in sorted((FIRMWARE / "src").glob("*.[ch]")):
        text = source.read_text()
        included = {line.split()[1].strip("<>") for line in text.splitlines() if line.startswith("#include <")}
        assert included <= {"stdbool.h", "stddef.h", "stdint.h"}, source.name
        assert not [line for line in text.splitlines() if line.startswith("#if") and not line.startswith("#ifndef RELAY_")], source.name


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_both_compilers_find_nothing_to_warn_of(built: None, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    strict = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wpedantic", "-Werror"]
    places = [FIRMWARE / "include", FIRMWARE / "src", FIRMWARE.parent / "retrieval" / "_native", BUILD / "monocypher"]
    includes = [f"-I{place}" for place in places]
    sources = sorted((FIRMWARE / "src").glob("*.c"))
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [compiler, *strict, "-ffreestanding", "-O1", *includes, "-c", *map(str, sources)]
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
