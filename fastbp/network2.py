"""Chapter 3: the book's improved Network, compiled. The drop-in for the book's network2.py.

Invariant: as in network.py, what is overridden is used, a cost of the user's own among it. What the
book's form of a call does not have comes as keyword-only arguments.
"""

import functools
import itertools
import json

import numpy as np

from fastbp.data import (
    arguments,
    containers,
    datasets,
    files,
    json_model,
    messages,
    numeric_arrays,
    parameters,
    predictions,
)
from fastbp.data.json_model import FORMAT_VERSION
from fastbp.data.warn import public
from fastbp.mnist_loader import vectorized_result  # noqa: F401  (a public name)
from fastbp.training import base, chapter3, costs, evaluation, reference_path
from fastbp.training.base import sigmoid
from fastbp.training.checkpoint import Checkpointer
from fastbp.training.costs import (  # noqa: F401  (public names)
    COSTS,
    CrossEntropyCost,
    LogLikelihoodCost,
    QuadraticCost,
)
from fastbp.training.early_stopping import PATIENCE, SMALLEST  # noqa: F401  (public names)
from fastbp.training.plans import check_activations, plan_of
from fastbp.training.reference_path import softmax  # noqa: F401  (a public name of this module)
from fastbp.training.rules import Rules
from fastbp.training.settings import MONITORS, MonitorSettings, RuleSettings, RunSettings


@np.errstate(under="ignore")
def sigmoid_prime(z):
    """Return the derivative of this module's sigmoid, sigmoid(z) (1 - sigmoid(z))."""
    s = sigmoid(z)
    return s * (1 - s)


class Network(base.CompiledNetwork):
    """A feedforward network with the improvements of chapter 3.

    Parameters
    ----------
    sizes : list of int
        Neurons per layer, the input layer first, e.g. ``[784, 30, 10]``.
    cost : class or instance
        `QuadraticCost`, `CrossEntropyCost`, `LogLikelihoodCost`, or your own, with methods
        ``fn(a, y)`` and ``delta(z, a, y)``.
    activation : str or list of str
        Of the hidden layers: "sigmoid", "tanh", "relu" or "linear", or a list with one for each.
    output : str, optional
        Of the output layer; None for the one that goes with the cost: "softmax" with
        `LogLikelihoodCost`, else "sigmoid".
    dtype, threads
        As for `fastbp.network.Network`.

    Attributes
    ----------
    num_layers, sizes, cost, biases, weights
        As in the book.
    activations : tuple of str
        One for each layer after the input layer.

    Raises
    ------
    TypeError, ValueError
        If an argument makes no sense, or cost and output do not go together.

    Notes
    -----
    Source: book, chapter 3.
    """

    _gradient_parts = "backprop", "cost", "sigmoid"
    activations = ()

    def __init__(
        self, sizes, cost=CrossEntropyCost, *, activation="sigmoid", output=None,
        dtype=np.float64, threads=None,
    ):  # fmt: skip
        checked = self._prepare(sizes, dtype, threads)
        self.cost = costs.check_cost(cost)
        self.activations = check_activations(activation, output, checked, self._cost_name())
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
        self._bind_parameters(parameters.flatten(weights, biases, self._plan, self.dtype))

    # ------------------------------------------------ the book's methods

    @public(ignore=("under", "over", "invalid"))
    def feedforward(self, a):
        """Return the output of the network; see `fastbp.network.Network.feedforward`."""
        a = numeric_arrays.as_columns(a, self._plan.sizes[0], self.dtype, "a")
        out = reference_path.feedforward(a, *self._layers(), self._functions())
        return self._finite_output(out)

    @public
    def SGD(
        self, training_data, epochs, mini_batch_size, eta, lmbda=0.0, evaluation_data=None,
        monitor_evaluation_cost=False, monitor_evaluation_accuracy=False,
        monitor_training_cost=False, monitor_training_accuracy=False, early_stopping_n=0,
        *, l1=0.0, momentum=0.0, nesterov=False, dropout=0.0, max_norm=None, optimizer="sgd",
        betas=(0.9, 0.999), epsilon=1e-8, schedule=None,
        stop_on="evaluation_accuracy", monitor_subset=None, monitor_every=None, progress=None,
        on_divergence="stop", checkpoint=None, checkpoint_every=30.0, resume=False, verbose=True,
        callback=None, shuffle=None,
    ):  # fmt: skip
        r"""Train by mini-batch stochastic gradient descent; return what was monitored.

        Parameters
        ----------
        training_data, epochs, mini_batch_size, eta, progress, on_divergence, checkpoint, \
        checkpoint_every, resume, verbose, callback, shuffle
            As for `fastbp.network.Network.SGD`. A callback gets what is measured after the epoch,
            by the names that `stop_on` has, with accuracies also n_evaluation and n_training.
        lmbda, l1 : float
            The parameters of L2 and L1 regularisation.
        evaluation_data : as training_data, or pairs (x, label), optional
        monitor_evaluation_cost, monitor_evaluation_accuracy, monitor_training_cost, \
        monitor_training_accuracy : bool
            What is printed after each epoch, and returned.
        early_stopping_n : int
            End after so many epochs in which `stop_on` did not improve; 0: never.
        momentum : float, 0 <= momentum < 1
        nesterov : bool
            Whether the momentum is Nesterov's, not the book's.
        dropout : float or list of float
            The rate of the hidden layers, or of each layer, the input layer first: the share of
            neurons that each sample does without. The others are divided by 1 - rate, so that
            nothing changes after training. Draws one number from `numpy.random`.
        max_norm : float, optional
            The greatest length of the weights into a neuron.
        optimizer : "sgd" or "adam"
        betas : tuple of two floats
        epsilon : float
            Of Adam: the decay of the two moments, and what is added to the root of the second.
        schedule : None, "halve" or callable
            None: eta is constant. "halve": it is halved after early_stopping_n epochs (10 if 0) in
            which `stop_on` did not improve, and training ends when it is below 1/128 of the first.
            A function of the epoch, 0, 1 ...: it returns eta.
        stop_on : str
            "evaluation_accuracy", "evaluation_cost", "training_accuracy" or "training_cost",
            monitored or not.
        monitor_subset : int, optional
            Monitor the first so many samples only.
        monitor_every : int, optional
            Monitor every so many mini-batches, too. With lmbda or momentum, weights agree with
            those of other intervals within rounding.

        Returns
        -------
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy : list
            A number for each epoch (more with monitor_every); empty where not asked for.
            Accuracies are counts; costs include the terms of lmbda and l1.

        Raises
        ------
        TypeError, ValueError
            Before any weight changes: for data that do not fit, for arguments out of range, and
            for rules that overridden methods do not apply (dropout with a cost or a method of your
            own; momentum, l1 and max_norm with an update_mini_batch of your own).
        FloatingPointError, OSError
            As for `fastbp.network.Network.SGD`.

        Notes
        -----
        With early_stopping_n or "halve" the network ends with its best weights, not the last.
        Source: book, chapter 3; Srivastava and others 2014 (dropout, max-norm); Kingma and Ba
        2015 (Adam).
        """
        dtype, num_layers = self.dtype, len(self._plan.sizes)
        settings = RunSettings(
            dtype, epochs, mini_batch_size, eta, on_divergence, verbose, callback, shuffle
        )
        rules = RuleSettings(
            dtype, num_layers, lmbda, l1, momentum, nesterov, dropout, max_norm, optimizer, betas,
            epsilon,
        )  # fmt: skip
        asked = (
            monitor_evaluation_cost, monitor_evaluation_accuracy, monitor_training_cost,
            monitor_training_accuracy,
        )  # fmt: skip
        monitors = MonitorSettings(
            dtype, {name for name, wanted in zip(MONITORS, asked) if wanted}, early_stopping_n,
            schedule, stop_on, monitor_subset, monitor_every,
        )  # fmt: skip
        checkpointer = Checkpointer.of(checkpoint, checkpoint_every, resume)
        run = chapter3.run_of(self, settings, rules, monitors, training_data, evaluation_data)
        run.train(checkpointer, progress, monitors.eta_of)
        best_weights = run.monitor.stopping.best_weights
        if best_weights is not None:
            self._bind_parameters(best_weights)
        return tuple(run.state.history[name] for name in MONITORS)

    @public
    def update_mini_batch(self, mini_batch, eta, lmbda, n):
        """Take one step: w (1 - eta lmbda/n) - (eta/m) * sum of the m gradients.

        Parameters
        ----------
        mini_batch : list of (x, y), or tuple (X, Y)
            m samples, as in `SGD`.
        eta, lmbda : float
            The learning rate, and the parameter of L2 regularisation. Biases do not decay.
        n : int
            The size of the whole training set, by which lmbda is divided.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As for `fastbp.network.Network.update_mini_batch`.

        Notes
        -----
        Source: book, chapter 3, equation 93.
        """
        plan, dtype = self._plan, self.dtype
        eta = arguments.check_rate("eta", eta, dtype)
        lmbda = arguments.check_range("lmbda", lmbda, dtype, 0)
        n = arguments.check_count("n", n, 1)
        mini_batch = containers.materialise(mini_batch, "mini_batch")
        rules = Rules(l2=lmbda / n)
        if not self._is_overridden("backprop", "cost", "sigmoid"):
            self._step(mini_batch, eta, rules)
            return
        self._reference_step(
            datasets.training_pairs(mini_batch, plan, dtype, "mini_batch"), eta, rules
        )

    @public(ignore=("under", "over", "invalid"))
    def backprop(self, x, y):
        """Return the gradient of the cost of one sample, without regularisation.

        Parameters, results and errors as for `fastbp.network.Network.backprop`. Source: book,
        chapters 2 and 3.
        """
        plan = self._plan
        x = numeric_arrays.as_columns(x, plan.sizes[0], self.dtype, "x", 1)
        y = numeric_arrays.as_target_column(y, plan.sizes[-1], self.dtype, "y")
        return self._gradient_of_one(x, y, self._functions(), self._output_error)

    @public
    def accuracy(self, data, convert=False):
        """Return how many samples the network gets right.

        Parameters
        ----------
        data : list of pairs, or tuple (X, labels) or (X, Y)
            Pairs (x, label), or with convert pairs (x, y) of one-hot columns.
        convert : bool
            Whether data are training data, as in the book.

        Returns
        -------
        int

        Raises
        ------
        TypeError, ValueError
            For data that do not fit; for one linear or relu output neuron, which has no answer:
            monitor the cost.

        Notes
        -----
        One sigmoid output neuron answers 1 where its output is at least 0.5, else 0; a tanh neuron
        1 where it is at least 0, else -1 (the book's argmax over one output is always 0).
        """
        activation = self.activations[-1]
        predictions.check_classifies(self._plan.sizes[-1], activation)
        data = containers.materialise(data, "data")
        X, Y = self._read(data, convert, "data")
        one_hot = not (convert or containers.is_array_form(data))
        labels = datasets.stored_labels(Y, activation, "data", one_hot)
        self._check_weights()
        with self._translate_errors("data", X):
            return self._accuracy(X, labels)

    @public
    def total_cost(self, data, lmbda, convert=False):
        """Return the cost, averaged over data, plus 0.5 lmbda/len(data) * sum of all w^2.

        Parameters
        ----------
        data : list of pairs, or tuple (X, labels) or (X, Y)
            Pairs (x, y) of one-hot columns, or with convert pairs (x, label).
        lmbda : float
            The parameter of L2 regularisation.
        convert : bool
            Whether data are evaluation data, as in the book.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            For data that do not fit.
        """
        lmbda = arguments.check_range("lmbda", lmbda, self.dtype, 0)
        X, Y = self._read(data, not convert, "data")
        self._check_weights()
        with self._translate_errors("data", X, Y):
            return self._total_cost(X, Y, lmbda, 0.0)

    @public
    def save(self, filename):
        """Write the network to a JSON file that the book's load reads, too.

        Parameters
        ----------
        filename : path
            The file appears whole or not at all. What the book's form has no place for stands in
            extra keys.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If weights or biases do not fit sizes, or are not finite.
        """
        weights, biases = self._finite_copies()
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
        """Return the kernels' name of the cost, or None for one of the user's own."""
        return costs.name_of(self.cost)

    def _has_own_cost(self):
        return self._cost_name() is None

    def _read(self, data, one_hot, name):
        """Return (X, Y) of data: pairs with columns (one_hot) or with labels; or arrays."""
        data = containers.materialise(data, name)
        read = datasets.training_arrays if one_hot else datasets.evaluation_arrays
        return read(data, self._plan, self.dtype, name, "auto")

    def _outputs(self, X):
        """Return the outputs (n, n_out) for the rows of X."""
        if not self._is_overridden("feedforward", "sigmoid", "cost"):
            return self._outputs_of(X, "data", self._checks_finite)
        values = containers.as_values(X, self.dtype)
        return np.array([np.ravel(self.feedforward(x[:, None])) for x in values])

    def _accuracy(self, X, labels):
        return evaluation.count_correct(self._outputs, X, labels, self.activations[-1])

    def _total_cost(self, X, Y, lmbda, l1):
        with np.errstate(over="ignore", invalid="ignore"):  # a cost may well be infinite
            total = evaluation.summed_cost(self._outputs, X, Y, self.cost)
            return costs.mean_cost(total, len(X), self._layers()[0], lmbda, l1)

    # ------------------------------------------------ the reference path

    def _functions(self):
        """Return the pair (f, f') of each layer; the sigmoid is this module's, as it is now."""
        functions = reference_path.ACTIVATIONS
        if self._is_overridden("sigmoid"):  # it is patched
            functions = functions | {"sigmoid": (sigmoid, lambda z, a: sigmoid_prime(z))}
        return [functions[name] for name in self.activations]

    def _output_error(self, z, a, y, slope):
        """Return BP1, the Delta of the output layer."""
        if self._cost_name() == "quadratic":
            return (a - y) * slope(z, a)
        return self.cost.delta(z, a, y)

    def _reference_step(self, pairs, eta, rules, moments=(), steps=0):
        """Take a step by backprop, sample by sample; moments: flat vectors, see rules.Rules."""
        plan = self._plan
        nabla_b, nabla_w = reference_path.summed_gradient(self.backprop, pairs)
        moments = [parameters.views(moment, plan) for moment in moments]
        weights, biases = reference_path.update(
            *self._layers(), nabla_b, nabla_w, moments, eta, len(pairs), rules, steps
        )
        self._check_step(weights, biases)
        self.weights, self.biases = weights, biases


@functools.lru_cache(maxsize=64)
def _plan_of(sizes, activations, cost_name):
    """Return the Plan, or raise: someone may have assigned to sizes, activations or cost."""
    sizes = arguments.check_sizes(sizes)
    check_activations(activations[:-1], activations[-1], sizes, cost_name)
    if cost_name is None:
        return plan_of(sizes)  # its shapes only: the reference path runs
    return plan_of(sizes, activations, cost_name)


_OVERRIDABLE = ("feedforward", "update_mini_batch", "backprop", "accuracy", "total_cost")
Network._original = base.originals(Network, _OVERRIDABLE)


def load(filename, cost=None, *, threads=None):
    """Return the Network that `Network.save`, or the book's own code, wrote to a JSON file.

    Parameters
    ----------
    filename : path
    cost : class or instance, optional
        The cost, if it is not one of this module.
    threads : int, optional
        As for `Network`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file, or holds a number that is not finite.

    Notes
    -----
    No random numbers are drawn.
    """
    if threads is not None:
        arguments.check_count("threads", threads, 1)
    cost = None if cost is None else costs.check_cost(cost)
    with open(filename, "rb") as file:
        text = file.read()
    try:
        content = json_model.parse(text)
        known = {c.__name__: c for c in COSTS.values()}
        if cost is None and (content["own_cost"] or content["cost"] not in known):
            name = messages.shorten(content["cost"], 60)
            raise ValueError(
                f"it was saved with the cost {name!r}, expected one of {', '.join(known)}; pass "
                f"your own: load({str(filename)!r}, cost={name})"
            )
        net = Network.__new__(Network)
        checked = net._prepare(content["sizes"], content["dtype"], threads)
        net.cost = known[content["cost"]] if cost is None else cost
        hidden, output = "sigmoid", None
        if content["activations"] is not None:
            hidden, output = content["activations"][:-1], content["activations"][-1]
        net.activations = check_activations(hidden, output, checked, net._cost_name())
        net._bind_parameters(json_model.parameters_of(content, net._plan, net.dtype))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
            RecursionError) as error:  # fmt: skip
        why = messages.shorten(error, 300)
        raise ValueError(f"{filename} is not a network saved as JSON: {why}") from None
    return net
