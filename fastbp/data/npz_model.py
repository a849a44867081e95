"""Networks of chapter 1 in .npz files: written, and checked before anything in them is used.

Invariant: nothing in a file is executed; all shapes are held to the sizes before an array is read.
"""

import itertools

import numpy as np

from fastbp.data import files, messages, parameters

FORMAT_VERSION = 1


def write(path, sizes, dtype, weights, biases):
    """Write the settings and parameters of a network to a file, whole or not at all."""
    content = parameters.by_name(weights, biases)
    with files.write_atomically(path) as file:
        np.savez(
            file,
            format_version=FORMAT_VERSION,
            kind="network",
            sizes=np.array(sizes),
            dtype=dtype.name,
            **content,
        )


def read_header(content):
    """Return (sizes, dtype) of an open file, an npz.NpzReader, or raise."""
    if "about" in content.names():
        raise ValueError("it is the checkpoint of a run; Network.save, or train --save, writes one")
    version, kind, dtype = (_single(content, name) for name in ("format_version", "kind", "dtype"))
    if version != FORMAT_VERSION or kind != "network":
        raise ValueError(
            f"it holds a {messages.shorten(kind, 30)!r} in format {version}, expected a "
            f"'network' in format {FORMAT_VERSION}; a newer fastbp may read it"
        )
    shape, _ = content.header("sizes")
    if len(shape) != 1 or shape[0] > len(content):  # no file has so many layers
        raise ValueError(f"sizes has shape {shape}, expected a list")
    if dtype not in ("float64", "float32"):  # NumPy would read a text as a program
        seen = messages.shorten(dtype, 30)
        raise ValueError(f"dtype is {seen!r}, expected float64 or float32")
    return content["sizes"].tolist(), dtype


def read_parameters(content, plan, dtype):
    """Return the flat vector of a model's numbers, all of whose shapes fit before one is read."""
    lists = ("weights", lambda n_in, n_out: (n_out, n_in)), ("biases", lambda _, n_out: (n_out, 1))
    for name, shape_of in lists:
        for l, wanted in enumerate(itertools.starmap(shape_of, itertools.pairwise(plan.sizes))):
            shape, kind = content.header(f"{name}_{l}")
            if kind.kind not in "fiub":
                raise ValueError(f"{name}[{l}] has dtype {kind}, expected real numbers")
            if shape != wanted:
                raise ValueError(f"{name}[{l}] has shape {shape}, expected {wanted}")
    return parameters.read_flat(plan, dtype, lambda name, l: content[f"{name}_{l}"])


def _single(content, name):
    """Return the one string or integer that stands under a name in a model."""
    shape, dtype = content.header(name)
    if shape != () or dtype.kind not in "iuU":
        raise ValueError(f"{name} has shape {shape} and dtype {dtype}, expected one value")
    return content[name].item()
