"""What both estimators share: samples in, epochs, fitted attributes out.

Invariant: `coefs_` and `intercepts_` are all that is learned: each call reads them anew, and they
change at the end of fit and partial_fit only.
"""

import contextlib
import itertools
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp.data import arguments, parameters
from fastbp.data.perceptrons import fitted_layers
from fastbp.data.warn import no_large_input_warnings
from fastbp.estimators.figures import mean_cost
from fastbp.estimators.fit_settings import (
    fit_settings,
    generator_of,
    input_types,
    number_of_threads,
)
from fastbp.estimators.fitting import Fitting, TrainingState
from fastbp.estimators.training_data import TrainingData, canonical, check_sparse
from fastbp.training.compute import engine
from fastbp.training.compute.plans import plan_of

OUT_ACTIVATIONS = {"sigmoid": "logistic", "softmax": "softmax", "linear": "identity"}


def trains_by_parts(estimator):
    """Tell whether an estimator has partial_fit; raise AttributeError if not."""
    if estimator.early_stopping:
        raise AttributeError(
            "partial_fit does not support early_stopping=True: it trains for one epoch"
        )
    return True


class BaseNetwork(BaseEstimator):
    """A fully connected network that is fitted by gradient descent.

    A subclass has the methods of the last section.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _fit(self, X, y, sample_weight, eval_set=None, incremental=False, classes=None):
        with self._unchanged_by_errors():
            if incremental:
                self._note_classes(y, classes)
            fitting = self._prepare(X, y, sample_weight, eval_set, incremental)
        settings, state = fitting.settings, fitting.state
        if not incremental:
            state.waited = 0
        try:
            if incremental:
                fitting.run(1, first_epoch=state.epoch)
            else:
                fitting.run(settings.epochs)
        finally:  # after an error, or Ctrl-C, what was learned until then
            self._publish(fitting, keeps_order=incremental or settings.warm_start)
        if not (incremental or fitting.finished):
            warnings.warn(
                f"max_iter={settings.epochs} epochs are done, and training has not converged: its "
                f"figures still improve by tol={settings.tol}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    @contextlib.contextmanager
    def _unchanged_by_errors(self):
        """Restore the attributes if arguments are refused: classes_ go with the weights."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _prepare(self, X, y, sample_weight, eval_set, incremental):
        """Return the Fitting of a call, or raise for arguments that make no sense."""
        settings = fit_settings(self)
        is_first = not hasattr(self, "coefs_") or not (incremental or settings.warm_start)
        fitted = None if is_first else fitted_layers(self)
        data = self._read(X, y, sample_weight, fitted, incremental)
        plan = self._plan_of(settings, data)
        validation = None if eval_set is None else self._read_eval_set(eval_set, plan, data.X.dtype)
        if is_first:
            state = TrainingState(generator_of(self.random_state))
            activation, dtype = settings.activation, data.X.dtype
            params = self._initial_parameters(activation, plan, state.generator, dtype)
        else:
            state, params = self._state, self._flat_parameters(fitted, plan)
        if settings.early_stopping and validation is None:
            strata = self._strata(data.Y)
            data, validation = data.split(strata, settings.validation_fraction, state.split_key)
        if settings.early_stopping:
            self._check_score(len(validation.Y))
        measure = None if validation is None else self._measure_of(plan, validation)
        labels = None if settings.deformation is None else self._image_labels(data)
        return Fitting(settings, plan, params, state, data, measure, labels)

    # ------------------------------------------------ samples

    def _read(self, X, y, sample_weight, fitted, incremental):
        """Return the TrainingData of arguments of fit, without samples of weight 0.

        fitted: FittedLayers that training goes on with, or None.
        """
        is_first = fitted is None
        dtype = input_types(self.dtype) if is_first else fitted.dtype
        X, y = self._checked(X, y, dtype, is_first)
        y = self._read_targets(y, is_first, incremental)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, copy=True)
        if weights.min() < 0:
            raise ValueError(f"sample_weight has {weights.min()}, expected no negative weights")
        with np.errstate(over="ignore"):
            weights *= self._class_weights(y, incremental)
            total = weights.sum()
        if not (weights.min() >= 0 and total < np.inf):
            name = "class_weight" if getattr(self, "class_weight", None) else "sample_weight"
            raise ValueError(
                f"{name} gives samples weights from {weights.min()} to {weights.max()}, expected "
                f"none negative, and a finite sum"
            )
        if not total:
            raise ValueError("sample_weight is 0 for all samples, expected at least one above 0")
        return TrainingData(X, self._encode(y, X.dtype), weights).without_weight_0()

    def _read_eval_set(self, eval_set, plan, dtype):
        """Return the TrainingData of the argument eval_set, or raise."""
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 2:
            raise TypeError("eval_set is not a pair of arrays, expected (X, y)")
        try:
            X, y = self._checked(*eval_set, dtype, reset=False)
            Y = self._encode(y, dtype)
            if Y.shape[1] != plan.sizes[-1]:
                raise ValueError(f"y has {Y.shape[1]} column(s), expected {plan.sizes[-1]}")
        except ValueError as error:
            raise ValueError(f"eval_set: {error}") from None
        return TrainingData(X, Y, np.ones(X.shape[0]))

    def _checked(self, X, y, dtype, reset):
        """Return X (n, n_in), contiguous or CSR, and y as arrays, or raise."""
        check_sparse(X, "X")
        check_sparse(y, "y")
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=dtype, order="C", multi_output=True,
            y_numeric=self._y_numeric, reset=reset,
        )  # fmt: skip
        if hasattr(y, "toarray"):
            y = y.toarray()
        return canonical(X), column_or_1d(y, warn=True) if y.shape[1:] == (1,) else y

    # ------------------------------------------------ the network

    def _plan_of(self, settings, data):
        output, cost = self._output_and_cost()
        sizes = data.X.shape[1], *settings.hidden_sizes, data.Y.shape[1]
        names = (settings.activation,) * len(settings.hidden_sizes) + (output,)
        return plan_of(arguments.check_sizes(sizes), names, cost)

    def _initial_parameters(self, activation, plan, generator, dtype):
        """Return a flat vector; the numbers are those of MLPClassifier, in the same order.

        activation: of the hidden layers, also where there are none.
        """
        factor = 2.0 if activation == "sigmoid" else 6.0
        weights, biases = [], []
        for n_in, n_out in itertools.pairwise(plan.sizes):
            bound = np.sqrt(factor / (n_in + n_out))
            weights.append(generator.uniform(-bound, bound, (n_in, n_out)).T)
            biases.append(generator.uniform(-bound, bound, (n_out, 1)))
        return parameters.flatten(weights, biases, plan, dtype)

    def _flat_parameters(self, fitted, plan):
        """Return FittedLayers as a flat vector, or raise where they do not fit the plan."""
        if fitted.sizes != plan.sizes:
            raise ValueError(
                f"the fitted network has the sizes {fitted.sizes}, expected {plan.sizes} by "
                f"hidden_layer_sizes and the samples; call fit with warm_start=False"
            )
        weights, biases = [w.T for w in fitted.coefs], [b[:, None] for b in fitted.intercepts]
        return parameters.flatten(weights, biases, plan, fitted.dtype)

    def _fitted_plan(self, sizes):
        ends = self.n_features_in_, self.n_outputs_
        if (sizes[0], sizes[-1]) != ends:
            raise ValueError(
                f"coefs_ are of a network of the sizes {sizes}, expected {ends[0]} inputs and "
                f"{ends[1]} outputs, as it was fitted"
            )
        output, cost = self._output_and_cost()
        hidden = fit_settings(self).activation
        return plan_of(sizes, (hidden,) * (len(sizes) - 2) + (output,), cost)

    def _outputs(self, X):
        """Return the outputs (n, n_out) for what a user passes to predict."""
        check_is_fitted(self, "coefs_")
        fitted = fitted_layers(self)
        check_sparse(X, "X")
        X = validate_data(self, X, accept_sparse="csr", dtype=fitted.dtype, order="C", reset=False)
        plan = self._fitted_plan(fitted.sizes)
        return self._feedforward(self._flat_parameters(fitted, plan), plan, canonical(X))

    def _feedforward(self, params, plan, X):
        with no_large_input_warnings():
            return engine.feedforward(params, plan, X, number_of_threads(self.n_jobs))

    def _measure_of(self, plan, validation):
        """Return the function of flat parameters that returns (loss, score) on validation data."""
        _, cost = self._output_and_cost()
        X, Y, weights = validation.X, validation.Y, validation.sample_weight

        def measure(params):
            outputs = self._feedforward(params, plan, X)
            return mean_cost(outputs, Y, weights, cost), self._score(outputs, Y, weights)

        return measure

    def _publish(self, fitting, keeps_order):
        """Set the fitted attributes."""
        self._state = state = fitting.state
        plan, settings = fitting.plan, fitting.settings
        weights, biases = parameters.views(fitting.params, plan)
        self.coefs_ = [np.ascontiguousarray(w.T) for w in weights]
        self.intercepts_ = [b[:, 0].copy() for b in biases]
        self.n_layers_, self.n_outputs_ = len(plan.sizes), plan.sizes[-1]
        self.out_activation_ = OUT_ACTIVATIONS[self._output_and_cost()[0]]
        self.n_iter_, self.t_ = fitting.epochs_done, state.samples_seen
        self.loss_curve_ = list(state.loss_curve)
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.best_loss_ = None if settings.early_stopping else state.best_loss
        is_validated = fitting.measure is not None
        self.validation_scores_ = list(state.validation_scores) if is_validated else None
        losses = list(state.validation_loss_curve) if is_validated else None
        self.validation_loss_curve_ = losses
        scores = [*state.validation_scores] or [np.nan]
        self.best_validation_score_ = float(np.fmax.reduce(scores)) if is_validated else None
        if not keeps_order:
            state.order = None

    # ------------------------------------------------ of the subclasses

    _y_numeric = False

    def _note_classes(self, y, classes):
        """Note the classes of a call of partial_fit."""

    def _read_targets(self, y, is_first, incremental):
        """Note the classes of a call of fit, and return the targets."""
        return y

    def _class_weights(self, y, incremental):
        """Return what the weights of samples are multiplied by."""
        return 1.0

    def _encode(self, y, dtype):
        """Return the targets of the output neurons (n, n_out)."""
        raise NotImplementedError

    def _output_and_cost(self):
        """Return the names of the output activation and of the cost."""
        raise NotImplementedError

    def _strata(self, Y):
        """Return the classes (n,) of which the same share is held out, or None."""
        return

    def _check_score(self, n):
        """Raise ValueError if n samples of validation data are too few for a score."""

    def _score(self, outputs, Y, sample_weight):
        """Return what score would, from outputs and targets (n, n_out)."""
        raise NotImplementedError
