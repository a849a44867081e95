"""Networks in safetensors files: a header of shapes and texts, then numbers; nothing is executed.

Invariant: everything in a header is held to the sizes of the network, and the header to the size of
the file, before memory is taken for weights.
"""

from __future__ import annotations

import itertools
import json
import os

from fastbp import network, network2
from fastbp.converters.contents import contents_of, empty_network, require
from fastbp.data import arguments, files, messages, parameters
from fastbp.training import costs
from fastbp.training.base import CompiledNetwork
from fastbp.typing import Path

FORMAT_VERSION = "1"
MAX_HEADER = 1 << 24  # bytes: some 90,000 layers
DTYPES = {"float64": "F64", "float32": "F32"}
COSTS = {cost.__name__: (name, cost) for name, cost in costs.COSTS.items()}
KEYS = "fastbp_format", "network", "sizes", "activations", "cost", "dtype"


def save_safetensors(net: CompiledNetwork, path: Path) -> None:
    """Write a network to a safetensors file.

    Parameters
    ----------
    net : fastbp.network.Network or fastbp.network2.Network
        It does not change.
    path : path
        The file appears whole or not at all. `load_safetensors` reads it.

    Raises
    ------
    ImportError
        If safetensors is not installed: ``pip install 'fastbp[exchange]'``.
    OSError
        If the file cannot be written.
    TypeError, ValueError
        If net is no network, if its cost is your own, if its feedforward, cost_derivative or its
        module's sigmoid is overridden, or if weights or biases do not fit sizes or are not finite.

    Notes
    -----
    Tensors are ``weights_0`` ``(n_out, n_in)``, ``biases_0`` ``(n_out, 1)`` and so on, in the
    network's dtype. The metadata say the rest: fastbp_format, network ("network" or "network2"),
    sizes, activations, cost and dtype. A subclass is saved as the Network that it extends.

    Examples
    --------
    >>> from fastbp import exchange, network2
    >>> exchange.save_safetensors(network2.Network([784, 30, 10]), "net.safetensors")
    >>> exchange.load_safetensors("net.safetensors")
    <Network [784, 30, 10]: sigmoid, sigmoid; CrossEntropyCost; 23,860 parameters; float64>
    """
    contents = contents_of(net, "a safetensors file")
    if isinstance(net, network2.Network) and contents.cost is None:
        raise ValueError(
            f"cost is {messages.describe(net.cost)} with functions of its own, and a safetensors "
            f"file has no place for Python code; expected the original {' or '.join(COSTS)}"
        )
    if contents.chapter == "network" and net._is_overridden("cost_derivative"):
        raise ValueError(
            "cost_derivative of this network is overridden, and a safetensors file has no place "
            "for Python code; expected that of fastbp.network.Network"
        )
    numpy_form = require("safetensors.numpy", "save_safetensors", "safetensors")
    metadata = {
        "fastbp_format": FORMAT_VERSION,
        "network": contents.chapter,
        "sizes": json.dumps(contents.sizes),
        "activations": json.dumps(contents.activations),
        "cost": costs.COSTS[contents.cost].__name__,
        "dtype": contents.dtype.name,
    }
    tensors = parameters.by_name(contents.weights, contents.biases)
    content = numpy_form.save(tensors, metadata)
    with files.write_atomically(path) as file:
        file.write(content)


def load_safetensors(
    path: Path, *, threads: int | None = None
) -> network.Network | network2.Network:
    """Return the network that `save_safetensors` wrote to a file.

    Parameters
    ----------
    path : path
        A .safetensors file.
    threads : int, optional
        As for `fastbp.network.Network`.

    Returns
    -------
    fastbp.network.Network or fastbp.network2.Network
        The one that was saved, with the same bits.

    Raises
    ------
    ImportError
        If safetensors is not installed: ``pip install 'fastbp[exchange]'``.
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file, or holds a number that is not finite.

    Notes
    -----
    Nothing in the file is executed, and no random numbers are drawn.
    """
    if threads is not None:
        arguments.check_count("threads", threads, 1)
    path = arguments.check_path("path", path)
    safetensors = require("safetensors", "load_safetensors", "safetensors")
    try:
        _check_header_size(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            return _read_network(file, threads)
    except (safetensors.SafetensorError, ValueError, TypeError, RecursionError) as error:
        why = messages.shorten(error, 300)
        raise ValueError(f"{path} is not a network saved by save_safetensors: {why}") from None


def _check_header_size(path):
    """Raise ValueError if a file is shorter than its header, or the header longer than any."""
    with open(path, "rb") as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
    n = int.from_bytes(start, "little")
    if len(start) < 8 or n > size - 8:
        raise ValueError(f"it has {size:,} bytes, its header promises {n + 8:,} or more")
    if n > MAX_HEADER:
        raise ValueError(f"its header has {n:,} bytes, expected at most {MAX_HEADER:,}")


def _read_network(file, threads):
    """Return the Network in an open file, or raise ValueError or TypeError."""
    metadata = file.metadata() or {}
    for key in KEYS:
        if key not in metadata:
            raise ValueError(
                f"its metadata have no {key}; if it is the state_dict of a module of PyTorch, "
                f"pass safetensors.torch.load_file(path) to from_torch"
            )
    _check_choice("fastbp_format", metadata, (FORMAT_VERSION,), "; a newer fastbp may read it")
    chapter = _check_choice("network", metadata, ("network", "network2"))
    dtype = _check_choice("dtype", metadata, DTYPES)
    cost_name, cost = COSTS[_check_choice("cost", metadata, COSTS)]
    sizes, activations = (
        _parse_list("sizes", metadata, int),
        _parse_list("activations", metadata, str),
    )
    n_layers = len(sizes) - 1
    if not 1 <= len(activations) == n_layers:
        raise ValueError(f"it has {len(activations)} activations for {len(sizes)} sizes")
    if chapter == "network" and {cost_name, *activations} != {"quadratic", "sigmoid"}:
        raise ValueError("it is a 'network' without sigmoid neurons and QuadraticCost alone")
    _check_tensors(file, arguments.check_sizes(sizes), DTYPES[dtype])
    net, plan = empty_network(chapter, sizes, activations, cost, dtype, threads)
    read = lambda name, l: file.get_tensor(f"{name}_{l}")  # noqa: E731
    net._bind_parameters(parameters.read_flat(plan, net.dtype, read))
    return net


def _check_tensors(file, sizes, dtype):
    """Raise ValueError unless a file holds the tensors of a network, in this dtype, and no others.

    Only the header is read.
    """
    wanted = {}
    for l, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        wanted |= {f"weights_{l}": [n_out, n_in], f"biases_{l}": [n_out, 1]}
    names = set(file.keys())
    for problem, some in (
        ("no tensor", wanted.keys() - names),
        ("a tensor", names - wanted.keys()),
    ):
        if some:
            name = messages.shorten(min(some), 60)
            raise ValueError(
                f"it holds {problem} {name!r}, sizes are {messages.shorten(sizes, 60)}"
            )
    for name, shape in wanted.items():
        header = file.get_slice(name)
        if list(header.get_shape()) != shape:
            raise ValueError(f"{name} has shape {header.get_shape()}, expected {shape}")
        if header.get_dtype() != dtype:
            raise ValueError(f"{name} has dtype {header.get_dtype()}, expected {dtype}")


def _check_choice(key, metadata, choices, advice=""):
    """Return the text under a key of the metadata if it is one of the choices, or raise."""
    if metadata[key] not in choices:
        seen = messages.shorten(metadata[key], 60)
        raise ValueError(f"{key} is {seen!r}, expected {' or '.join(choices)}{advice}")
    return metadata[key]


def _parse_list(key, metadata, kind):
    """Return the list of values of one type in the JSON text under a key, or raise."""
    values = json.loads(metadata[key])
    if type(values) is not list or not all(type(value) is kind for value in values):
        seen = messages.shorten(metadata[key], 60)
        raise ValueError(f"{key} is {seen}, expected a list of {kind.__name__}")
    return values
