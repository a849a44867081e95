"""What a Network computes, as plain values, and Networks made of such values.

Invariant: a Network that is passed never changes, and no array here shares memory with it or with
the object of another library.
"""

import importlib
from typing import NamedTuple

import numpy as np

from fastbp import network, network2
from fastbp.data import arguments, messages, numeric_arrays, parameters
from fastbp.training import costs
from fastbp.training.compute.plans import check_activations

CHAPTERS = {"network": network.Network, "network2": network2.Network}


class Contents(NamedTuple):
    """What a Network computes: the chapter's module, its settings, and copies of its arrays."""

    chapter: str  # a key of CHAPTERS
    sizes: tuple
    activations: tuple  # a name for each layer after the input layer
    cost: str | None  # a name of costs.COSTS; None for one of the user's own
    dtype: np.dtype
    weights: list  # (n_out, n_in) each
    biases: list  # (n_out, 1) each


class Layer(NamedTuple):
    """The arrays of a layer of another library, and their names in messages."""

    w_name: str
    w: np.ndarray  # (n_out, n_in)
    b_name: str
    b: np.ndarray  # (n_out,)


def require(module, purpose, package):
    """Return an imported module of an optional library, or raise ImportError naming the package."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise  # the library is there; something that it needs is not
        raise ImportError(f"{purpose} needs {package}: pip install {package}") from None


# ------------------------------------------------ of a Network


def contents_of(net, form):
    """Return the Contents of a Network; form: the name of what it becomes, for messages.

    Raises TypeError for what is no Network, and ValueError for one that computes something else
    than its layers, or holds numbers that are not finite.
    """
    chapter = next((name for name, cls in CHAPTERS.items() if isinstance(net, cls)), None)
    if chapter is None:
        raise TypeError(
            f"net is {messages.describe(net)}, expected a fastbp.network.Network or a "
            f"fastbp.network2.Network"
        )
    if chapter == "network":
        activations, cost = (network.OUTPUT,) * len(net._plan.shapes), "quadratic"
    else:
        activations, cost = tuple(net.activations), net._cost_name()
    plan, dtype = net._plan, arguments.check_dtype(net.dtype)
    _refuse_overridden(net, chapter, activations, form)
    return Contents(chapter, plan.sizes, activations, cost, dtype, *net._finite_copies())


def _refuse_overridden(net, chapter, activations, form):
    """Raise ValueError if a Network's output is not that of its weights, biases, activations."""
    if net._is_overridden("feedforward"):
        raise ValueError(
            f"feedforward of this {type(net).__name__} is overridden, and {form} has no place for "
            f"Python code; expected a network with the feedforward of fastbp.{chapter}.Network"
        )
    if "sigmoid" in activations and net._is_overridden("sigmoid"):
        raise ValueError(
            f"sigmoid or sigmoid_prime of fastbp.{chapter} has been replaced, and {form} has no "
            f"place for Python code; expected the original functions"
        )


# ------------------------------------------------ to a Network


def empty_network(chapter, sizes, activations, cost, dtype, threads=None):
    """Return (a Network that has no weights yet, its plan); no random numbers are drawn.

    cost: a class or an instance. Raises TypeError or ValueError as the constructors do.
    """
    net = CHAPTERS[chapter].__new__(CHAPTERS[chapter])
    checked = net._prepare(sizes, dtype, threads)
    if chapter == "network2":
        net.cost = costs.check_cost(cost)
        net.activations = check_activations(
            list(activations[:-1]), activations[-1], checked, net._cost_name()
        )
    return net, net._plan


def network2_of(layers, activations, cost, dtype):
    """Return the network2.Network of a list of Layers, with one activation for each.

    cost: a class or an instance, or None for the one that goes with the output. Raises ValueError
    if layers do not fit each other, or hold numbers that are not finite in `dtype`.
    """
    dtype = arguments.check_dtype(dtype)
    sizes = [layers[0].w.shape[1]]
    for layer in layers:
        n_out, n_in = layer.w.shape
        if n_in != sizes[-1]:
            raise ValueError(
                f"{layer.w_name} has shape {(n_out, n_in)}, expected {(n_out, sizes[-1])}: the "
                f"layer before it has {sizes[-1]} neurons"
            )
        if layer.b.shape != (n_out,):
            raise ValueError(
                f"{layer.b_name} has shape {layer.b.shape}, expected {(n_out,)}: "
                f"{layer.w_name} has {n_out} rows"
            )
        for name, array in ((layer.w_name, layer.w), (layer.b_name, layer.b)):
            numeric_arrays.check_finite(array, name, "correct it", dtype)
        sizes.append(n_out)
    if cost is None:
        names = {"softmax": "log-likelihood", "sigmoid": "cross-entropy"}
        cost = costs.COSTS[names.get(activations[-1], "quadratic")]
    net, plan = empty_network("network2", sizes, activations, cost, dtype)
    weights, biases = [layer.w for layer in layers], [layer.b[:, None] for layer in layers]
    net._bind_parameters(parameters.flatten(weights, biases, plan, dtype))
    return net
