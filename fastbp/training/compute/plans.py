"""What a network computes: its sizes, its activations and its cost, by the codes of the kernels."""

import functools
import itertools

import numpy as np

from fastbp.data import arguments, messages
from fastbp.kernels import activations as act
from fastbp.kernels import costs, layout

ACTIVATION_CODES = {
    "sigmoid": act.SIGMOID,
    "tanh": act.TANH,
    "relu": act.RELU,
    "linear": act.LINEAR,
    "softmax": act.SOFTMAX,
}
HIDDEN_ACTIVATIONS = tuple(name for name in ACTIVATION_CODES if name != "softmax")
COST_CODES = {
    "quadratic": costs.QUADRATIC,
    "cross-entropy": costs.CROSS_ENTROPY,
    "log-likelihood": costs.LOG_LIKELIHOOD,
}
# Which cost goes with which output activation, and by which slope BP1 multiplies a - y: f'(z) for
# the quadratic cost; the other two are made so that it cancels.
OUTPUT_SLOPES = {
    ("quadratic", "sigmoid"): act.SIGMOID,
    ("quadratic", "tanh"): act.TANH,
    ("quadratic", "relu"): act.RELU,
    ("quadratic", "linear"): act.LINEAR,
    ("cross-entropy", "sigmoid"): act.LINEAR,
    ("log-likelihood", "softmax"): act.LINEAR,
}


class Plan:
    """What a network computes: sizes, activations and cost.

    sizes: neurons per layer, the input layer first; activations: a name for each layer after it,
    sigmoid everywhere if there is none; cost: a name that goes with the last of them. Parameters
    are a flat vector w1 b1 w2 b2 ..., each w (n_out, n_in) row-major; offsets: where w and b of
    each layer begin in it.
    """

    def __init__(self, sizes, activations=(), cost="quadratic"):
        self.sizes, self.cost = sizes, COST_CODES[cost]
        activations = activations or ("sigmoid",) * (len(sizes) - 1)
        codes = [ACTIVATION_CODES[name] for name in activations]
        slopes = [*codes[:-1], OUTPUT_SLOPES[cost, activations[-1]]]
        self.codes = np.array([codes, slopes]).T
        self.shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
        counts = [n for a, b in itertools.pairwise(sizes) for n in (a * b, b)]
        starts = [0, *itertools.accumulate(counts)]
        self.offsets = [*zip(starts[:-1:2], starts[1::2])]
        self.n_params = starts[-1]
        self.forward_flops = 2 * sum(a * b for a, b in itertools.pairwise(sizes))
        self.flops = 3 * self.forward_flops - 2 * sizes[0] * sizes[1]  # no BP2 into the inputs
        self.layout = functools.lru_cache(maxsize=8)(self._layout)

    def _layout(self, dtype, m):
        """Return the Layout of packed weights of this type, for mini-batches of up to m samples."""
        return layout.Layout(self.sizes, dtype, m, self.codes)


@functools.lru_cache(maxsize=64)
def plan_of(sizes, activations=(), cost="quadratic"):
    """Return the Plan of a tuple of sizes, a tuple of activations and a cost."""
    return Plan(sizes, activations, cost)


@functools.lru_cache(maxsize=64)
def checked_plan_of(sizes, activations, cost):
    """Return the Plan of a network2, or raise: anything may have been assigned to it.

    cost: a name of costs.COSTS, or None for a cost of the user's own.
    """
    sizes = arguments.check_sizes(sizes)
    check_activations(activations[:-1], activations[-1], sizes, cost)
    if cost is None:
        return plan_of(sizes)  # its shapes only: the reference path runs
    return plan_of(sizes, activations, cost)


def check_activations(activation, output, sizes, cost):
    """Return a tuple with the activation of each layer after the input layer, or raise.

    activation: of the hidden layers, one name or a list; output: of the output layer, or None for
    the one that goes with the cost; cost: a name of costs.COSTS, or None for one of the user's own.
    """
    num_layers = len(sizes)
    if not isinstance(activation, (str, list, tuple)):
        raise TypeError(
            f"activation is {messages.describe(activation)}, expected a name or a list of names"
        )
    hidden = [activation] * (num_layers - 2) if isinstance(activation, str) else list(activation)
    if len(hidden) != num_layers - 2:
        raise ValueError(
            f"activation has {len(hidden)} names, expected {num_layers - 2}: one per hidden layer"
        )
    for name in hidden or [activation] * isinstance(activation, str):
        if name not in HIDDEN_ACTIVATIONS:
            names = ", ".join(HIDDEN_ACTIVATIONS)
            raise ValueError(f"activation is {messages.describe(name)}, expected one of {names}")
    if output is None:
        output = "softmax" if cost == "log-likelihood" else "sigmoid"
    if output not in ACTIVATION_CODES:
        raise ValueError(
            f"output is {messages.describe(output)}, expected one of {', '.join(ACTIVATION_CODES)}"
        )
    if cost and (cost, output) not in OUTPUT_SLOPES:
        fitting = [o for c, o in OUTPUT_SLOPES if c == cost]
        cost_class = f"{cost.title().replace('-', '')}Cost"  # e.g. CrossEntropyCost
        raise ValueError(
            f"{cost_class} does not go with output {messages.describe(output)}, "
            f"expected {' or '.join(fitting)}"
        )
    if output == "softmax" and sizes[-1] == 1:
        raise ValueError(
            "one softmax output neuron is always 1, whatever goes in; use 2 output neurons, or "
            "one sigmoid neuron with CrossEntropyCost"
        )
    return (*hidden, output)
