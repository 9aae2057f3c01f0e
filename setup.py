"""The C extension, and nothing else: everything that can be said in pyproject.toml is said there.

The extension is optional. Where no compiler or no Python.h is found the installation goes on without it and ``retrieval._native`` takes
its pure-Python path. ``RETRIEVAL_SANITIZE=1`` builds it under AddressSanitizer and UndefinedBehaviorSanitizer.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("retrieval", "_native")
LIMITED_API = 0x030B0000  # 3.11, the first whose limited API has the buffer protocol
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wpedantic"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

sanitize = os.environ.get("RETRIEVAL_SANITIZE") == "1"

setup(
    ext_modules=[
        Extension(
            "retrieval._native._core",
            sources=[str(NATIVE / "module.c"), *sorted(map(str, (NATIVE / "core").glob("*.c")))],
            depends=[str(Path(__file__).name), *sorted(map(str, (NATIVE / "core").glob("*.h")))],
            include_dirs=[str(NATIVE)],
            define_macros=[("Py_LIMITED_API", f"{LIMITED_API:#010x}")],
            extra_compile_args=[
                "-std=c11",
                "-O2",
                "-fvisibility=hidden",
                *WARNINGS,
                *(["-g1", "-O1", "-fno-omit-frame-pointer", *SANITIZERS] if sanitize else []),
            ],
            extra_link_args=SANITIZERS if sanitize else [],
            py_limited_api=True,
            optional=not sanitize,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
