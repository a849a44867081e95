"""Finite differences against backprop: the check that chapter 2 describes."""

from __future__ import annotations

import concurrent.futures
import copy

import numpy as np

from fastbp.data import arguments, containers, datasets, numeric_arrays, parameters
from fastbp.data.warn import public
from fastbp.training import reference_path
from fastbp.training.base import CompiledNetwork
from fastbp.training.compute import engine, threads
from fastbp.typing import Data

MOST = 20_000  # weights that are checked, where nothing else is said
TASKS = 8  # for each thread


@public
def gradient_check(
    net: CompiledNetwork, data: Data, *, h: float = 1e-5, most: int | None = MOST
) -> list[float]:
    """Return the worst error of backprop in each layer, against finite differences.

    Parameters
    ----------
    net : Network
        Of either chapter. Nothing of it changes.
    data : list of (x, y), or tuple (X, Y)
        A few samples, as `SGD` takes them; the cost is summed over them. Pixels, float32 and
        float64 in memory maps are not copied; each weight that is checked takes two passes over
        all samples, so take some of a large file, ``(X[:100], Y[:100])``. The targets, and with
        methods or a cost of your own the inputs too, are in memory in float64.
    h : float
        The step of the central differences (C(p + h) - C(p - h)) / 2h, which are computed in
        float64 whatever the network's type.
    most : int, optional
        About how many weights and biases are checked, spread over all of them, one of each layer at
        least; None for all. Each takes two forward passes; they run on several threads.

    Returns
    -------
    list of float
        The largest error of each layer, relative to the layer's largest gradient: about 1e-8 where
        all is well, 1e-5 in float32.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit.

    Notes
    -----
    Source: book, chapter 2.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp import mnist_loader
    >>> (X, labels), _, _ = mnist_loader.synthetic(5, 0, 0)
    >>> errors = fastbp.gradient_check(fastbp.Network([784, 30, 10]), (X, labels), most=200)
    >>> max(errors) < 1e-5
    True
    """
    plan, wide = net._plan, np.dtype(np.float64)
    h = arguments.check_range("h", h, wide, 1e-12)
    if most is not None:
        most = arguments.check_count("most", most, 1)
    data = containers.materialise(data, "data")
    X, Y = datasets.training_arrays(data, plan, wide, "data")
    numeric_arrays.check_finite_samples(X, Y, net.dtype, "data")
    nabla_b, nabla_w = net._summed_gradient(X, Y.astype(net.dtype))
    nabla = parameters.flatten(nabla_w, nabla_b, plan, wide)
    which = _spread(plan, most)
    if net._is_overridden(*net._gradient_parts, "feedforward"):
        numeric = _slow_quotients(net, which, X, Y, h)
    else:
        numeric = quotients(net, which, X, Y, h)
    errors = []
    for (w_at, b_at), n in zip(plan.offsets, plan.sizes[1:]):
        inside = (which >= w_at) & (which < b_at + n)
        largest = np.abs(nabla[w_at : b_at + n]).max()
        error = np.abs(nabla[which[inside]] - numeric[inside]).max(initial=0.0)
        errors.append(float(error / largest) if largest else float(error))
    return errors


def _spread(plan, most):
    """Return which parameters are checked: about `most`, at equal distances, and one per layer."""
    which = np.arange(0, plan.n_params, 1 if most is None else -(-plan.n_params // most))
    starts = np.array([w_at for w_at, _ in plan.offsets])
    in_layer = np.diff(np.searchsorted(which, [*starts, plan.n_params]))
    return np.union1d(which, starts[in_layer == 0])


def quotients(net, which, X, Y, h=1e-5):
    """Return the central differences of the summed cost by the parameters `which`, in float64."""
    plan, params = net._plan, net._parameters().astype(np.float64)
    shares = threads.usable(net.threads)
    parts = np.array_split(which, max(1, min(len(which), TASKS * shares)))
    with concurrent.futures.ThreadPoolExecutor(shares) as pool:
        done = pool.map(lambda part: engine.quotients(params, plan, X, Y, part, h), parts)
        return np.concatenate(list(done))


def _slow_quotients(net, which, X, Y, h):
    """The same through the network's own methods: for a cost or an activation of the reader's."""
    plan, probe = net._plan, copy.deepcopy(net)
    params = net._parameters().astype(np.float64)
    fn = getattr(getattr(net, "cost", None), "fn", None) or _quadratic
    columns = containers.as_values(X, np.dtype(np.float64))[:, :, None]

    def cost():
        probe.weights, probe.biases = parameters.views(params, plan)
        outputs = (probe.feedforward(x) for x in columns)
        return sum(float(fn(a, y)) for a, y in zip(outputs, Y[:, :, None]))

    probe.dtype = np.dtype(np.float64)
    return reference_path.numerical_gradient(cost, params, which, h)


def _quadratic(a, y):
    return 0.5 * np.sum((a - y) ** 2)
