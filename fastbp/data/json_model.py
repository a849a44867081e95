"""Networks in JSON, as the book's network2.save writes them: parsed, and checked before use.

Invariant: nothing in a file is taken for a number that is not one; shapes are held to the sizes
before an array is made.
"""

import collections
import itertools
import json

import numpy as np

from fastbp.data import files, messages, parameters

FORMAT_VERSION = 1
TYPES = dict(sizes=list, weights=list, biases=list, cost=str, dtype=str, own_cost=bool)


def write(filename, **content):
    """Write the content of a network, keys as in TYPES and activations, to a file.

    weights, biases: lists of arrays.
    """
    for name in ("weights", "biases"):
        content[name] = [array.tolist() for array in content[name]]
    with files.write_atomically(filename) as file:
        file.write(json.dumps(content | {"fastbp_format": FORMAT_VERSION}).encode())


def read(filename, restore):
    """Return restore(content) for a file; raise ValueError for what is no network, naming it.

    restore: a function of a dictionary as `parse` returns it.
    """
    with open(filename, "rb") as file:
        text = file.read()
    try:
        return restore(parse(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
            RecursionError) as error:  # fmt: skip
        why = messages.shorten(error, 300)
        raise ValueError(f"{filename} is not a network saved as JSON: {why}") from None


def parse(text):
    """Return the content of a file as a dictionary, with defaults for what the book does not write.

    Raises ValueError, TypeError or KeyError for what is no network.
    """
    given = json.loads(text, object_pairs_hook=_without_repetition)
    content = {"dtype": "float64", "own_cost": False, "activations": None,
               "fastbp_format": FORMAT_VERSION} | given  # fmt: skip
    if content["fastbp_format"] != FORMAT_VERSION:
        seen = messages.shorten(content["fastbp_format"], 30)
        raise ValueError(f"it is in format {seen}, expected {FORMAT_VERSION}")
    for key, kind in TYPES.items():
        if not isinstance(content[key], kind):
            seen = messages.shorten(json.dumps(content[key]), 60)
            raise TypeError(f"{key} is {seen}, expected a {kind.__name__}")
    if not all(type(n) is int for n in content["sizes"]):
        seen = messages.shorten(json.dumps(content["sizes"]), 60)
        raise TypeError(f"sizes is {seen}, expected integers")
    if content["dtype"] not in ("float64", "float32"):  # NumPy would read a text as a program
        seen = messages.shorten(content["dtype"], 30)
        raise ValueError(f"dtype is {seen!r}, expected float64 or float32")
    return content


def parameters_of(content, plan, dtype):
    """Return the flat vector of the weights and biases in a dictionary that parse returned."""
    layers = [*itertools.pairwise(plan.sizes)]
    shapes = dict(weights=layers, biases=[(1, n_out) for _, n_out in layers])
    for name, shapes_of_name in shapes.items():
        given = content[name]
        if len(given) != len(layers):
            raise ValueError(f"{name} has {len(given)} layers, expected {len(layers)}")
        for l, (rows, (n_in, n_out)) in enumerate(zip(given, shapes_of_name)):
            _check_rows(rows, n_out, n_in, f"{name}[{l}]")
    return parameters.read_flat(plan, dtype, lambda name, l: np.array(content[name][l], np.float64))


def _without_repetition(pairs):
    """Return a dictionary of the pairs in a JSON object, or raise: two readers may differ."""
    data = dict(pairs)
    if len(data) < len(pairs):
        (key, _), *_ = collections.Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it holds the key {messages.shorten(key, 60)!r} twice")
    return data


def _check_rows(rows, n_out, n_in, name):
    """Raise ValueError unless rows are n_out lists of n_in numbers that a float64 can hold.

    NumPy would take null for NaN, and read numbers in strings.
    """
    if type(rows) is not list or len(rows) != n_out:
        raise ValueError(f"{name} is not a list of {n_out} rows")
    for i, row in enumerate(rows):
        if type(row) is not list or len(row) != n_in:
            raise ValueError(f"{name}[{i}] is not a list of {n_in} numbers")
        kinds = set(map(type, row))
        if kinds <= {float}:
            continue
        for j, value in enumerate(row):
            if type(value) not in (int, float):
                seen = messages.shorten(json.dumps(value), 60)
                raise ValueError(f"{name} holds {seen} at [{i}, {j}], expected a number")
            if type(value) is int and value.bit_length() > 1023:
                raise ValueError(f"{name} holds an integer too large for a float at [{i}, {j}]")
