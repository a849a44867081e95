"""Recipes: named settings with which plain backpropagation reads digits well.

Those of papers stay near their settings; best-seconds, best-minute and best-quarter gave the least
error on the validation images that we found within 15 seconds, a minute and a quarter of an hour of
two cores.

Invariant: a recipe is a value. What it says is passed to network2's Network and its SGD as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import types
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp import network2, schedules
from fastbp.data import arguments
from fastbp.typing import Deform, Schedule

__all__ = ["RECIPES", "Recipe"]

# Elastic fields and affine maps, see fastbp.expand_mnist.Deformation.
DEFORM = dict(elastic=(36, 5), rotation=15, shear=15, scale=15, shift=1, halved=(1, 7))
SIMARD = "Simard, Steinkraus and Platt 2003"
CIRESAN = "Ciresan, Meier, Gambardella and Schmidhuber 2010"
SRIVASTAVA = "Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a run of `fastbp.network2.Network`, and the result of others to compare with.

    Parameters
    ----------
    sizes : tuple of int
        Neurons per layer, the input layer first.
    epochs, mini_batch_size, eta, schedule, lmbda, momentum, nesterov, dropout, max_norm, deform
        As for `fastbp.network2.Network.SGD`.
    cost : {"cross-entropy", "log-likelihood", "quadratic"}
    activation : str
        Of the hidden layers.
    init : {"he", "default", "large"}
        The initial weights: the method ``{init}_weight_initializer`` of the network.
    paper : float or None
        The test error of the source, in percent.
    source : str
        Where this figure, or the recipe, is from.
    differs : str
        Where the settings are not those of the source.

    Examples
    --------
    >>> import random
    >>> import numpy as np
    >>> from fastbp import mnist_loader
    >>> from fastbp.recipes import RECIPES
    >>> training_data, validation_data, _ = mnist_loader.synthetic(1000, 100, 0)
    >>> random.seed(1)
    >>> np.random.seed(1)
    >>> recipe = RECIPES["best-seconds"]
    >>> net = recipe.network()
    >>> arguments = recipe.arguments(epochs=2) | {"eta": 0.05}  # or any other
    >>> _ = net.SGD(training_data, **arguments, evaluation_data=validation_data,
    ...             monitor_evaluation_accuracy=True, verbose=False)
    """

    sizes: tuple[int, ...]
    epochs: int
    mini_batch_size: int
    eta: float
    schedule: Schedule | None = None
    cost: str = "cross-entropy"
    activation: str = "relu"
    init: str = "he"
    lmbda: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    dropout: float | tuple[float, ...] = 0.0
    max_norm: float | None = None
    deform: Deform | None = None
    paper: float | None = None
    source: str = ""
    differs: str = ""

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

        Raises
        ------
        TypeError, ValueError
            If the recipe names an unknown cost or initializer, or as `fastbp.network2.Network`.
        """
        arguments.check_choice("init", self.init, "he", "default", "large")
        cost: Any = network2.COSTS[arguments.check_choice("cost", self.cost, *network2.COSTS)]
        net = network2.Network(
            list(self.sizes), cost, activation=self.activation, dtype=dtype, threads=threads
        )
        net._initialize(self.init)
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
        chosen = copy.deepcopy({name: getattr(self, name) for name in names})
        return chosen if epochs is None else chosen | {"epochs": epochs}


_SIMARD = Recipe(
    (784, 800, 10), 190, 50, 0.08, schedules.Linear(), momentum=0.9, nesterov=True,
    deform=DEFORM, paper=0.70, source=SIMARD,
    differs="relu, Nesterov's momentum, mini-batches, eta falls linearly, affine maps beside the "
    "elastic fields, these with sigma 5 and alpha 36; 50,000 of the 60,000 images",
)  # fmt: skip
_CIRESAN = dataclasses.replace(
    _SIMARD, sizes=(784, 1000, 500, 10), epochs=240, eta=0.05, activation="tanh", init="default",
    paper=0.49, source=CIRESAN,
    differs="cross-entropy, Nesterov's momentum, mini-batches, eta falls linearly, shifts, inputs "
    "0..1; 50,000 of the 60,000 images",
)  # fmt: skip
_OURS = dataclasses.replace(_SIMARD, paper=None, differs="")

RECIPES = types.MappingProxyType(
    {
        "nielsen-ch1": Recipe(
            (784, 30, 10), 30, 10, 3.0, cost="quadratic", activation="sigmoid", init="large",
            paper=4.58, source="the book, chapter 1 (its best epoch)",
        ),
        "nielsen-ch3": Recipe(
            (784, 100, 10), 60, 10, 0.1, activation="sigmoid", init="large", lmbda=5.0, paper=1.96,
            source="the book, chapter 3 (its best epoch, on the validation images)",
        ),
        "plain-800": Recipe(
            (784, 800, 10), 25, 50, 0.05, schedules.Linear(), momentum=0.9, dropout=(0.0, 0.5),
            paper=1.6, source=f"{SIMARD} (no deformations)",
            differs="relu, momentum, dropout; 50,000 of the 60,000 images",
        ),
        "simard-2003": _SIMARD,
        "ciresan-2010-1": _CIRESAN,
        "ciresan-2010-4": dataclasses.replace(
            _CIRESAN, sizes=(784, 2500, 2000, 1500, 1000, 500, 10), epochs=200, eta=0.03,
            activation="relu", init="he", paper=0.35, differs="relu, " + _CIRESAN.differs,
        ),
        "dropout-3x1024": Recipe(
            (784, 1024, 1024, 1024, 10), 80, 100, 0.05, schedules.Linear(), "log-likelihood",
            momentum=0.9, dropout=(0.2, 0.5, 0.5, 0.5), max_norm=0.8, paper=1.06,
            source=f"{SRIVASTAVA} (relu, max-norm)",
            differs="a smaller max-norm, in fewer epochs; 50,000 of the 60,000 images",
        ),
        "best-seconds": Recipe(
            (784, 100, 10), 35, 10, 0.1, schedules.Linear(),
            deform=DEFORM | dict(elastic=(20, 5), rotation=10, shear=10, scale=10),
            source="ours, for 15 seconds",
        ),
        "best-minute": dataclasses.replace(_OURS, epochs=60, source="ours, for a minute"),
        "best-quarter": dataclasses.replace(
            _OURS, sizes=(784, 1000, 500, 10), epochs=300, eta=0.06,
            source="ours, for a quarter of an hour",
        ),
    }
)  # fmt: skip
