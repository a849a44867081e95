"""What both Networks share: parameters that anyone may read and write, and the way to the kernels.

Law: whatever a reader overrides is honoured. A network knows what has been changed on it, on its
class or in its module; then the book's own structure runs instead of the kernels.
"""

import contextlib
import functools
import sys

import numpy as np

from fastbp.data import arguments, containers, datasets, numeric_arrays, parameters, warn
from fastbp.data.warn import public
from fastbp.training import engine, reference_path


@np.errstate(under="ignore")
def sigmoid(z):
    """Return 1/(1+exp(-z)), elementwise; z: any scalar or array (book, chapter 1, equation 3)."""
    z = np.asarray(z)
    if z.dtype.kind in "biu":  # -z of an unsigned integer wraps around
        z = z.astype(np.float64)
    with np.errstate(over="ignore"):  # exp(-z) = inf is right: the sigmoid is 0 there
        return 1.0 / (1.0 + np.exp(-z))


FEW = 64  # samples: for fewer, NumPy's products are faster than packing the weights for the kernels


class Compiled:
    """A network whose sizes, weights and biases are plain attributes, as in the book.

    Between calls they may be assigned or changed at will: the next call uses what it finds. A call
    that trains works on a copy, and binds new lists of new arrays.
    """

    dtype = np.dtype(np.float64)  # defaults for a subclass with a constructor of its own
    threads = None
    _stops = True  # what is not finite is refused; a run sees to that itself
    _original = {}  # what may be overridden, by name, as this package has it
    _gradient_points = ()  # which of these the gradient depends on

    def _prepare(self, sizes, dtype, threads):
        """Set all but the parameters, or raise; return the checked sizes."""
        checked = arguments.check_sizes(sizes)
        self.dtype = arguments.check_dtype(dtype)
        self.threads = None if threads is None else arguments.check_count("threads", threads, 1)
        self.num_layers = len(sizes)
        self.sizes = sizes
        return checked

    @property
    def _plan(self):
        return self._plan_by(_plan_of)

    def _plan_by(self, plan_of, *more):
        """Return plan_of(sizes, *more), whatever someone may have assigned to sizes."""
        try:
            return plan_of(tuple(self.sizes), *more)
        except TypeError:  # it can't be a tuple, or not of numbers
            arguments.check_sizes(self.sizes)
            raise

    @public
    def backprop_batch(self, X, Y):
        """Return (nabla_b, nabla_w), the gradient summed over a mini-batch: rows are samples.

        X (m, n_in), or fastbp.Pixels; Y one-hot rows (m, n_out) or labels (m,). Shaped
        like biases and weights; nothing changes. It is the fully matrix-based backpropagation of
        the book's chapter 2 (its last exercise). Raises ValueError or TypeError for other shapes.
        """
        batch = containers.as_arrays(X, Y, "the batch")
        X, Y = datasets.training_arrays(batch, self._plan, self.dtype, "the batch")
        return self._summed_gradient(X, Y)

    def _summed_gradient(self, X, Y, name="the batch"):
        """Return (nabla_b, nabla_w), summed over the rows of X and Y, as training_arrays gives."""
        plan = self._plan
        if self._general(*self._gradient_points):
            pairs = datasets.training_pairs((X, Y), plan, self.dtype, name)
            return reference_path.summed_gradient(self.backprop, pairs)
        with self._explained(name, X, Y):
            flat = engine.gradient(self._parameters(), plan, X, Y, self.threads, name)
            if self._stops and not engine.is_finite(flat):
                raise engine.Diverged(0)
        nabla_w, nabla_b = parameters.unflatten(flat, plan)
        return nabla_b, nabla_w

    @public
    def gradient_norms(self, data):
        """Return the length of the gradient by the biases of each layer, averaged over data.

        data: pairs (x, y) or arrays (X, Y), as SGD takes them. The speed at which each layer
        learns, as the book's chapter 5 measures it. Returns a list of floats, first layer first.
        """
        data = containers.materialise(data, "data")
        X, Y = datasets.training_arrays(data, self._plan, self.dtype, "data")
        numeric_arrays.check_finite_samples(X, Y, self.dtype, "data")
        nabla_b, _ = self._summed_gradient(X, Y)
        with np.errstate(over="ignore"):  # of numbers whose squares are beyond all bounds
            return [float(np.linalg.norm(n)) / len(X) for n in nabla_b]

    # ------------------------------------------------ parameters

    def _publish(self, flat):
        """Bind new lists of new arrays of weights and biases, with the values of a flat vector."""
        self.weights, self.biases = parameters.unflatten(flat, self._plan)

    def _parameters(self):
        """Return a new flat vector of what weights and biases hold now."""
        return parameters.flatten(self.weights, self.biases, self._plan, self.dtype)

    def _layers(self):
        """Return (weights, biases) as they are now, sure to fit the network."""
        return parameters.check_layers(self.weights, self.biases, self._plan)

    def _refuse_strange_weights(self):
        if self._stops:
            parameters.check_finite_parameters(self)

    def _gradient_of_one(self, x, y, activations, output_error):
        """Return (nabla_b, nabla_w) for one sample; raise what is wrong if it is not finite."""
        weights, biases = self._layers()
        both = reference_path.backprop(x, y, weights, biases, activations, output_error)
        if self._stops and not all(map(engine.is_finite, both[0])):
            numeric_arrays.check_finite_samples(x.T, y.T, self.dtype, "the sample")
            self._refuse("the sample")
        return both

    def _refuse_strange_step(self, *lists):
        if self._stops and not parameters.all_finite(*lists):
            self._refuse("mini_batch")

    def _finite_output(self, out):
        """Return outputs; raise what is wrong if they are not finite."""
        if self._stops and not engine.is_finite(out):
            parameters.check_finite_parameters(self)
            raise FloatingPointError(
                f"a: outputs beyond {self.dtype} come of it; take smaller weights"
            )
        return out

    def _outputs_of(self, X, name, sound):
        """Return the outputs (n, n_out) for rows of X; sound: raise Diverged if not finite."""
        arguments.check_network_unchanged(self._plan, self.dtype, X.shape[1])
        if len(X) < FEW:
            values = containers.as_values(X, self.dtype)
            if not np.vdot(values, values) <= warn.LARGE**2:
                engine.check_inputs(X, self.dtype, name)
            with np.errstate(over="ignore", invalid="ignore"):
                columns = reference_path.feedforward(values.T, *self._layers(), self._functions())
            out = columns.T
        else:
            out = engine.feedforward(self._parameters(), self._plan, X, self.threads, name)
        if sound and not np.isfinite(out).all():
            raise engine.Diverged(0)
        return out

    def _train(self, samples, order, m, eta, on_samples=None, **how):
        """Run the kernels over `order` in a private copy, then publish it, interrupted or not."""
        arguments.check_network_unchanged(self._plan, self.dtype, samples.n_in, samples.Y)
        params, sound = self._parameters(), True
        try:
            engine.train(
                params, self._plan, samples, order, m, eta, self.threads, on_samples, **how
            )
        except engine.NotFinite:
            sound = False
            raise
        finally:
            if sound:
                self._publish(params)

    def _step(self, mini_batch, eta, **how):
        """Take one step with a mini-batch on the kernels; if it can't be taken, none is."""
        X, Y = datasets.training_arrays(mini_batch, self._plan, self.dtype, "mini_batch")
        params, m = self._parameters(), len(X)
        with self._explained("mini_batch", X, Y):
            samples, order = engine.Samples(X, Y, "mini_batch"), np.arange(m)
            engine.train(
                params, self._plan, samples, order, m, eta, self.threads, watch=False, **how
            )
            if self._stops and not engine.is_finite(params):
                raise engine.Diverged(0)
        self._publish(params)

    @contextlib.contextmanager
    def _explained(self, name, X, Y=None):
        """Raise what is wrong with the data, the weights, or else with the step, in words."""
        try:
            yield
        except (engine.NotFinite, engine.Diverged):
            numeric_arrays.check_finite_samples(X, Y, self.dtype, name)
            self._refuse(name)

    def _refuse(self, name):
        """Raise what is wrong with the weights, or else that sound numbers grow too large."""
        parameters.check_finite_parameters(self)
        raise FloatingPointError(
            f"{name}: numbers beyond {self.dtype} come of it; weights are unchanged. Take a "
            f"smaller eta, or smaller weights"
        ) from None

    def _standing(self):
        """Return all that a training call changes, for _stand to bring back."""
        return self.weights, self.biases

    def _stand(self, standing):
        self.weights, self.biases = standing

    def __getstate__(self):
        """Leave out what only a run sets, for as long as it lasts."""
        state = super().__getstate__()  # a dictionary, or with __slots__ a pair of them
        attributes, *slots = state if isinstance(state, tuple) else (state,)
        kept = {k: v for k, v in attributes.items() if k != "_stops"}
        return (kept, *slots) if slots else kept

    # ------------------------------------------------ what has been overridden

    def _general(self, *names):
        """Tell whether any of these override points has been changed by anyone.

        "sigmoid" stands for the module's sigmoid and sigmoid_prime, "cost" for a cost of one's own.
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
    return engine.plan_of(arguments.check_sizes(sizes))


def originals(cls, names):
    """Return what Compiled._original holds for a class: its methods and its module's functions."""
    module = sys.modules[cls.__module__]
    found = {name: getattr(cls, name) for name in names}
    return found | {
        "module": module,
        "sigmoid": module.sigmoid,
        "sigmoid_prime": module.sigmoid_prime,
    }
