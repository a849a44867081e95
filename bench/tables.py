"""Markdown tables, sections of files that are generated, and the machine that made them."""

import re
from pathlib import Path

from fastbp.cli.machine import describe
from fastbp.data import files

PACKAGES = "numpy", "numba", "scipy", "torch", "torchvision", "jax", "scikit-learn"


def machine():
    """Return processor, cores, versions and date as a line of text."""
    return describe(PACKAGES)


def source(command):
    """Return the line that says where a table was made, when and by which command."""
    return f"{machine()}. Made by `{command}`.\n"


def table(header, rows):
    """Return a Markdown table."""
    return "".join(map(row, (header, ["---"] * len(header), *rows)))


def row(cells):
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |\n"


def replace_section(path, name, text):
    """Put text between the two marks <!-- name --> of a file; append both if it has none."""
    path, mark = Path(path), f"<!-- {name} -->\n"
    old = path.read_text() if path.exists() else ""
    before, *_, after = re.split(re.escape(mark), old) if old.count(mark) == 2 else (old, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.write_atomically(path) as file:
        file.write(f"{before}{mark}{text.strip()}\n{mark}{after}".encode())


# ------------------------------------------------ cells


def network(sizes, m, dtype=None):
    """Return the name of a network and its mini-batch."""
    return f"{list(sizes)}, mini-batch {m}" + (f", {dtype}" if dtype else "")


def quartiles(ratio, digits=3):
    """Return a median of ratios with its quartiles, see timing.paired_ratio."""
    low, median, high = (f"{value:.{digits}f}" for value in ratio)
    return f"**{median}** ({low}-{high})"
