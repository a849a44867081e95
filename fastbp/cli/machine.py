"""What a figure was measured with: processor, cores, versions and date, as a line of text."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import fastbp

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}  # flags of /proc/cpuinfo, the widest first


def cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe(packages=("numpy", "numba")):
    """Return the line; packages: those whose versions it names, where they are installed."""
    versions = [f"fastbp {fastbp.__version__}", f"Python {platform.python_version()}"]
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return f"{_processor()}, {cores()} cores; {', '.join(versions)}; {datetime.date.today()}"


def _processor():
    """Return the name of the processor and, where the system tells, of its vector instructions."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = [line.split(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
        name = next(rest[0].strip() for key, *rest in lines if key.strip() == "model name")
        flags = next(rest[0].split() for key, *rest in lines if key.strip() == "flags")
        name = f"{name}, {next(VECTORS[flag] for flag in VECTORS if flag in flags)}"
    return name
