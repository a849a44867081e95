"""The arguments of an estimator, checked when it is fitted, as scikit-learn wants it."""

import dataclasses
import math
import numbers

import numpy as np

from fastbp.data import arguments, messages
from fastbp.estimators.learning_rate import LearningRate
from fastbp.training.compute import threads
from fastbp.training.epoch_data.new_data import deformation_of
from fastbp.training.monitoring.callbacks import check_callbacks
from fastbp.training.settings import RuleSettings

# The names of MLPClassifier, and "sigmoid", by the names of the kernels.
ACTIVATIONS = {
    "logistic": "sigmoid",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "identity": "linear",
}
FLOAT64 = np.dtype(np.float64)
AUTO_BATCH_SIZE = 32  # what batch_size "auto" is, if there are so many samples


@dataclasses.dataclass
class FitSettings:
    """The arguments of an estimator; see estimator.NetworkClassifier.

    hidden_sizes: neurons per hidden layer; activation: a name of the kernels; rate: LearningRate;
    deformation: of images, or None; n_threads: None for all that are faster.
    """

    hidden_sizes: tuple
    activation: str
    solver: str
    alpha: float
    batch_size: int
    rate: LearningRate
    epochs: int
    tol: float
    patience: float
    shuffle: bool
    momentum: float
    nesterov: bool
    betas: tuple
    epsilon: float
    early_stopping: bool
    validation_fraction: float
    warm_start: bool
    verbose: bool
    progress: bool | None
    dropout: float | list
    deformation: object
    callbacks: tuple
    n_threads: int | None

    def rule_settings(self, num_layers, dtype):
        """Return the RuleSettings, with alpha in place of lmbda."""
        momentum = self.momentum if self.solver == "sgd" else 0.0
        return RuleSettings(
            dtype, num_layers, self.alpha, momentum=momentum,
            nesterov=self.nesterov and momentum > 0, dropout=self.dropout, optimizer=self.solver,
            betas=self.betas, epsilon=self.epsilon,
        )  # fmt: skip


def fit_settings(estimator):
    """Return the FitSettings of an estimator, or raise ValueError or TypeError."""
    arguments.check_choice("activation", estimator.activation, *ACTIVATIONS)
    arguments.check_choice("solver", estimator.solver, "sgd", "adam")
    epochs = arguments.check_count("max_iter", estimator.max_iter, 1)
    return FitSettings(
        hidden_sizes=_hidden_sizes(estimator.hidden_layer_sizes),
        activation=ACTIVATIONS[estimator.activation],
        solver=estimator.solver,
        alpha=_number(estimator, "alpha", 0),
        batch_size=_batch_size(estimator.batch_size),
        rate=LearningRate(
            estimator.learning_rate,
            _positive(estimator, "learning_rate_init"),
            _number(estimator, "power_t", 0),
            epochs,
            estimator.solver,
        ),
        epochs=epochs,
        tol=_number(estimator, "tol", 0),
        patience=_patience(estimator.n_iter_no_change),
        shuffle=arguments.check_flag("shuffle", estimator.shuffle),
        momentum=_number(estimator, "momentum", 0, 1),
        nesterov=arguments.check_flag("nesterovs_momentum", estimator.nesterovs_momentum),
        betas=(_number(estimator, "beta_1", 0, 1), _number(estimator, "beta_2", 0, 1)),
        epsilon=_positive(estimator, "epsilon"),
        early_stopping=arguments.check_flag("early_stopping", estimator.early_stopping),
        validation_fraction=_fraction(estimator.validation_fraction),
        warm_start=arguments.check_flag("warm_start", estimator.warm_start),
        verbose=bool(estimator.verbose),
        progress=_progress(estimator.progress),
        dropout=estimator.dropout,
        deformation=deformation_of(getattr(estimator, "deform", None)),
        callbacks=check_callbacks(estimator.callback),
        n_threads=number_of_threads(estimator.n_jobs),
    )


def generator_of(random_state):
    """Return a RandomState: an int's, the one that is passed, one on a Generator's bits, or new.

    None is a new one, not NumPy's global one: what fastbp draws moves no other program's numbers.
    """
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(random_state.bit_generator)
    if random_state is None:
        return np.random.RandomState()
    return np.random.RandomState(arguments.check_count("random_state", random_state, 0))


def input_types(dtype):
    """Return what sklearn's validate_data converts X to, for the argument `dtype`."""
    return [np.float64, np.float32] if dtype is None else arguments.check_dtype(dtype)


def number_of_threads(n_jobs):
    """Return how many threads n_jobs is: -1 all, -2 all but one; None as many as are faster."""
    if n_jobs is None:
        return None
    count = arguments.check_count("n_jobs", n_jobs, -(2**31))
    if count == 0:
        raise ValueError("n_jobs is 0, expected None, 1 or more, or -1 for all processors")
    return count if count > 0 else max(1, threads.usable() + 1 + count)


def _hidden_sizes(sizes):
    sizes = (sizes,) if isinstance(sizes, numbers.Number) else sizes
    try:
        sizes = list(sizes)
    except TypeError:
        raise TypeError(
            f"hidden_layer_sizes is {messages.describe(sizes)}, expected integers, e.g. (100,)"
        ) from None
    return tuple(
        arguments.check_count(f"hidden_layer_sizes[{l}]", size, 1) for l, size in enumerate(sizes)
    )


def _batch_size(batch_size):
    if isinstance(batch_size, str):
        arguments.check_choice("batch_size", batch_size, "auto")
        return AUTO_BATCH_SIZE
    return arguments.check_count("batch_size", batch_size, 1)


def _patience(count):
    if isinstance(count, float) and count == math.inf:
        return count
    return arguments.check_count("n_iter_no_change", count, 1)


def _number(estimator, name, minimum, upper_bound=None):
    return arguments.check_range(name, getattr(estimator, name), FLOAT64, minimum, upper_bound)


def _positive(estimator, name):
    number = arguments.check_rate(name, getattr(estimator, name), FLOAT64)
    if number <= 0:
        raise ValueError(f"{name} is {number}, expected more than 0")
    return number


def _fraction(fraction):
    number = arguments.check_rate("validation_fraction", fraction, FLOAT64)
    if not 0 < number < 1:
        raise ValueError(f"validation_fraction is {number}, expected more than 0 and less than 1")
    return number


def _progress(progress):
    return None if progress is None else arguments.check_flag("progress", progress)
