"""The data sets that the options --data and --transpose name."""

import numpy as np

from fastbp import Pixels, mnist_loader
from fastbp.cli.console import log
from fastbp.data import file_rows, messages


def read_data(choice, transpose):
    """Return (training, validation, test, name) for the options --data and --transpose."""
    if choice == "synthetic":
        return _synthetic()
    path, name = (None, "MNIST") if choice == "auto" else (choice, choice)
    try:
        return *as_pixels_if_exact(path, transpose), name
    except mnist_loader.DataNotFoundError as error:
        reason = messages.one_line(error).partition("; give load_data")[0]
        log(f"using the built-in synthetic digits: {reason}; to use your own, --data PATH")
        return _synthetic()


def read_on_all_ranks(options):
    """Return what read_data does, as rank 0 of options.ranks has read it, on all of them.

    Each rank opens a memory map itself; other data are sent to it.
    """
    ranks, found = options.ranks, []

    def read():
        return read_data(options.data, options.transpose)

    def read_first():
        found.append(read())
        return None if file_rows.holds_map(found[0][0]) else found[0]

    sets = ranks.from_root(read_first)
    return ranks.together(lambda: found[0] if found else read()) if sets is None else sets


def as_pixels_if_exact(path, transpose):
    """Return load_data's sets with Pixels, or with floats if these are not integers / 256."""
    try:
        return mnist_loader.load_data(path, pixels=True, transpose=transpose)
    except ValueError as error:
        if "pixels=True" not in str(error):
            raise
        return mnist_loader.load_data(path, transpose=transpose)


def _synthetic():
    """Return (training, validation, test, name) of synthetic digits."""
    log("drawing 70,000 digits ...")
    return *mnist_loader.synthetic(pixels=True), "synthetic digits"


def join_sets(one, other):
    """Return the samples of two sets (X, labels) as one; parts of one large file stay in it."""
    inputs, labels = zip(one, other)
    if all(isinstance(X, Pixels) for X in inputs):
        arrays = [X.array for X in inputs]
        mapped = file_rows.joined(*arrays)
        joined = Pixels(np.concatenate(arrays) if mapped is None else mapped, inputs[0].scale)
    else:
        joined = np.concatenate(inputs)
    return joined, np.concatenate(labels)
