"""What both Networks share: parameters that anyone may read and write, and the way to the kernels.

Invariant: what a subclass, an instance or a module overrides is used. A network knows what has been
changed on it, on its class or in its module; then the reference path runs instead of the kernels.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastbp.data import arguments, containers, datasets, numeric_arrays, parameters, warn
from fastbp.data.warn import public
from fastbp.training import group, reference_path, representation
from fastbp.training.compute import engine
from fastbp.training.compute.divergence import Diverged
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.rules import NO_RULES
from fastbp.training.compute.samples import NonFiniteInput, Samples, check_inputs
from fastbp.typing import Data, FloatArray, Inputs

# The networks whose methods do not raise for what is not finite: those that a run trains.
_unchecked_networks = contextvars.ContextVar("unchecked_networks", default=())


@np.errstate(under="ignore")
def sigmoid(z: ArrayLike) -> FloatArray:
    """Return 1/(1+exp(-z)), elementwise; z: any scalar or array (book, chapter 1, equation 3)."""
    z = np.asarray(z)
    if z.dtype.kind in "biu":  # -z of an unsigned integer wraps around
        z = z.astype(np.float64)
    with np.errstate(over="ignore"):  # exp(-z) = inf is right: the sigmoid is 0 there
        return 1.0 / (1.0 + np.exp(-z))


FEW = 64  # samples: for fewer, NumPy's products are faster than packing the weights for the kernels


class CompiledNetwork:
    """A network whose sizes, weights and biases are plain attributes, as in the book.

    Between calls they may be assigned or changed at will: the next call uses what it finds. A call
    that trains works on a copy, and binds new lists of new arrays.
    """

    sizes: list[int]
    num_layers: int
    weights: list[FloatArray]
    biases: list[FloatArray]
    # Defaults for a subclass with a constructor of its own:
    dtype: np.dtype[np.floating] = np.dtype(np.float64)
    threads: int | None = None
    _original: dict[str, Any] = {}  # what may be overridden, by name, as this package has it
    _gradient_parts: tuple[str, ...] = ()  # the names of what the gradient depends on

    def _prepare(self, sizes, dtype, threads):
        """Set all but the parameters, or raise; return the checked sizes."""
        checked = arguments.check_sizes(sizes)
        self.dtype = arguments.check_dtype(dtype)
        arguments.check_memory(checked, self.dtype)
        self.threads = None if threads is None else arguments.check_count("threads", threads, 1)
        self.num_layers = len(sizes)
        self.sizes = sizes
        return checked

    @property
    def _plan(self):
        return self._plan_by(_plan_of)

    def _plan_by(self, make_plan, *more):
        """Return make_plan(sizes, *more), whatever may have been assigned to sizes."""
        try:
            return make_plan(tuple(self.sizes), *more)
        except TypeError:  # it can't be a tuple, or not of numbers
            arguments.check_sizes(self.sizes)
            raise

    @public
    def backprop_batch(self, X: Inputs, Y: ArrayLike) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return the gradient of the cost, summed over a mini-batch.

        Parameters
        ----------
        X : array_like, shape (m, n_in), or fastbp.Pixels
            Rows are samples. Pixels, float32 and float64 in a memory map are not copied, unless
            methods or a cost of your own are used.
        Y : array_like, shape (m, n_out) or (m,)
            One-hot rows, or labels, of which one-hot rows are made in memory.

        Returns
        -------
        nabla_b, nabla_w : list of ndarray
            Shaped like `biases` and `weights`. Nothing of the network changes.

        Raises
        ------
        TypeError, ValueError
            For other shapes, or what is not finite.

        Notes
        -----
        The fully matrix-based backpropagation of the book's chapter 2.
        """
        batch = containers.as_arrays(X, Y, "the batch")
        X, Y = datasets.training_arrays(batch, self._plan, self.dtype, "the batch")
        return self._summed_gradient(X, Y)

    def _summed_gradient(self, X, Y, name="the batch"):
        """Return (nabla_b, nabla_w), summed over the rows of X and Y, as training_arrays gives."""
        plan = self._plan
        if self._is_overridden(*self._gradient_parts):
            pairs = datasets.training_pairs((X, Y), plan, self.dtype, name)
            return reference_path.summed_gradient(self.backprop, pairs)
        with self._translate_errors(name, X, Y):
            flat = engine.gradient(self._parameters(), plan, X, Y, self.threads, name)
            if self._checks_finite and not engine.is_finite(flat):
                raise Diverged(0)
        nabla_w, nabla_b = parameters.unflatten(flat, plan)
        return nabla_b, nabla_w

    @public
    def gradient_norms(self, data: Data) -> list[float]:
        """Return the length of the gradient by the biases of each layer, averaged over data.

        Parameters
        ----------
        data : list of (x, y), or tuple (X, Y)
            As in `SGD`.

        Returns
        -------
        list of float
            One for each layer after the input layer.

        Raises
        ------
        TypeError, ValueError
            For data that do not fit.

        Notes
        -----
        The speed at which each layer learns: book, chapter 5.
        """
        data = containers.materialise(data, "data")
        X, Y = datasets.training_arrays(data, self._plan, self.dtype, "data")
        numeric_arrays.check_finite_samples(X, Y, self.dtype, "data")
        nabla_b, _ = self._summed_gradient(X, Y)
        with np.errstate(over="ignore"):  # of numbers whose squares are beyond all bounds
            return [float(np.linalg.norm(n)) / len(X) for n in nabla_b]

    # ------------------------------------------------ what is shown of it

    def __repr__(self) -> str:
        return representation.text(self)

    def _repr_html_(self) -> str:
        """Return the table that notebooks show."""
        return representation.as_html(self)

    # ------------------------------------------------ parameters

    def _bind_parameters(self, flat):
        """Bind new lists of new arrays of weights and biases, with the values of a flat vector."""
        self.weights, self.biases = parameters.unflatten(flat, self._plan)

    def _parameters(self):
        """Return a new flat vector of what weights and biases hold now."""
        return parameters.flatten(self.weights, self.biases, self._plan, self.dtype)

    def _layers(self):
        """Return (weights, biases) as they are now, sure to fit the network."""
        return parameters.check_layers(self.weights, self.biases, self._plan)

    def _finite_copies(self):
        """Return (weights, biases): lists of new arrays of the network's type, or raise.

        Raises ValueError or TypeError for what does not fit the network, or is not finite.
        """
        flat = self._parameters()
        parameters.check_finite_parameters(self)
        return parameters.unflatten(flat, self._plan)

    def _check_weights(self):
        """Raise ValueError if weights or biases are not finite."""
        if self._checks_finite:
            parameters.check_finite_parameters(self)

    def _gradient_of_one(self, x, y, activations, output_error):
        """Return (nabla_b, nabla_w) for one sample; raise what is wrong if it is not finite."""
        weights, biases = self._layers()
        both = reference_path.backprop(x, y, weights, biases, activations, output_error)
        if self._checks_finite and not all(map(engine.is_finite, both[0])):
            numeric_arrays.check_finite_samples(x.T, y.T, self.dtype, "the sample")
            self._raise_non_finite("the sample")
        return both

    def _check_step(self, *lists):
        """Raise FloatingPointError if new weights or biases are not finite."""
        if self._checks_finite and not parameters.all_finite(*lists):
            self._raise_non_finite("mini_batch")

    def _finite_output(self, out):
        """Return outputs; raise what is wrong if they are not finite."""
        if self._checks_finite and not engine.is_finite(out):
            parameters.check_finite_parameters(self)
            raise FloatingPointError(
                f"a: outputs beyond {self.dtype} come of it; take smaller weights"
            )
        return out

    def _outputs_of(self, X, name, check):
        """Return the outputs (n, n_out) for rows of X; check: raise Diverged if not finite."""
        arguments.check_network_unchanged(self._plan, self.dtype, X.shape[1])
        if len(X) < FEW:
            values = containers.as_values(X, self.dtype)
            if not np.vdot(values, values) <= warn.LARGE**2:
                check_inputs(X, self.dtype, name)
            with np.errstate(over="ignore", invalid="ignore"):
                columns = reference_path.feedforward(values.T, *self._layers(), self._functions())
            out = columns.T
        else:
            out = engine.feedforward(self._parameters(), self._plan, X, self.threads, name)
        if check and not np.isfinite(out).all():
            raise Diverged(0)
        return out

    @contextlib.contextmanager
    def _descent(self, samples, order, settings):
        """Give a Descent on a copy of the parameters, which are bound when it ends.

        settings: StepSettings; several processes have a class of their own.
        """
        arguments.check_network_unchanged(self._plan, self.dtype, samples.n_in, samples.Y)
        params, is_finite = self._parameters(), True
        try:
            with group.current().descent(
                params, self._plan, samples, order, settings, self.threads
            ) as descent:
                yield descent
        except NonFiniteInput:
            is_finite = False
            raise
        finally:
            if is_finite:
                self._bind_parameters(params)

    def _step(self, mini_batch, eta, rules=NO_RULES):
        """Take one step with a mini-batch on the kernels; if it can't be taken, none is."""
        X, Y = datasets.training_arrays(mini_batch, self._plan, self.dtype, "mini_batch")
        params, m = self._parameters(), len(X)
        with self._translate_errors("mini_batch", X, Y):
            samples, order = Samples(X, Y, "mini_batch"), np.arange(m)
            how = dict(rules=rules, check=False)
            engine.train(params, self._plan, samples, order, m, eta, self.threads, **how)
            if self._checks_finite and not engine.is_finite(params):
                raise Diverged(0)
        self._bind_parameters(params)

    @contextlib.contextmanager
    def _translate_errors(self, name, X, Y=None):
        """Raise what is wrong with the data, the weights, or else with the step, in words."""
        try:
            yield
        except (NonFiniteInput, Diverged):
            numeric_arrays.check_finite_samples(X, Y, self.dtype, name)
            self._raise_non_finite(name)

    def _raise_non_finite(self, name):
        """Raise what is wrong with the weights, or else that finite numbers grow too large."""
        parameters.check_finite_parameters(self)
        raise FloatingPointError(
            f"{name}: numbers beyond {self.dtype} come of it; weights are unchanged. Take a "
            f"smaller eta, or smaller weights"
        ) from None

    # ------------------------------------------------ checks of what is not finite

    @property
    def _checks_finite(self):
        """Tell whether methods raise for what is not finite; a run looks for that itself."""
        return id(self) not in map(id, _unchecked_networks.get())

    @contextlib.contextmanager
    def _unchecked(self):
        """Within this context no method raises for what is not finite."""
        token = _unchecked_networks.set((*_unchecked_networks.get(), self))
        try:
            yield
        finally:
            _unchecked_networks.reset(token)

    # ------------------------------------------------ what has been overridden

    def _is_overridden(self, *names):
        """Tell whether any of these override points has been changed by anyone.

        "sigmoid": the module's sigmoid and sigmoid_prime; "cost": whether it is the user's own.
        """
        for name in names:
            if name == "sigmoid":
                module = self._original["module"]
                functions = ("sigmoid", "sigmoid_prime")
                if any(getattr(module, f) is not self._original[f] for f in functions):
                    return True
            elif name == "cost":
                if self._has_own_cost():
                    return True
            elif name in self.__dict__ or getattr(type(self), name) is not self._original[name]:
                return True
        return False

    def _has_own_cost(self):
        """Tell whether the cost is not one that the kernels know."""
        return False


@functools.lru_cache(maxsize=64)
def _plan_of(sizes):
    return plan_of(arguments.check_sizes(sizes))


def originals(cls, names):
    """Return `_original` of a class: its methods, and the functions of its module."""
    module = sys.modules[cls.__module__]
    found = {name: getattr(cls, name) for name in names}
    return found | {
        "module": module,
        "sigmoid": module.sigmoid,
        "sigmoid_prime": module.sigmoid_prime,
    }
