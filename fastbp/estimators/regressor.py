"""The regressor: its parameters, what it predicts, and targets that are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from fastbp.estimators.base import BaseNetwork, trains_by_parts
from fastbp.typing import Activation, Callbacks, FloatArray, LearningRate, RandomState


class NetworkRegressor(RegressorMixin, BaseNetwork):
    """A regressor with the parameters of scikit-learn's MLPRegressor, on fastbp's kernels.

    Linear output neurons with the quadratic cost, 1/2 ||a - y||^2.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, ...
        As of `NetworkClassifier`, without `class_weight` and `deform`.

    Attributes
    ----------
    coefs_, intercepts_, loss_, ...
        As of `NetworkClassifier`, without `classes_`. The score is R2; `out_activation_` is
        "identity". The loss of a sample is 1/2 ||a - y||^2, summed over the outputs: `MLPRegressor`
        minimises the same, and reports its mean over the outputs.

    Notes
    -----
    As for `NetworkClassifier`, with scikit-learn's `MLPRegressor`. Targets are used as they are:
    where they are large, e.g. beyond +-100, scale them, e.g. by a TransformedTargetRegressor.

    A memory map in C order that has the network's type, float32 or float64, is not copied; other
    types, bytes for instance, are converted in memory as a whole. `early_stopping` without an
    `eval_set`, and weights of 0, copy the samples that they divide. For data larger than memory see
    `fastbp.network2.Network.SGD`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimator import NetworkRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = NetworkRegressor((20,), learning_rate_init=0.02, random_state=1)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.9
    True
    """

    __module__ = "fastbp.estimator"  # where users and pickles find it

    def __init__(
        self, hidden_layer_sizes: int | Sequence[int] = (100,), *,
        activation: Activation = "relu", solver: Literal["adam", "sgd"] = "adam",
        alpha: float = 1e-4, batch_size: int | Literal["auto"] = "auto",
        learning_rate: LearningRate = "constant", learning_rate_init: float = 1e-3,
        power_t: float = 0.5, max_iter: int = 200, tol: float = 1e-4,
        n_iter_no_change: float = 10, shuffle: bool = True, random_state: RandomState = None,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-8, warm_start: bool = False, verbose: bool = False,
        dropout: float | Sequence[float] = 0.0, callback: Callbacks = None,
        progress: bool | None = False, dtype: DTypeLike | None = None, n_jobs: int | None = None,
    ) -> None:  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.random_state = random_state
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.warm_start = warm_start
        self.verbose = verbose
        self.dropout = dropout
        self.callback = callback
        self.progress = progress
        self.dtype = dtype
        self.n_jobs = n_jobs

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None,
        eval_set: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:  # fmt: skip
        """Fit the network to samples.

        Parameters
        ----------
        X : array or sparse array of shape (n, n_features)
            The inputs.
        y : array of shape (n,) or (n, n_outputs)
            The targets.
        sample_weight, eval_set
            As for `NetworkClassifier.fit`, and the errors and warnings, too.

        Returns
        -------
        NetworkRegressor
            Itself.
        """
        return self._fit(X, y, sample_weight, eval_set)

    @available_if(trains_by_parts)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on samples, going on from the call before.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        NetworkRegressor
            Itself.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return the targets (n,) or (n, n_outputs) for the rows of X.

        Parameters
        ----------
        X : array or sparse array of shape (n, n_features)
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    # ------------------------------------------------ targets

    _y_numeric = True

    def _encode(self, y, dtype):
        with np.errstate(over="ignore"):
            Y = y.reshape(len(y), -1).astype(dtype)
        if not np.isfinite(Y).all():
            raise ValueError(f"y has numbers that are not finite in {dtype}, expected finite ones")
        return Y

    def _output_and_cost(self):
        return "linear", "quadratic"

    def _check_score(self, n):
        if n < 2:
            raise ValueError(
                f"early_stopping has {n} sample of validation data, and the score R2 needs 2; pass "
                f"more samples, or a longer eval_set"
            )

    def _score(self, outputs, Y, sample_weight):
        if not np.isfinite(outputs).all():
            return float("nan")
        return float(r2_score(Y, outputs, sample_weight=sample_weight))
