"""Chapter 3: the book's improved Network, compiled. The drop-in for the book's network2.py.

Law: as in network.py, whatever a reader overrides is honoured, a cost of their own among it. What
the book's form of a call does not have comes as keyword-only arguments.
"""

import collections
import functools
import itertools
import json

import numpy as np

from fastbp.data import (
    arguments,
    containers,
    datasets,
    files,
    messages,
    numeric_arrays,
    parameters,
    predictions,
)
from fastbp.data.warn import public
from fastbp.training import base, engine, reference_path, sgd
from fastbp.training.base import sigmoid
from fastbp.training.reference_path import softmax  # noqa: F401  (a public name of this module)

FORMAT_VERSION = 1
PATIENCE = 10  # epochs without improvement, where a schedule waits and no other number is given
SMALLEST = 128  # the book's schedule ends at this fraction of the first learning rate


@np.errstate(under="ignore")
def sigmoid_prime(z):
    """Return the derivative of this module's sigmoid, sigmoid(z) (1 - sigmoid(z))."""
    s = sigmoid(z)
    return s * (1 - s)


class QuadraticCost:
    """C = 1/2 ||a - y||^2, for any output activation but softmax (book, chapter 1)."""

    @staticmethod
    @np.errstate(under="ignore")
    def fn(a, y):
        """Return the cost of an output a for the wanted output y, columns (n_out, 1)."""
        return 0.5 * np.linalg.norm(a - y) ** 2

    @staticmethod
    @np.errstate(under="ignore")
    def delta(z, a, y):
        """Return the error of the output layer, for sigmoid outputs."""
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    """C = -sum y ln a + (1 - y) ln(1 - a), for sigmoid outputs (book, chapter 3)."""

    @staticmethod
    @np.errstate(under="ignore")
    def fn(a, y):
        """Return the cost of an output a for the wanted output y; 0 ln 0 counts as 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    @np.errstate(under="ignore")
    def delta(z, a, y):
        """Return the error of the output layer; z is not used, as in the book."""
        return a - y


class LogLikelihoodCost:
    """C = -sum y ln a, for softmax outputs (book, chapter 3)."""

    @staticmethod
    @np.errstate(under="ignore")
    def fn(a, y):
        """Return the cost of an output a for the wanted output y; 0 ln 0 counts as 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(np.nan_to_num(-y * np.log(a)))

    @staticmethod
    @np.errstate(under="ignore")
    def delta(z, a, y):
        """Return the error of the output layer; z is not used."""
        return a - y


COSTS = {
    "quadratic": QuadraticCost,
    "cross-entropy": CrossEntropyCost,
    "log-likelihood": LogLikelihoodCost,
}


class Network(base.Compiled):
    """A feedforward network with the improvements of chapter 3.

    sizes: neurons per layer, e.g. [784, 30, 10]. cost: QuadraticCost, CrossEntropyCost,
    LogLikelihoodCost, or a class or instance of one's own with fn(a, y) and delta(z, a, y).
    activation: of the hidden layers, "sigmoid", "tanh", "relu" or "linear", or a list with one for
    each. output: that of the output layer; None for the one that goes with the cost: "softmax"
    with LogLikelihoodCost, else "sigmoid". dtype, threads: as in network.Network.

    Attributes, as in the book: num_layers, sizes, cost, biases, weights. Raises TypeError or
    ValueError for arguments that make no sense, or a cost and an output that do not go together.
    Source: book, chapter 3.
    """

    _gradient_points = "backprop", "cost", "sigmoid"
    activations = ()

    def __init__(
        self, sizes, cost=CrossEntropyCost, *, activation="sigmoid", output=None,
        dtype=np.float64, threads=None,
    ):  # fmt: skip
        checked = self._prepare(sizes, dtype, threads)
        self.cost = _checked_cost(cost)
        self.activations = _checked_activations(activation, output, checked, self._cost_name())
        self.default_weight_initializer()

    # ------------------------------------------------ initialisers

    @public
    def default_weight_initializer(self):
        """Draw weights from N(0, 1/n_in) and biases from N(0, 1): neurons start unsaturated."""
        self._draw(lambda n_out, n_in: np.random.randn(n_out, n_in) / np.sqrt(n_in))

    @public
    def large_weight_initializer(self):
        """Draw weights and biases from N(0, 1), as chapters 1 and 2 do."""
        self._draw(np.random.randn)

    def _draw(self, weights_of):
        sizes = self._plan.sizes
        biases = [np.random.randn(n_out, 1) for n_out in sizes[1:]]
        weights = [weights_of(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
        self._publish(parameters.flatten(weights, biases, self._plan, self.dtype))

    # ------------------------------------------------ the book's methods

    @public(ignore=("under", "over", "invalid"))
    def feedforward(self, a):
        """Return the output (n_out, 1) for the input column a (n_in, 1); m columns give m columns.

        Raises ValueError for any other shape.
        """
        a = numeric_arrays.as_columns(a, self._plan.sizes[0], self.dtype, "a")
        out = reference_path.feedforward(a, *self._layers(), self._functions())
        return self._finite_output(out)

    @public
    def SGD(
        self, training_data, epochs, mini_batch_size, eta, lmbda=0.0, evaluation_data=None,
        monitor_evaluation_cost=False, monitor_evaluation_accuracy=False,
        monitor_training_cost=False, monitor_training_accuracy=False, early_stopping_n=0,
        *, l1=0.0, momentum=0.0, nesterov=False, dropout=0.0, max_norm=None, schedule=None,
        stop_on="evaluation_accuracy", monitor_subset=None, monitor_every=None, progress=None,
        on_divergence="stop", checkpoint=None, checkpoint_every=30.0, resume=False,
    ):  # fmt: skip
        """Train by mini-batch stochastic gradient descent; return what was monitored.

        training_data, evaluation_data: pairs or arrays, as network.Network.SGD takes them. lmbda,
        l1: the parameters of L2 and L1 regularisation. The four monitors print after each epoch,
        and return, (evaluation cost, evaluation accuracy, training cost, training accuracy): lists
        with a number for each epoch (more with monitor_every), empty where not asked for.
        Accuracies are counts; costs have the terms of lmbda and l1 in them.

        early_stopping_n: end after so many epochs in which `stop_on` did not improve; stop_on:
        "evaluation_accuracy", "evaluation_cost", "training_accuracy" or "training_cost", monitored
        or not. momentum: 0..1, of the book's kind or Nesterov's. dropout: the share of hidden
        neurons that each sample does without (the others count for more, so that nothing changes
        afterwards), or a list of shares, input layer first; it draws one number from numpy.random.
        max_norm: the greatest length of the weights into a neuron. schedule: None for a constant
        eta; "halve" to halve it after early_stopping_n epochs (10 if 0) in which stop_on did not
        improve, and to end below 1/128 of it; or a function of the epoch, 0, 1 ..., that returns
        eta. With early_stopping_n or "halve" the best weights are kept in the end, not the last.
        monitor_subset: monitor the first so many samples only; monitor_every: monitor every so many
        mini-batches, too (with lmbda, weights then agree within rounding with those of other
        intervals). progress, on_divergence, checkpoint, checkpoint_every, resume: as in
        network.Network.SGD.

        A cost or a method of one's own has no dropout; an update_mini_batch of one's own no
        momentum, l1 and max_norm: ValueError.

        Raises ValueError or TypeError, before any weight changes, for data that do not fit and for
        arguments out of range; FloatingPointError, OSError as network.Network.SGD does. Source:
        book, chapter 3; Srivastava and others 2014 (dropout, max-norm).
        """
        run = _Run(
            self, training_data, epochs, mini_batch_size, eta, lmbda, evaluation_data,
            (
                monitor_evaluation_cost, monitor_evaluation_accuracy, monitor_training_cost,
                monitor_training_accuracy,
            ),
            early_stopping_n, l1, momentum, nesterov, dropout, max_norm, schedule, stop_on,
            monitor_subset, monitor_every, (on_divergence, checkpoint, checkpoint_every, resume),
        )  # fmt: skip
        return run.returned(progress)

    @public
    def update_mini_batch(self, mini_batch, eta, lmbda, n):
        """Take one step: w (1 - eta lmbda/n) - (eta/m) * sum of the gradients; biases not decayed.

        mini_batch: m pairs (x, y) or arrays (X, Y); n: the size of the whole training set, by
        which lmbda is divided. Raises ValueError or TypeError for data that do not fit.
        """
        plan, dtype = self._plan, self.dtype
        eta = arguments.check_rate("eta", eta, dtype)
        lmbda = arguments.check_range("lmbda", lmbda, dtype, 0)
        n = arguments.check_count("n", n, 1)
        mini_batch = containers.materialise(mini_batch, "mini_batch")
        rules = engine.Rules(l2=lmbda / n)
        if not self._general("backprop", "cost", "sigmoid"):
            self._step(mini_batch, eta, rules=rules)
            return
        self._reference_step(
            datasets.training_pairs(mini_batch, plan, dtype, "mini_batch"), eta, rules, None
        )

    @public(ignore=("under", "over", "invalid"))
    def backprop(self, x, y):
        """Return (nabla_b, nabla_w), the gradient of the cost for one sample, not regularised.

        x (n_in, 1); y (n_out, 1), with one output neuron also a number. Raises ValueError for
        other shapes. Source: book, chapter 2.
        """
        plan = self._plan
        x = numeric_arrays.as_columns(x, plan.sizes[0], self.dtype, "x", 1)
        y = numeric_arrays.as_target_column(y, plan.sizes[-1], self.dtype, "y")
        return self._gradient_of_one(x, y, self._functions(), self._output_error)

    @public
    def accuracy(self, data, convert=False):
        """Return how many samples of data the network gets right.

        data: pairs (x, label), or with convert=True pairs (x, y) of one-hot columns, as training
        data are; or arrays (X, labels) or (X, Y). One sigmoid output neuron answers 1 where its
        output is at least 0.5, else 0; a tanh neuron 1 where it is at least 0, else -1 (the book's
        argmax over one output is always 0). Raises ValueError for other expected answers, and for
        one linear or relu output neuron, which has none: monitor the cost.
        """
        activation = self.activations[-1]
        predictions.check_classifies(self._plan.sizes[-1], activation)
        data = containers.materialise(data, "data")
        X, Y = self._read(data, convert, "data")
        one_hot = not (convert or containers.is_array_form(data))
        labels = datasets.labels_of_targets(Y, activation, "data", one_hot)
        self._refuse_strange_weights()
        with self._explained("data", X):
            return self._accuracy(X, labels)

    @public
    def total_cost(self, data, lmbda, convert=False):
        """Return the cost, averaged over data, plus 0.5 lmbda/len(data) * sum of all w^2.

        data: pairs (x, y) of one-hot columns, or with convert=True pairs (x, label), as evaluation
        data are; or arrays (X, labels) or (X, Y).
        """
        lmbda = arguments.check_range("lmbda", lmbda, self.dtype, 0)
        X, Y = self._read(data, not convert, "data")
        self._refuse_strange_weights()
        with self._explained("data", X, Y):
            return self._total_cost(X, Y, lmbda, 0.0)

    @public
    def save(self, filename):
        """Write the network to a JSON file that the book's load reads, too.

        What the book's form has no place for stands in extra keys. The file appears whole or not
        at all. Raises OSError if it cannot be written, ValueError if the weights do not fit or are
        not finite.
        """
        flat = parameters.flatten(self.weights, self.biases, self._plan, self.dtype)
        parameters.check_finite_parameters(self)
        weights, biases = parameters.views(flat, self._plan)
        cost = self.cost if isinstance(self.cost, type) else type(self.cost)
        content = {
            "sizes": list(self._plan.sizes),
            "weights": [w.tolist() for w in weights],
            "biases": [b.tolist() for b in biases],
            "cost": cost.__name__,
            "activations": list(self.activations),
            "dtype": self.dtype.name,
            "own_cost": self._has_own_cost(),
            "fastbp_format": FORMAT_VERSION,
        }
        with files.write_atomically(filename) as file:
            file.write(json.dumps(content).encode())

    # ------------------------------------------------ how it is done

    @property
    def _plan(self):
        if not isinstance(self.activations, (list, tuple)) or not self.activations:
            raise TypeError(
                f"activations is {messages.describe(self.activations)}, expected a name for each "
                f"layer"
            )
        return self._plan_by(_plan_of, tuple(self.activations), self._cost_name())

    def _cost_name(self):
        """Return the kernels' name of the cost, or None for one of the reader's own."""
        cost = self.cost if isinstance(self.cost, type) else type(self.cost)
        if self.cost not in COSTS.values():
            _checked_cost(self.cost)  # someone may have assigned anything
        for name, known in COSTS.items():
            if cost is known and all(
                getattr(self.cost, f) is _ORIGINAL_COSTS[known, f] for f in ("fn", "delta")
            ):
                return name
        return None

    def _has_own_cost(self):
        return self._cost_name() is None

    def _read(self, data, one_hot, name):
        """Return (X, Y) of data: pairs with columns (one_hot) or with labels; or arrays."""
        data = containers.materialise(data, name)
        read = datasets.training_arrays if one_hot else datasets.evaluation_arrays
        return read(data, self._plan, self.dtype, name)

    def _outputs(self, X):
        """Return the outputs (n, n_out) for the rows of X."""
        if not self._general("feedforward", "sigmoid", "cost"):
            return self._outputs_of(X, "data", self._stops)
        values = containers.as_values(X, self.dtype)
        return np.array([np.ravel(self.feedforward(x[:, None])) for x in values])

    def _accuracy(self, X, labels):
        predicted = predictions.predict_labels(self._outputs(X), self.activations[-1])
        return int((predicted == labels).sum())

    def _total_cost(self, X, Y, lmbda, l1):
        with np.errstate(over="ignore", invalid="ignore"):  # a cost may well be infinite
            return self._cost_and_terms(X, Y, lmbda, l1)

    def _cost_and_terms(self, X, Y, lmbda, l1):
        out, name = self._outputs(X).astype(np.float64), self._cost_name()
        if name is None:
            cost = sum(float(self.cost.fn(a[:, None], y[:, None])) for a, y in zip(out, Y))
        elif name == "quadratic":
            cost = 0.5 * float(((out - Y) ** 2).sum())
        else:  # the other two are sums over whatever they are given
            cost = float(self.cost.fn(out, Y))
        weights, _ = self._layers()
        squares = sum(float((w.astype(np.float64) ** 2).sum()) for w in weights)
        sizes = sum(float(np.abs(w.astype(np.float64)).sum()) for w in weights) if l1 else 0.0
        return cost / len(X) + 0.5 * (lmbda / len(X)) * squares + l1 / len(X) * sizes

    # ------------------------------------------------ the reference path

    def _functions(self):
        """Return the pair (f, f') of each layer; the sigmoid is this module's, as it is now."""
        functions = reference_path.ACTIVATIONS
        if self._general("sigmoid"):  # somebody has patched it
            functions = functions | {"sigmoid": (sigmoid, lambda z, a: sigmoid_prime(z))}
        return [functions[name] for name in self.activations]

    def _output_error(self, z, a, y, slope):
        """Return BP1, the Delta of the output layer."""
        if self._cost_name() == "quadratic":
            return (a - y) * slope(z, a)
        return self.cost.delta(z, a, y)

    def _reference_step(self, pairs, eta, rules, velocity):
        """Take a step by backprop, sample by sample; velocity: a flat vector, or None."""
        plan = self._plan
        nabla_b, nabla_w = reference_path.summed_gradient(self.backprop, pairs)
        if velocity is not None:
            velocity = parameters.views(velocity, plan)
        weights, biases = reference_path.update(
            *self._layers(), nabla_b, nabla_w, velocity, eta, len(pairs), rules
        )
        self._refuse_strange_step(weights, biases)
        self.weights, self.biases = weights, biases


@functools.lru_cache(maxsize=64)
def _plan_of(sizes, activations, cost_name):
    """Return the Plan, or raise: someone may have assigned to sizes, activations or cost."""
    sizes = arguments.check_sizes(sizes)
    _checked_activations(activations[:-1], activations[-1], sizes, cost_name)
    if cost_name is None:
        return engine.plan_of(sizes)  # its shapes only: the general path runs
    return engine.plan_of(sizes, activations, cost_name)


def _checked_cost(cost):
    if not (callable(getattr(cost, "fn", None)) and callable(getattr(cost, "delta", None))):
        raise TypeError(
            f"cost is {messages.describe(cost)}, expected QuadraticCost, CrossEntropyCost, "
            f"LogLikelihoodCost, or a class with fn(a, y) and delta(z, a, y)"
        )
    return cost


def _checked_activations(activation, output, sizes, cost_name):
    """Return a tuple with the activation of each layer after the input, or raise."""
    num_layers = len(sizes)
    names = [name for name in engine.ACTIVATIONS if name != "softmax"]
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
        if name not in names:
            raise ValueError(
                f"activation is {messages.describe(name)}, expected one of {', '.join(names)}"
            )
    if output is None:
        output = "softmax" if cost_name == "log-likelihood" else "sigmoid"
    if output not in engine.ACTIVATIONS:
        raise ValueError(
            f"output is {messages.describe(output)}, expected one of "
            f"{', '.join(engine.ACTIVATIONS)}"
        )
    if cost_name and (cost_name, output) not in engine.OUTPUT_SLOPES:
        fitting = [o for c, o in engine.OUTPUT_SLOPES if c == cost_name]
        raise ValueError(
            f"{COSTS[cost_name].__name__} does not go with output {messages.describe(output)}, "
            f"expected {' or '.join(fitting)}"
        )
    if output == "softmax" and sizes[-1] == 1:
        raise ValueError(
            "one softmax output neuron is always 1, whatever goes in; use 2 output neurons, or "
            "one sigmoid neuron with CrossEntropyCost"
        )
    return (*hidden, output)


_ORIGINAL_COSTS = {(cost, f): getattr(cost, f) for cost in COSTS.values() for f in ("fn", "delta")}
_OVERRIDABLE = ("feedforward", "update_mini_batch", "backprop", "accuracy", "total_cost")
Network._original = base.originals(Network, _OVERRIDABLE)


# ------------------------------------------------ one call of SGD


MONITORS = "evaluation_cost", "evaluation_accuracy", "training_cost", "training_accuracy"
# In this order the book prints them.
_LINES = {
    "training_cost": "Cost on training data: {}",
    "training_accuracy": "Accuracy on training data: {} / {}",
    "evaluation_cost": "Cost on evaluation data: {}",
    "evaluation_accuracy": "Accuracy on evaluation data: {} / {}",
}


class _Run(sgd.Run):
    """One call of SGD: its arguments checked, its data in arrays, what is watched, when it ends."""

    def __init__(
        self, net, data, epochs, mini_batch_size, eta, lmbda, evaluation_data, monitors,
        early_stopping_n, l1, momentum, nesterov, dropout, max_norm, schedule, stop_on,
        monitor_subset, monitor_every, settings,
    ):  # fmt: skip
        super().__init__(net, epochs, mini_batch_size, eta, *settings)
        dtype = net.dtype
        self.lmbda = arguments.check_range("lmbda", lmbda, dtype, 0)
        self.l1 = arguments.check_range("l1", l1, dtype, 0)
        self.patience = arguments.check_count("early_stopping_n", early_stopping_n, 0)
        self.momentum = arguments.check_range("momentum", momentum, dtype, 0, 1)
        self.max_norm = None
        if max_norm is not None:
            self.max_norm = arguments.check_range("max_norm", max_norm, dtype, np.finfo(dtype).tiny)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov goes with a momentum, which is 0")
        self.halving = isinstance(schedule, str) and schedule == "halve"
        self.schedule = schedule if callable(schedule) else None
        if schedule is not None and not self.halving and self.schedule is None:
            raise ValueError(
                f"schedule is {messages.describe(schedule)}, expected None, 'halve' or a function"
            )
        self.subset = self.every = None
        if monitor_subset is not None:
            self.subset = arguments.check_count("monitor_subset", monitor_subset, 1)
        if monitor_every is not None:
            self.every = arguments.check_count("monitor_every", monitor_every, 1)
        self.dropout = _checked_dropout(dropout, len(net._plan.sizes), dtype)
        self.stop_on = arguments.check_choice("stop_on", stop_on, *MONITORS)
        self.history = {name: [] for name in MONITORS}
        self.wanted = {name for name, asked in zip(MONITORS, monitors) if asked}
        self.needed = self.wanted | ({stop_on} if self.patience or self.halving else set())
        if any(name.endswith("accuracy") for name in self.needed):
            predictions.check_classifies(net._plan.sizes[-1], net.activations[-1])
        for name in sorted(self.needed):
            if name.startswith("evaluation") and evaluation_data is None:
                raise ValueError(f"{name} needs evaluation_data, which is None")
        self.best, self.best_weights, self.waited, self.halved_at = None, None, 0, 0
        self._read(containers.materialise(data, "training_data"))
        self._read_evaluation(evaluation_data)
        if self.momentum:
            self.velocity = np.zeros(net._plan.n_params, dtype)
        self.draws, self.key = bool(self.dropout), 0

    def _read(self, data):
        net = self.net
        own_gradient = net._general("update_mini_batch", "backprop")
        self.general = own_gradient or net._general("cost", "sigmoid")
        if self.dropout and self.general:
            raise ValueError(
                "dropout goes with the costs and methods of this module only: backprop has no masks"
            )
        extras = self.momentum or self.l1 or self.max_norm
        if extras and net._general("update_mini_batch"):
            raise ValueError(
                "momentum, l1 and max_norm do not reach an update_mini_batch of one's own"
            )
        self.callers_list = data if isinstance(data, list) else None
        self.watched_sets, self.data = {}, {}
        if net._general("accuracy", "total_cost"):
            pairs = datasets.training_pairs(data, net._plan, net.dtype)
            self.data["training"] = pairs[: self.subset]
        own_data = own_gradient and not self.needed & {"training_cost", "training_accuracy"}
        if not own_data:  # whoever writes their own may have data of their own, too
            X, Y = self.sets["training_data"] = datasets.training_arrays(data, net._plan, net.dtype)
            if self.general:
                numeric_arrays.check_finite_samples(X, Y, net.dtype, "training_data")
            self._watch_set("training", X, Y)
            self.samples = engine.Samples(X, Y, "training_data")
        if self.general:
            self.pairs = datasets.training_pairs(data, net._plan, net.dtype)
        self.n = len(self.pairs if self.general else self.samples)

    def _read_evaluation(self, data):
        if data is None:
            return
        data = containers.materialise(data, "evaluation_data")
        if self.net._general("accuracy", "total_cost"):
            self.data["evaluation"] = self._evaluation_pairs(data)
        if any(name.startswith("evaluation") for name in self.needed):
            X, Y = self.sets["evaluation_data"] = self.net._read(data, False, "evaluation_data")
            self._watch_set("evaluation", X, Y, one_hot=not containers.is_array_form(data))

    def _evaluation_pairs(self, data):
        """Return the pairs that an accuracy or a total_cost of somebody's own gets to see."""
        plan, dtype, name = self.net._plan, self.net.dtype, "evaluation_data"
        if containers.is_array_form(data):
            X, Y = datasets.training_arrays(data, plan, dtype, name)
            labels = Y[:, 0] if plan.sizes[-1] == 1 else Y.argmax(axis=1)
            data = list(zip(containers.as_values(X, dtype)[:, :, None], labels.tolist()))
        return data[: self.subset]

    def _watch_set(self, of, X, Y, one_hot=False):
        """Keep what is monitored of a set; the expected answers only where they are needed."""
        X, Y = self._subset(X, Y)
        labels = None
        if f"{of}_accuracy" in self.needed:
            activation, name = self.net.activations[-1], f"{of}_data"
            labels = datasets.labels_of_targets(Y, activation, name, one_hot)
        self.watched_sets[of] = X, Y, labels

    def _subset(self, *parts):
        return tuple(part[: self.subset] for part in parts)

    # ------------------------------------------------ the run

    def returned(self, progress):
        """Run; return the four lists, with the best weights in place if they were looked for."""
        self.go(progress)
        if self.best_weights is not None:
            self.net._publish(self.best_weights)
        return tuple(self.history[name] for name in MONITORS)

    def facts(self):
        cost = self.net.cost if isinstance(self.net.cost, type) else type(self.net.cost)
        schedule = "halve" if self.halving else "a function" if self.schedule else None
        return super().facts() | {
            "cost": cost.__name__, "activations": list(self.net.activations),
            "lmbda": self.lmbda, "l1": self.l1, "momentum": self.momentum,
            "nesterov": self.nesterov, "dropout": list(self.dropout), "max_norm": self.max_norm,
            "schedule": schedule, "early_stopping_n": self.patience, "stop_on": self.stop_on,
            "monitors": sorted(self.wanted), "monitor_subset": self.subset,
            "monitor_every": self.every,
        }  # fmt: skip

    def begin(self):
        if self.dropout:
            self.key = int(np.random.randint(2**32, dtype=np.uint32))

    def begin_epoch(self):
        if self.schedule:
            self.eta = arguments.check_rate("schedule", self.schedule(self.epoch), self.net.dtype)

    def rules(self):
        if self.velocity is not None and self.velocity.size != self.net._plan.n_params:
            raise ValueError("the network's sizes have changed during SGD: call SGD anew")
        key = (self.key + self.epoch * 0x9E3779B9) % 2**32 if self.dropout else 0
        rules = engine.Rules(
            self.lmbda / self.n, self.l1 / self.n, self.momentum, self.nesterov, self.dropout, key,
            self.max_norm,
        )  # fmt: skip
        return dict(rules=rules, velocity=self.velocity)

    def step(self, batch):
        beyond = self.velocity is not None or self.l1 or self.max_norm
        if self.net._general("update_mini_batch") or not beyond:
            self.net.update_mini_batch(batch, self.eta, self.lmbda, self.n)
        else:
            how = self.rules()
            self.net._reference_step(batch, self.eta, how["rules"], how["velocity"])

    def extra_state(self):
        about = {
            "key": self.key, "best": self.best, "waited": self.waited, "halved_at": self.halved_at
        }  # fmt: skip
        return about, {} if self.best_weights is None else {"best_weights": self.best_weights}

    def set_extra_state(self, about, content):
        counts = (arguments.check_count(k, about[k], 0) for k in ("key", "waited", "halved_at"))
        self.key, self.waited, self.halved_at = counts
        best, weights = about["best"], content.get("best_weights")
        if best is not None and not isinstance(best, (int, float)):
            raise ValueError(f"its best value is {best!r}")
        if (weights is None) is not (best is None):
            raise ValueError("its best weights are not there")
        self.best = best
        if weights is not None:
            self.best_weights = self.fitting(weights, "best weights").copy()

    # ------------------------------------------------ what is watched

    def stretch(self):
        return self.every * self.m if self.every else self.n

    def watch(self):
        """Return the monitors' values by name, and what is judged by."""
        judged = self.needed if self.position == self.n else self.wanted
        return {name: self._value(name) for name in _LINES if name in judged}

    def _value(self, name):
        of, kind = name.split("_")
        net, (X, Y, labels) = self.net, self.watched_sets[of]
        if net._general("accuracy" if kind == "accuracy" else "total_cost"):
            is_training, data = of == "training", self.data[of]
            if kind == "accuracy":
                return net.accuracy(data, convert=is_training)
            return net.total_cost(data, self.lmbda, convert=not is_training)
        if kind == "accuracy":
            return net._accuracy(X, labels)
        return net._total_cost(X, Y, self.lmbda, self.l1)

    def record(self, values, midway):
        if not midway:
            self.write(f"Epoch {self.epoch} training complete")
        for name, line in _LINES.items():
            if name in self.wanted:
                self.history[name].append(values[name])
                if not midway:
                    n = len(self.watched_sets[name.split("_")[0]][0])
                    self.write(line.format(values[name], n))
        if not midway:
            self.write()
            if self.patience or self.halving:
                self._judge(values[self.stop_on])

    def _judge(self, value):
        """Keep the best weights, count the epochs since; halve the learning rate, or end."""
        better = value if self.stop_on.endswith("accuracy") else -value
        if self.best is None or better > self.best or self.best != self.best:  # NaN is no best
            self.best, self.waited, self.halved_at = better, 0, 0
            self.best_weights = self.net._parameters()
            return
        self.waited += 1
        if self.halving and self.waited - self.halved_at >= (self.patience or PATIENCE):
            self.eta, self.halved_at = self.eta / 2, self.waited
            self.finished = abs(self.eta) < abs(self.first_eta) / SMALLEST
            if self.finished:
                self.write(f"The learning rate is below 1/{SMALLEST} of the first: done")
            else:
                self.write(f"No improvement: the learning rate is now {self.eta}")
        elif self.patience and not self.halving and self.waited >= self.patience:
            self.finished = True
            self.write(f"No improvement in {self.patience} epochs: done")


def _checked_dropout(dropout, num_layers, dtype):
    """Return the share of each layer, the output layer's 0, as a tuple; () for none at all."""
    one_for_all = np.ndim(dropout) == 0
    shares = [0.0, *[dropout] * (num_layers - 2)] if one_for_all else list(dropout)
    if len(shares) != num_layers - 1:
        raise ValueError(
            f"dropout has {len(shares)} numbers, expected {num_layers - 1}: one for each layer but "
            f"the output layer"
        )
    shares = [arguments.check_range("dropout", share, dtype, 0, 1) for share in shares]
    return (*shares, 0.0) if any(shares) else ()


def vectorized_result(j, n=10):
    """Return the one-hot column (n, 1) of digit j: 1.0 in place j, zeros elsewhere.

    Raises ValueError if j is outside 0..n-1.
    """
    j, n = arguments.check_count("j", j, 0), arguments.check_count("n", n, 1)
    if j >= n:
        raise ValueError(f"j is {j}, expected 0..{n - 1}")
    e = np.zeros((n, 1))
    e[j] = 1.0
    return e


def load(filename, cost=None, *, threads=None):
    """Return the Network that `save`, or the book's own code, wrote to a JSON file.

    cost: the class of a cost that is not of this module. Draws no random numbers. Raises OSError if
    the file cannot be read, ValueError if it is not such a file or holds a number that is not
    finite.
    """
    if threads is not None:
        arguments.check_count("threads", threads, 1)
    cost = None if cost is None else _checked_cost(cost)
    with open(filename, "rb") as file:
        text = file.read()
    what = "is not a network saved as JSON"
    try:
        data = json.loads(text, object_pairs_hook=_without_doubles)
        sizes, weights, biases = data["sizes"], data["weights"], data["biases"]
        name, version = data["cost"], data.get("fastbp_format", FORMAT_VERSION)
        dtype = data.get("dtype", "float64")
        activations, own_cost = data.get("activations"), data.get("own_cost", False)
        what = "is not a sound network"
        kinds = dict(sizes=list, weights=list, biases=list, cost=str, dtype=str, own_cost=bool)
        given = dict(data, dtype=dtype, own_cost=own_cost)
        for key, kind in kinds.items():
            if not isinstance(given[key], kind):
                seen = messages.shorten(json.dumps(given[key]), 60)
                raise TypeError(f"{key} is {seen}, expected a {kind.__name__}")
        if not all(type(n) is int for n in sizes):
            seen = messages.shorten(json.dumps(sizes), 60)
            raise TypeError(f"sizes is {seen}, expected integers")
        known = {c.__name__: c for c in COSTS.values()}
        if version != FORMAT_VERSION:
            what = "is of another version"
            raise ValueError(
                f"it is in format {messages.shorten(version, 30)}, expected {FORMAT_VERSION}"
            )
        if cost is None and (own_cost or name not in known):
            name, what = messages.shorten(name, 60), "needs its cost"
            raise ValueError(
                f"it was saved with the cost {name!r}, expected one of {', '.join(known)}; pass "
                f"your own: load({str(filename)!r}, cost={name})"
            )
        if dtype not in ("float64", "float32"):  # NumPy would read a text as a program
            seen = messages.shorten(dtype, 30)
            raise ValueError(f"dtype is {seen!r}, expected float64 or float32")
        net = Network.__new__(Network)
        checked = net._prepare(sizes, dtype, threads)
        net.cost = known[name] if cost is None else cost
        hidden, output = "sigmoid", None
        if activations is not None:
            hidden, output = activations[:-1], activations[-1]
        net.activations = _checked_activations(hidden, output, checked, net._cost_name())
        net._publish(_parameters(weights, biases, checked, net))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
            RecursionError) as error:  # fmt: skip
        raise ValueError(f"{filename} {what}: {messages.shorten(error, 300)}") from None
    return net


def _without_doubles(pairs):
    """Return a dictionary of the pairs in a JSON object, or raise: two readers may differ."""
    data = dict(pairs)
    if len(data) < len(pairs):
        (key, _), *_ = collections.Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it holds the key {messages.shorten(key, 60)!r} twice")
    return data


def _parameters(weights, biases, sizes, net):
    """Return the flat vector of lists of numbers, held to the sizes before it is made."""
    layers = [*itertools.pairwise(sizes)]
    lists = (("weights", weights, layers), ("biases", biases, [(1, n_out) for _, n_out in layers]))
    for name, given, shapes in lists:
        if len(given) != len(layers):
            raise ValueError(f"{name} has {len(given)} layers, expected {len(layers)}")
        for l, (rows, (n_in, n_out)) in enumerate(zip(given, shapes)):
            _check_rows(rows, n_out, n_in, f"{name}[{l}]")
    both = {name: given for name, given, _ in lists}
    return parameters.read_flat(
        net._plan, net.dtype, lambda name, l: np.array(both[name][l], np.float64)
    )


def _check_rows(rows, n_out, n_in, name):
    """Raise ValueError unless rows are n_out lists of n_in numbers that a float64 can hold.

    NumPy would take null for NaN, and read numbers in strings.
    """
    if type(rows) is not list or len(rows) != n_out:
        raise ValueError(f"{name} is not a list of {n_out} rows")
    for i, row in enumerate(rows):
        if type(row) is not list or len(row) != n_in:
            raise ValueError(f"{name}[{i}] is not a list of {n_in} numbers")
        kinds = set(map(type, row))
        if kinds <= {float}:
            continue
        for j, value in enumerate(row):
            if type(value) not in (int, float):
                seen = messages.shorten(json.dumps(value), 60)
                raise ValueError(f"{name} holds {seen} at [{i}, {j}], expected a number")
            if type(value) is int and value.bit_length() > 1023:
                raise ValueError(f"{name} holds an integer too large for a float at [{i}, {j}]")
