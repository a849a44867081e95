"""The types of arguments and results, for annotations: what is accepted where, by name.

Invariant: these are types only; what fits a network is checked by the calls themselves.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.data.pixels import Pixels

__all__ = [
    "Activation",
    "AnySets",
    "Callback",
    "Callbacks",
    "Cost",
    "Data",
    "DataSets",
    "Deform",
    "FloatArray",
    "FloatSet",
    "Inputs",
    "LabelledInputs",
    "LearningRate",
    "NumericArray",
    "PairLists",
    "Pairs",
    "Path",
    "PixelSet",
    "PixelSets",
    "RandomState",
    "Schedule",
    "StopOn",
    "TrainingData",
]
Path: TypeAlias = str | os.PathLike[str]
FloatArray: TypeAlias = NDArray[np.floating]
NumericArray: TypeAlias = NDArray[Any]  # of uint8, float32 or float64
Inputs: TypeAlias = ArrayLike | Pixels  # X (n, n_in), one sample a row

# One set of a data set: images (n, n_in), and labels (n,).
LabelledInputs: TypeAlias = tuple[Inputs, ArrayLike]
FloatSet: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]
PixelSet: TypeAlias = tuple[Pixels, NDArray[np.int64]]
# The training, validation and test set.
DataSets: TypeAlias = tuple[FloatSet, FloatSet, FloatSet]
PixelSets: TypeAlias = tuple[PixelSet, PixelSet, PixelSet]
AnySets: TypeAlias = tuple[LabelledInputs, LabelledInputs, LabelledInputs]

# The book's lists: of pairs (x, y) for training, of pairs (x, label) for validation and test.
PairLists: TypeAlias = tuple[
    list[tuple[NDArray[np.float32], NDArray[np.float64]]],
    list[tuple[NDArray[np.float32], int]],
    list[tuple[NDArray[np.float32], int]],
]

# The book's pairs (x, y) of columns, or (x, label); or arrays (X, Y), one sample a row.
Pairs: TypeAlias = Iterable[tuple[ArrayLike, ArrayLike]]
Data: TypeAlias = Pairs | tuple[Inputs, ArrayLike]

# Or a function of the epoch, 0, 1 ..., that returns its data.
TrainingData: TypeAlias = Data | Callable[[int], Data]
# A fastbp.expand_mnist.Deformation, or a dictionary of its arguments.
Deform: TypeAlias = Any
# One of fastbp.schedules, or its name; a function of (epoch, epochs) that returns a factor of eta,
# or of the epoch alone that returns eta.
Schedule: TypeAlias = Callable[[int, int], float] | Callable[[int], float] | str

# What is called after each epoch, with its figures by name; one that returns True ends the run.
Callback: TypeAlias = Callable[[dict[str, Any]], object]
Callbacks: TypeAlias = Callback | list[Callback] | tuple[Callback, ...] | None

StopOn: TypeAlias = Literal[
    "evaluation_accuracy", "evaluation_cost", "training_accuracy", "training_cost"
]

# Of the estimators.
Activation: TypeAlias = Literal["relu", "logistic", "sigmoid", "tanh", "identity"]
LearningRate: TypeAlias = Literal["constant", "invscaling", "adaptive"] | Schedule
RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None


class Cost(Protocol):
    """A cost of network2: a class with static methods, or an instance."""

    def fn(self, a: Any, y: Any, /) -> Any:
        """Return the cost of an output a for the wanted output y, columns (n_out, 1)."""

    def delta(self, z: Any, a: Any, y: Any, /) -> Any:
        """Return the error of the output layer, (n_out, 1)."""
