"""Chapter 3: the book's improved Network, compiled. The drop-in for the book's network2.py.

Invariant: as in network.py, what is overridden is used, a cost of the user's own among it. What the
book's form of a call does not have comes as keyword-only arguments.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastbp.data import (
    arguments,
    containers,
    datasets,
    json_model,
    messages,
    numeric_arrays,
    predictions,
)
from fastbp.data.json_model import FORMAT_VERSION
from fastbp.data.warn import public
from fastbp.mnist_loader import vectorized_result
from fastbp.training import base, chapter3, costs, reference_path
from fastbp.training.base import sigmoid
from fastbp.training.checkpoint import Checkpointer
from fastbp.training.compute.plans import check_activations, checked_plan_of
from fastbp.training.compute.rules import Rules
from fastbp.training.costs import COSTS, CrossEntropyCost, LogLikelihoodCost, QuadraticCost
from fastbp.training.epoch_data.new_data import NewData
from fastbp.training.initializers import Initializers
from fastbp.training.monitoring import evaluation
from fastbp.training.monitoring.early_stopping import PATIENCE, SMALLEST
from fastbp.training.reference_path import softmax
from fastbp.training.settings import MONITORS, MonitorSettings, RuleSettings, RunSettings
from fastbp.typing import (
    Callbacks,
    Cost,
    Data,
    Deform,
    FloatArray,
    Path,
    Schedule,
    StopOn,
    TrainingData,
)

__all__ = [
    "COSTS", "FORMAT_VERSION", "MONITORS", "PATIENCE", "SMALLEST", "CrossEntropyCost",
    "LogLikelihoodCost", "Network", "QuadraticCost", "load", "sigmoid", "sigmoid_prime", "softmax",
    "vectorized_result",
]  # fmt: skip


@np.errstate(under="ignore")
def sigmoid_prime(z: ArrayLike) -> FloatArray:
    """Return sigmoid(z) (1 - sigmoid(z)), the derivative of this module's sigmoid; z: any array."""
    s = sigmoid(z)
    return s * (1 - s)


class Network(Initializers, base.CompiledNetwork):
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

    Examples
    --------
    >>> from fastbp import mnist_loader, network2
    >>> training_data, validation_data, _ = mnist_loader.synthetic(1000, 100, 0)
    >>> net = network2.Network([784, 30, 10], cost=network2.CrossEntropyCost)
    >>> _, accuracy, _, _ = net.SGD(
    ...     training_data, 2, 10, 0.5, lmbda=0.1, evaluation_data=validation_data,
    ...     monitor_evaluation_accuracy=True, verbose=False)
    >>> len(accuracy), net.accuracy(validation_data) == accuracy[-1]
    (2, True)
    """

    _gradient_parts = "backprop", "cost", "sigmoid"
    cost: type[Cost] | Cost
    activations: tuple[str, ...] = ()

    def __init__(
        self, sizes: list[int], cost: type[Cost] | Cost = CrossEntropyCost, *,
        activation: str | list[str] | tuple[str, ...] = "sigmoid", output: str | None = None,
        dtype: DTypeLike = np.float64, threads: int | None = None,
    ) -> None:  # fmt: skip
        checked = self._prepare(sizes, dtype, threads)
        self.cost = costs.check_cost(cost)
        self.activations = check_activations(activation, output, checked, self._cost_name())
        self.default_weight_initializer()

    # ------------------------------------------------ the book's methods

    @public(ignore=("under", "over", "invalid"))
    def feedforward(self, a: ArrayLike) -> FloatArray:
        """Return the output for the columns a, as `fastbp.network.Network.feedforward` does."""
        a = numeric_arrays.as_columns(a, self._plan.sizes[0], self.dtype, "a")
        weights, biases = self._layers()
        out = reference_path.feedforward(a, weights, biases, self._functions())
        return self._finite_output(out)

    @public
    def SGD(
        self, training_data: TrainingData, epochs: int, mini_batch_size: int, eta: float,
        lmbda: float = 0.0, evaluation_data: Data | None = None,
        monitor_evaluation_cost: bool = False, monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False, monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0, *, l1: float = 0.0, momentum: float = 0.0,
        nesterov: bool = False, dropout: float | list[float] | tuple[float, ...] = 0.0,
        max_norm: float | None = None, optimizer: Literal["sgd", "adam"] = "sgd",
        betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
        schedule: Schedule | None = None, warmup: int = 0,
        deform: Deform | None = None, shuffle: Literal["book", "blocks"] | None = None,
        stop_on: StopOn = "evaluation_accuracy", monitor_subset: int | None = None,
        monitor_every: int | None = None, progress: bool | None = None,
        on_divergence: Literal["stop", "continue"] = "stop", checkpoint: Path | None = None,
        checkpoint_every: float = 30.0, resume: bool = False, verbose: bool = True,
        callback: Callbacks = None,
    ) -> tuple[list[float], list[int], list[float], list[int]]:  # fmt: skip
        """Train by mini-batch stochastic gradient descent; return what was monitored.

        Parameters
        ----------
        training_data, epochs, mini_batch_size, eta, progress, on_divergence
            As for `fastbp.network.Network.SGD`. Where training data are new in each epoch, monitors
            of training data measure those of the epoch; with shuffle="blocks" images as they are
            before they are deformed.
        checkpoint, checkpoint_every, resume, verbose, callback, warmup, deform, shuffle
            As there. A callback gets what is measured after the epoch, by the names that `stop_on`
            has, with accuracies also n_evaluation and n_training.
        lmbda, l1 : float, at least 0
            The parameters of L2 and L1 regularisation: they add lmbda/2n times the sum of w**2, and
            l1/n times that of abs(w), to the cost of n samples; with Adam, too.
        evaluation_data : as training_data, or pairs (x, label), optional
        monitor_evaluation_cost, monitor_evaluation_accuracy : bool
        monitor_training_cost, monitor_training_accuracy : bool
            What is printed after each epoch, and returned.
        early_stopping_n : int
            End after so many epochs in which `stop_on` did not improve; 0: never.
        momentum : float, 0 <= momentum < 1
            The book's mu: v becomes momentum * v - eta * gradient, and is added to the weights.
        nesterov : bool
            Whether the momentum is Nesterov's, as PyTorch takes it, not the book's.
        dropout : float or list of float
            The rate of the hidden layers, or of each layer, the input layer first: the share of
            neurons that each sample does without. The others are divided by 1 - rate, so that
            nothing changes after training. Draws one number from `numpy.random`.
        max_norm : float, more than 0, optional
            The greatest Euclidean length of the weights into a neuron: longer ones are shortened to
            it after each step.
        optimizer : {"sgd", "adam"}
        betas : tuple of two floats, each 0 <= beta < 1
        epsilon : float, more than 0
            Of Adam: the decay of the two moments, and what is added to the root of the second.
        schedule : None, "halve", or as for `fastbp.network.Network.SGD`
            None: eta is constant. "halve": it is halved after early_stopping_n epochs (10 if 0) in
            which `stop_on` did not improve, and training ends when it is below 1/128 of the first.
        stop_on : str
            "evaluation_accuracy", "evaluation_cost", "training_accuracy" or "training_cost",
            monitored or not.
        monitor_subset : int, optional
            Measure only the first so many samples of each set.
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
            dtype, epochs, mini_batch_size, eta, on_divergence, verbose, callback, schedule, warmup,
            may_halve=True, shuffle=shuffle,
        )  # fmt: skip
        rules = RuleSettings(
            dtype, num_layers, lmbda, l1, momentum, nesterov, dropout, max_norm,
            optimizer=optimizer, betas=betas, epsilon=epsilon,
        )  # fmt: skip
        asked = (
            monitor_evaluation_cost, monitor_evaluation_accuracy, monitor_training_cost,
            monitor_training_accuracy,
        )  # fmt: skip
        monitors = MonitorSettings(
            {name for name, wanted in zip(MONITORS, asked) if wanted}, early_stopping_n,
            settings.rates.halves, stop_on, monitor_subset, monitor_every,
        )  # fmt: skip
        checkpointer = Checkpointer.of(checkpoint, checkpoint_every, resume)
        settings.take_order_of(checkpointer, training_data)
        new_data = NewData.of(training_data, deform, settings, checkpointer, self.threads)
        run = chapter3.run_of(
            self, settings, rules, monitors, training_data, evaluation_data, new_data
        )
        run.train(checkpointer, progress)
        best_weights = run.monitor.stopping.best_weights
        if best_weights is not None:
            self._bind_parameters(best_weights)
        return tuple(run.state.history[name] for name in MONITORS)

    @public
    def update_mini_batch(self, mini_batch: Data, eta: float, lmbda: float, n: int) -> None:
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
        rules = Rules(l2=lmbda / arguments.check_count("n", n, 1))
        mini_batch = containers.materialise(mini_batch, "mini_batch")
        if not self._is_overridden("backprop", "cost", "sigmoid"):
            self._step(mini_batch, eta, rules)
            return
        pairs = datasets.training_pairs(mini_batch, plan, dtype, "mini_batch")
        chapter3.step_by_backprop(self, pairs, eta, rules)

    @public(ignore=("under", "over", "invalid"))
    def backprop(self, x: ArrayLike, y: ArrayLike) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return the gradient of the cost of one sample (x, y), without regularisation.

        Parameters, results and errors as for `fastbp.network.Network.backprop`. Source: book,
        chapters 2 and 3.
        """
        plan = self._plan
        x = numeric_arrays.as_columns(x, plan.sizes[0], self.dtype, "x", 1)
        y = numeric_arrays.as_target_column(y, plan.sizes[-1], self.dtype, "y")
        return self._gradient_of_one(x, y, self._functions(), self._output_error)

    @public
    def accuracy(self, data: Data, convert: bool = False) -> int:
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
    def total_cost(self, data: Data, lmbda: float, convert: bool = False) -> float:
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
    def save(self, filename: Path) -> None:
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
        json_model.write(
            filename,
            sizes=self._plan.sizes,
            weights=weights,
            biases=biases,
            cost=cost.__name__,
            activations=self.activations,
            dtype=self.dtype.name,
            own_cost=self._has_own_cost(),
        )

    # ------------------------------------------------ how it is done

    @property
    def _plan(self):
        if not isinstance(self.activations, (list, tuple)) or not self.activations:
            raise TypeError(
                f"activations is {messages.describe(self.activations)}, expected a name for each "
                f"layer"
            )
        return self._plan_by(checked_plan_of, tuple(self.activations), self._cost_name())

    def _cost_name(self):
        """Return the kernels' name of the cost, or None for one of the user's own."""
        return costs.name_of(self.cost)

    def _has_own_cost(self):
        return self._cost_name() is None

    def _read(self, data, one_hot, name):
        """Return (X, Y) of data: pairs with columns (one_hot) or with labels; or arrays."""
        read = datasets.training_arrays if one_hot else datasets.evaluation_arrays
        X, Y = read(containers.materialise(data, name), self._plan, self.dtype, name, "auto")
        numeric_arrays.check_finite_samples(None, Y, self.dtype, name)  # layers look at X alone
        return X, Y

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

    # ------------------------------------------------ what is shown of it

    def _activation_names(self):
        return self.activations

    def _cost_text(self):
        return getattr(self.cost, "__name__", type(self.cost).__name__)

    # ------------------------------------------------ the reference path

    def _functions(self):
        """Return the pair (f, f') of each layer; the sigmoid is this module's, as it is now."""
        functions = reference_path.ACTIVATIONS
        if self._is_overridden("sigmoid"):  # it is patched
            functions = functions | {"sigmoid": (sigmoid, lambda z, a: sigmoid_prime(z))}
        return [functions[name] for name in self.activations]

    def _output_error(self, z, a, y, slope):
        """Return BP1, the Delta of the output layer."""
        if costs.takes_slope(self.cost, self.activations[-1]):
            return (a - y) * slope(z, a)
        return self.cost.delta(z, a, y)


_OVERRIDABLE = ("feedforward", "update_mini_batch", "backprop", "accuracy", "total_cost")
Network._original = base.originals(Network, _OVERRIDABLE)


def load(
    filename: Path, cost: type[Cost] | Cost | None = None, *, threads: int | None = None
) -> Network:
    """Return the Network that `Network.save`, or the book's own code, wrote to a JSON file.

    Parameters
    ----------
    filename : path
        A JSON file.
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
    filename = arguments.check_path("filename", filename)
    cost = None if cost is None else costs.check_cost(cost)
    return json_model.read(filename, lambda content: _restored(content, cost, threads, filename))


def _restored(content, cost, threads, filename):
    """Return the Network with the content of a file, as json_model.parse returns it."""
    if cost is None:
        cost = costs.saved_cost(content["cost"], content["own_cost"], filename)
    net = Network.__new__(Network)
    checked = net._prepare(content["sizes"], content["dtype"], threads)
    net.cost = cost
    hidden, output = "sigmoid", None
    if content["activations"] is not None:
        hidden, output = content["activations"][:-1], content["activations"][-1]
    net.activations = check_activations(hidden, output, checked, net._cost_name())
    net._bind_parameters(json_model.parameters_of(content, net._plan, net.dtype))
    return net
