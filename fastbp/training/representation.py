"""What is shown of a network: a line of text, and a table for notebooks.

Invariant: showing a network never raises, whatever has been assigned to it, or has not yet.
"""

import itertools

from fastbp.data import html_tables, messages

UNKNOWN = "unknown"
MOST_LAYERS = 12  # of a network that has more, the first and the last are shown


def text(net):
    """Return e.g. <Network [784, 30, 10]: sigmoid, sigmoid; QuadraticCost; 23,860 ...>."""
    sizes, activations, cost, dtype = _settings(net)
    names = ", ".join(_shortened(activations)) if activations else UNKNOWN
    shown = "[" + ", ".join(map(str, _shortened(sizes))) + "]" if sizes else UNKNOWN
    return f"<{type(net).__name__} {shown}: {names}; {cost}; {_count(sizes)} parameters; {dtype}>"


def as_html(net):
    """Return a table with a row for each layer."""
    sizes, activations, cost, dtype = _settings(net)
    caption = f"{type(net).__name__}: {cost}, {_count(sizes)} parameters, {dtype}"
    names = [""] + (activations or [UNKNOWN] * (len(sizes) - 1))
    counts = [""] + [f"{(n_in + 1) * n_out:,}" for n_in, n_out in itertools.pairwise(sizes)]
    rows = [
        (_layer_name(l, len(sizes)), n, name, count)
        for l, (n, name, count) in enumerate(zip(sizes, names, counts))
    ]
    if len(rows) > MOST_LAYERS:
        rows = rows[: MOST_LAYERS // 2] + [["..."] * 4] + rows[-(MOST_LAYERS // 2) :]
    return html_tables.table(("layer", "neurons", "activation", "parameters"), rows, caption)


def _settings(net):
    """Return (sizes, activations, cost, dtype); what cannot be told is empty, or UNKNOWN."""
    sizes = _attempt(lambda: [int(n) for n in net.sizes], [])
    names = _attempt(lambda: [messages.shorten(name, 20) for name in net._activation_names()], [])
    cost = _attempt(lambda: messages.shorten(net._cost_text(), 60), UNKNOWN)
    activations = names if len(names) == len(sizes) - 1 else []
    return sizes, activations, cost, _attempt(lambda: messages.shorten(net.dtype, 20), UNKNOWN)


def _attempt(function, otherwise):
    """Return the result of a function, or `otherwise` if it raises an Exception."""
    try:
        return function()
    except Exception:  # of any kind: a network may be half made, or hold objects of any class
        return otherwise


def _count(sizes):
    """Return the number of weights and biases, as a text."""
    if not sizes:
        return UNKNOWN
    return f"{sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes)):,}"


def _shortened(values):
    """Return a list of values, those in the middle left out if there are many."""
    half = MOST_LAYERS // 2
    return values if len(values) <= MOST_LAYERS else [*values[:half], "...", *values[-half:]]


def _layer_name(l, n):
    return "input" if l == 0 else "output" if l == n - 1 else f"hidden {l}"
