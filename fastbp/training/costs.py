"""The costs of chapters 1 and 3, as functions of NumPy arrays; the kernels know them by a code."""

from __future__ import annotations

import numpy as np

from fastbp.data import messages
from fastbp.training.base import sigmoid
from fastbp.typing import FloatArray


class QuadraticCost:
    """C = 1/2 ||a - y||^2, for any output activation but softmax (book, chapter 1)."""

    __module__ = "fastbp.network2"  # where users and pickles find it

    @staticmethod
    @np.errstate(under="ignore")
    def fn(a: FloatArray, y: FloatArray) -> np.floating:
        """Return the cost of an output a for the wanted output y, columns (n_out, 1)."""
        return 0.5 * np.linalg.norm(a - y) ** 2

    @staticmethod
    @np.errstate(under="ignore")
    def delta(z: FloatArray, a: FloatArray, y: FloatArray) -> FloatArray:
        """Return BP1, the error of sigmoid outputs a = sigmoid(z) for the wanted output y."""
        s = sigmoid(z)
        return (a - y) * (s * (1 - s))


class CrossEntropyCost:
    """C = -sum y ln a + (1 - y) ln(1 - a), for sigmoid outputs (book, chapter 3)."""

    __module__ = "fastbp.network2"  # where users and pickles find it

    @staticmethod
    @np.errstate(under="ignore")
    def fn(a: FloatArray, y: FloatArray) -> np.floating:
        """Return the cost of an output a for the wanted output y; 0 ln 0 counts as 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    @np.errstate(under="ignore")
    def delta(z: FloatArray, a: FloatArray, y: FloatArray) -> FloatArray:
        """Return a - y, the error of the output layer; z is not used, as in the book."""
        return a - y


class LogLikelihoodCost:
    """C = -sum y ln a, for softmax outputs (book, chapter 3)."""

    __module__ = "fastbp.network2"  # where users and pickles find it

    @staticmethod
    @np.errstate(under="ignore")
    def fn(a: FloatArray, y: FloatArray) -> np.floating:
        """Return the cost of an output a for the wanted output y; 0 ln 0 counts as 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(np.nan_to_num(-y * np.log(a)))

    @staticmethod
    @np.errstate(under="ignore")
    def delta(z: FloatArray, a: FloatArray, y: FloatArray) -> FloatArray:
        """Return a - y, the error of the output layer; z is not used."""
        return a - y


COSTS = {
    "quadratic": QuadraticCost,
    "cross-entropy": CrossEntropyCost,
    "log-likelihood": LogLikelihoodCost,
}

_FUNCTIONS = {(cost, f): getattr(cost, f) for cost in COSTS.values() for f in ("fn", "delta")}


def name_of(cost):
    """Return the name of a cost in COSTS, or None for one of the user's own; raise for no cost."""
    cost_class = cost if isinstance(cost, type) else type(cost)
    check_cost(cost)
    for name, known in COSTS.items():
        if cost_class is known and all(
            getattr(cost, f) is _FUNCTIONS[known, f] for f in ("fn", "delta")
        ):
            return name
    return None


def takes_slope(cost, activation):
    """Tell whether BP1 is that of the quadratic cost, (a - y) f'(z), for any f but softmax."""
    is_quadratic = cost.delta is _FUNCTIONS[QuadraticCost, "delta"]  # a subclass inherits it
    return is_quadratic and activation != "softmax"


def saved_cost(name, is_own, filename):
    """Return the cost that a file names, or raise ValueError for one of the user's own."""
    known = {cost.__name__: cost for cost in COSTS.values()}
    if is_own or name not in known:
        name = messages.shorten(name, 60)
        raise ValueError(
            f"it was saved with the cost {name!r}, expected one of {', '.join(known)}; pass your "
            f"own: load({str(filename)!r}, cost={name})"
        )
    return known[name]


def summed_cost(cost, out, Y):
    """Return the cost of outputs (m, n_out) for targets Y, summed over the samples."""
    name = name_of(cost)
    if name is None:
        return sum(float(cost.fn(a[:, None], y[:, None])) for a, y in zip(out, Y))
    if name == "quadratic":
        return 0.5 * float(((out - Y) ** 2).sum())
    return float(cost.fn(out, Y))  # the other two are sums over whatever they are given


def mean_cost(total, n, weights, lmbda, l1):
    """Return the mean of a cost summed over n samples, plus the terms of lmbda and l1.

    weights: a list of arrays; lmbda, l1: the parameters of regularisation, divided by n here.
    """
    squares = sum(float((w.astype(np.float64) ** 2).sum()) for w in weights) if lmbda else 0.0
    sizes = sum(float(np.abs(w.astype(np.float64)).sum()) for w in weights) if l1 else 0.0
    return total / n + 0.5 * (lmbda / n) * squares + l1 / n * sizes


def check_cost(cost):
    """Return a cost, or raise TypeError for what has no methods of one."""
    if not (callable(getattr(cost, "fn", None)) and callable(getattr(cost, "delta", None))):
        raise TypeError(
            f"cost is {messages.describe(cost)}, expected QuadraticCost, CrossEntropyCost, "
            f"LogLikelihoodCost, or a class with fn(a, y) and delta(z, a, y)"
        )
    return cost
