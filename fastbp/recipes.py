"""Recipes: named settings with which plain backpropagation reads digits well.

Invariant: a recipe is a value. What it says is passed to network2's Network and its SGD as it is.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp import network2, schedules
from fastbp.typing import Deform, Schedule

__all__ = ["RECIPES", "Recipe"]

# Elastic fields and affine maps, see fastbp.expand_mnist.Deformation.
DEFORM = dict(elastic=(36, 5), rotation=15, shear=15, scale=15, shift=1, halved=(1, 7))
SIMARD = "Simard, Steinkraus and Platt 2003"
CIRESAN = "Ciresan, Meier, Gambardella and Schmidhuber 2010"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a run of `fastbp.network2.Network`, and the result of others to compare with.

    Parameters
    ----------
    sizes : tuple of int
        Neurons per layer, the input layer first. Weights begin by `he_weight_initializer`.
    epochs, mini_batch_size, eta, schedule, lmbda, momentum, nesterov, dropout, max_norm, deform
        As for `fastbp.network2.Network.SGD`.
    cost : {"cross-entropy", "log-likelihood", "quadratic"}
    activation : str
        Of the hidden layers.
    paper : float or None
        The test error of the source, in percent.
    source : str
        Where this figure is from.

    Examples
    --------
    >>> from fastbp.recipes import RECIPES
    >>> net = RECIPES["plain-30"].network()
    >>> net.SGD(training_data, **RECIPES["plain-30"].arguments())  # doctest: +SKIP
    """

    sizes: tuple[int, ...]
    epochs: int
    mini_batch_size: int
    eta: float
    schedule: Schedule
    cost: str = "cross-entropy"
    activation: str = "relu"
    lmbda: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    dropout: float | tuple[float, ...] = 0.0
    max_norm: float | None = None
    deform: Deform | None = None
    paper: float | None = None
    source: str = ""

    def network(
        self, *, dtype: DTypeLike = np.float32, threads: int | None = None
    ) -> network2.Network:
        """Return a new network, whose weights are drawn from `numpy.random`.

        Parameters
        ----------
        dtype : numpy.float32 or numpy.float64, optional
            The type of its weights; float32 is faster.
        threads : int, optional
            As for `fastbp.network2.Network`.

        Returns
        -------
        fastbp.network2.Network
        """
        cost: Any = network2.COSTS[self.cost]
        net = network2.Network(
            list(self.sizes), cost, activation=self.activation, dtype=dtype,
            threads=threads,
        )  # fmt: skip
        net.he_weight_initializer()
        return net

    def arguments(self, epochs: int | None = None) -> dict[str, Any]:
        """Return the arguments of `fastbp.network2.Network.SGD`, but for the data.

        Parameters
        ----------
        epochs : int, optional
            Another number of epochs: the schedule falls over these.

        Returns
        -------
        dict
        """
        names = (
            "epochs", "mini_batch_size", "eta", "schedule", "lmbda", "momentum", "nesterov",
            "dropout", "max_norm", "deform",
        )  # fmt: skip
        chosen = {name: getattr(self, name) for name in names}
        return chosen if epochs is None else chosen | {"epochs": epochs}


_DEFORMED = Recipe(
    (784, 800, 10), 100, 50, 0.06, schedules.Geometric(0.01), momentum=0.9, nesterov=True,
    deform=DEFORM, paper=0.70, source=SIMARD,
)  # fmt: skip
_SOFTMAX = Recipe(
    (784, 30, 10), 40, 10, 0.1, schedules.Geometric(0.01), "log-likelihood", lmbda=2.0,
    paper=3.51, source="the book, chapter 3 (regularised cross-entropy)",
)  # fmt: skip

RECIPES = types.MappingProxyType(
    {
        "best-seconds": dataclasses.replace(_DEFORMED, epochs=8, paper=None, source=""),
        "best-minute": dataclasses.replace(_DEFORMED, epochs=40, paper=None, source=""),
        "784-800-10": _DEFORMED,
        "784-1000-500-10": dataclasses.replace(
            _DEFORMED, sizes=(784, 1000, 500, 10), eta=0.05, epochs=240, paper=0.49, source=CIRESAN
        ),
        "ciresan-2010-4": dataclasses.replace(
            _DEFORMED, sizes=(784, 2500, 2000, 1500, 1000, 500, 10), eta=0.03, epochs=200,
            paper=0.35, source=CIRESAN,
        ),
        "dropout-3x1024": Recipe(
            (784, 1024, 1024, 1024, 10), 100, 100, 0.12, schedules.Linear(), "log-likelihood",
            momentum=0.9, dropout=(0.1, 0.4, 0.4, 0.4), max_norm=3.0, paper=1.06,
            source="Srivastava and others 2014 (dropout, max-norm, relu)",
        ),
        "plain-800": Recipe(
            (784, 800, 10), 25, 50, 0.05, schedules.Linear(), momentum=0.9, dropout=(0.0, 0.5),
            paper=1.6, source=f"{SIMARD} (no distortions)",
        ),
        "plain-100": dataclasses.replace(
            _SOFTMAX, sizes=(784, 100, 10), epochs=60, lmbda=1.0, dropout=(0.0, 0.2), paper=2.20,
            source="the book, chapter 6 (softmax, best of 3)",
        ),
        "plain-30": _SOFTMAX,
    }
)  # fmt: skip
