"""Chapters 1 and 2: the book's Network, compiled. The drop-in for the book's network.py.

Invariant: what is overridden is used. Where a subclass, an instance or this module's sigmoid has
been changed, the reference path runs instead of the kernels: the book's own structure,
SGD -> update_mini_batch -> backprop -> cost_derivative and SGD -> evaluate -> feedforward.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastbp.data import (
    arguments,
    containers,
    datasets,
    messages,
    npz,
    npz_model,
    numeric_arrays,
    parameters,
    predictions,
)
from fastbp.data.npz_model import FORMAT_VERSION
from fastbp.data.warn import public
from fastbp.training import base, chapter1, reference_path
from fastbp.training.base import sigmoid
from fastbp.training.chapter1 import OUTPUT
from fastbp.training.checkpoint import Checkpointer
from fastbp.training.compute.rules import NO_RULES
from fastbp.training.epoch_data.new_data import NewData
from fastbp.training.monitoring import evaluation
from fastbp.training.settings import RunSettings
from fastbp.typing import Callbacks, Data, Deform, FloatArray, Path, Schedule, TrainingData

__all__ = ["FORMAT_VERSION", "OUTPUT", "Network", "load", "sigmoid", "sigmoid_prime"]


@np.errstate(under="ignore")
def sigmoid_prime(z: ArrayLike) -> FloatArray:
    """Return sigmoid(z) (1 - sigmoid(z)), the sigmoid's derivative, elementwise; z: any array."""
    s = sigmoid(z)
    return s * (1 - s)


class Network(base.CompiledNetwork):
    """A feedforward network of sigmoid neurons that learns by stochastic gradient descent.

    Weights and biases start as independent numbers from N(0, 1), drawn from `numpy.random` in the
    book's order.

    Parameters
    ----------
    sizes : list of int
        Neurons per layer, the input layer first, e.g. ``[784, 30, 10]``.
    dtype : numpy.float64 or numpy.float32, optional
        The type of weights, biases and all computations. float32 is faster.
    threads : int, optional
        The most threads that a call may use; None for all that this process may run on, or as many
        as the environment's OMP_NUM_THREADS says. Results are the same to the bit for any number.

    Attributes
    ----------
    num_layers : int
    sizes : list of int
    weights : list of ndarray
        ``(n_out, n_in)`` each, one for each layer after the input layer.
    biases : list of ndarray
        ``(n_out, 1)`` each.
    history : list of int
        After `SGD` with test data: how many samples were right after each epoch.

    Raises
    ------
    TypeError, ValueError
        If sizes, dtype or threads make no sense.

    Notes
    -----
    Assign to weights and biases, or change them in place, between calls as you like: the next call
    uses what it finds. Source: book, chapters 1 and 2.

    Examples
    --------
    >>> from fastbp import network
    >>> net = network.Network([784, 30, 10])
    >>> net
    <Network [784, 30, 10]: sigmoid, sigmoid; quadratic cost; 23,860 parameters; float64>
    >>> [w.shape for w in net.weights], [b.shape for b in net.biases]
    ([(30, 784), (10, 30)], [(30, 1), (10, 1)])
    """

    _gradient_parts = "backprop", "cost_derivative", "sigmoid"
    history: list[int]

    def __init__(
        self, sizes: list[int], *, dtype: DTypeLike = np.float64, threads: int | None = None
    ) -> None:
        checked = self._prepare(sizes, dtype, threads)
        biases = [np.random.randn(n_out, 1) for n_out in checked[1:]]
        weights = [np.random.randn(n_out, n_in) for n_in, n_out in itertools.pairwise(checked)]
        self._bind_parameters(parameters.flatten(weights, biases, self._plan, self.dtype))

    # ------------------------------------------------ the book's methods

    @public(ignore=("under", "over", "invalid"))
    def feedforward(self, a: ArrayLike) -> FloatArray:
        """Return the output of the network.

        Parameters
        ----------
        a : array_like, shape (n_in, 1) or (n_in, m)
            An input column, or m of them.

        Returns
        -------
        ndarray, shape (n_out, 1) or (n_out, m)

        Raises
        ------
        ValueError, TypeError
            For another shape, for what is not a number or not finite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp import network
        >>> net = network.Network([3, 2])
        >>> net.weights[0][:], net.biases[0][:] = 0, 0
        >>> net.feedforward(np.ones((3, 1)))
        array([[0.5],
               [0.5]])
        """
        plan = self._plan
        a = numeric_arrays.as_columns(a, plan.sizes[0], self.dtype, "a")
        weights, biases = parameters.check_layers(self.weights, self.biases, plan)
        out = reference_path.feedforward(a, weights, biases, self._functions(plan))
        # A product with itself is finite unless something in it is not, or it is huge.
        return out if np.vdot(out, out) < np.inf else self._finite_output(out)

    @public
    def SGD(
        self, training_data: TrainingData, epochs: int, mini_batch_size: int, eta: float,
        test_data: Data | None = None, *, progress: bool | None = None,
        on_divergence: Literal["stop", "continue"] = "stop", checkpoint: Path | None = None,
        checkpoint_every: float = 30.0, resume: bool = False, verbose: bool = True,
        callback: Callbacks = None, schedule: Schedule | None = None, warmup: int = 0,
        deform: Deform | None = None, shuffle: Literal["book", "blocks"] | None = None,
    ) -> None:  # fmt: skip
        """Train by mini-batch stochastic gradient descent, and print a line per epoch.

        Parameters
        ----------
        training_data : list of (x, y), iterable of such pairs, tuple (X, Y), or callable
            x ``(n_in, 1)`` and y ``(n_out, 1)``; a list is shuffled in place, as in the book. Or
            arrays, one sample a row: X ``(n, n_in)``, or `fastbp.Pixels` for images stored as
            bytes, and Y ``(n, n_out)`` or integer labels ``(n,)``. With one output neuron targets
            are numbers: ``(n,)`` or ``(n, 1)``, in pairs also scalars. A function of the epoch, 0,
            1 ..., returns the data of that epoch in one of these forms; see Notes.
        epochs : int
            How often all samples are trained on.
        mini_batch_size : int
            Samples per step; the last mini-batch of an epoch may be shorter.
        eta : float
            The learning rate.
        test_data : as for `evaluate`, optional
            With it, every epoch ends with an evaluation.
        progress : bool, optional
            Whether to show a progress bar; None for one on a terminal (standard error), and in a
            notebook with ipywidgets.
        on_divergence : {"stop", "continue"}
            What happens when weights are no longer finite: the call ends with a FloatingPointError
            that names the epoch and the mini-batch, and keeps the last finite weights; or it goes
            on, as the book's code does.
        checkpoint : path, optional
            A file that the state of the run is written to, every so often, at an interrupt and at
            the end. The one before it stays beside it, as ``<checkpoint>.previous``.
        checkpoint_every : float or int
            How often: a float is seconds, an int epochs.
        resume : bool
            Whether to go on from the checkpoint, if there is one, with the same data and arguments.
            In the end weights and printed lines, the earlier ones again, are those of a run that
            never stopped, to the bit. epochs is the total; it may be larger than before, unless a
            schedule extends over all of them. A run that ended early stays ended. What cannot be
            compared, such as functions, you have to keep the same. If False, a checkpoint that is
            there is replaced by those of the new run.
        verbose : bool
            Whether to print the lines. A checkpoint keeps them in either case.
        callback : callable or list of callables, optional
            Called after each epoch that this call trains, with a dictionary of its figures: epoch
            (0, 1 ...), epochs, eta, samples, seconds (of training and evaluation in this call), and
            with test data test_accuracy (a count) and n_test. One that returns True ends the run;
            other values are ignored. See `fastbp.History`.
        schedule : callable or str, optional
            How eta falls, once per epoch, not within it: one of `fastbp.schedules`, or its name,
            e.g. "linear" or "geometric:0.01"; any function of two arguments, (epoch, epochs), that
            returns a factor of eta; or a function of the epoch alone that returns eta itself.
        warmup : int
            In the first so many epochs, e = 0, 1 ..., eta is multiplied by (e + 1) / (warmup + 1).
        deform : dict or fastbp.expand_mnist.Deformation, optional
            All images, which are square and have background 0, are deformed anew for each epoch, by
            these arguments of `Deformation` and its defaults for the others: ``{}`` deforms by all
            defaults, ``dict(elastic=None, shear=0)`` by rotation, scale and shift alone.
        shuffle : {None, "book", "blocks"}
            "book": the order is that of `random.shuffle`. "blocks": arrays are read in blocks of
            1 MB in random order, and shuffled within windows of 128 MB; memory maps are read from
            their files, by a thread that reads ahead. None: "blocks" for a memory map that is
            larger than the free memory, else "book"; on a memory map a run that is resumed goes on
            in the order that it began with. A file that is cut off meanwhile is an OSError with
            "blocks"; else, as for any memory map, the end of the process (SIGBUS).

        Raises
        ------
        TypeError, ValueError
            Before any weight changes, for data that do not fit the network and for arguments out
            of range.
        FloatingPointError
            If training diverges.
        OSError
            If a checkpoint can't be read or written; if a memory map is read in blocks and its
            file can't be, or changes its length. Then the weights are those of the last window.

        Notes
        -----
        The order of samples is that of `random.shuffle`, on Python's global generator. When a call
        is interrupted, the weights are those of the last mini-batch that was finished.

        A function of the epoch is called on a thread while the epoch before trains, at most one
        epoch ahead; where methods are overridden, between the epochs. It should return as many
        samples each time, and draw from a generator of its own, e.g.
        ``numpy.random.default_rng([seed, epoch])``. What it returns is copied, so it may fill the
        same arrays each time; a list that it returns stays in its order, its samples are trained on
        in a shuffled one. What it raises ends the call where its epoch would begin. After a resume
        it is first called with the number of the epoch in which the run goes on.

        Images are deformed on such a thread, too, or between the epochs where training keeps all
        processors busy, or as they are read with shuffle="blocks": they are the same in each case.
        The seed is what ``random.getrandbits(32)`` would return at the start, but the generator
        does not advance; ``Deformation(...).apply(X, labels, seed, epoch)`` gives the images of an
        epoch, in the order of X.

        With shuffle="blocks" each epoch's order is a permutation of all samples, too, which follows
        from ``random.seed`` alone: the blocks come in random order, so that a window holds samples
        from everywhere in the file, and a mini-batch is a random choice of them. Samples of one
        block always share a window (or two): data that are sorted in runs much longer than a block
        are mixed less well than by the book's order. To resume, a file of more than 256 MB must
        have the same size, time of change and bytes in 64 places.

        A callback is called when the lines of an epoch are printed and before its checkpoint is
        written. It may read the network's weights; if it changes them, training goes on from what
        it leaves (ValueError if that is not finite). Ctrl-C waits for its end; a second one does
        not. An exception in it ends the call like any error: the network keeps the weights of the
        epoch, and a checkpoint is an earlier one. Source: book, chapter 1.

        Examples
        --------
        >>> from fastbp import mnist_loader, network
        >>> training_data, _, test_data = mnist_loader.synthetic(1000, 0, 100)
        >>> net = network.Network([784, 30, 10])
        >>> net.SGD(training_data, 2, 10, 3.0, test_data=test_data)
        Epoch 0: ... / 100
        Epoch 1: ... / 100
        >>> net.SGD(training_data, 300, 10, 3.0, checkpoint="run", resume=True)  # doctest: +SKIP
        """
        settings = RunSettings(
            self.dtype, epochs, mini_batch_size, eta, on_divergence, verbose, callback, schedule,
            warmup, shuffle=shuffle,
        )  # fmt: skip
        checkpointer = Checkpointer.of(checkpoint, checkpoint_every, resume)
        settings.take_order_of(checkpointer, training_data)
        new_data = NewData.of(training_data, deform, settings, checkpointer, self.threads)
        run = chapter1.run_of(self, settings, training_data, test_data, new_data)
        run.train(checkpointer, progress)

    @public
    def update_mini_batch(self, mini_batch: Data, eta: float) -> None:
        """Take one step of gradient descent: w - (eta/m) * sum of the m gradients.

        Parameters
        ----------
        mini_batch : list of (x, y), or tuple (X, Y)
            m samples, as in `SGD`.
        eta : float
            The learning rate.

        Raises
        ------
        TypeError, ValueError
            For data that do not fit the network.
        FloatingPointError
            If a weight would not be finite; then none changes.

        Notes
        -----
        Source: book, chapter 1, equations 20 and 21.
        """
        plan, dtype = self._plan, self.dtype
        eta = arguments.check_rate("eta", eta, dtype)
        mini_batch = containers.materialise(mini_batch, "mini_batch")
        if not self._is_overridden("backprop", "cost_derivative", "sigmoid"):
            self._step(mini_batch, eta)
            return
        pairs = datasets.training_pairs(mini_batch, plan, dtype, "mini_batch")
        nabla_b, nabla_w = reference_path.summed_gradient(self.backprop, pairs)
        weights, biases = self._layers()
        weights, biases = reference_path.update(
            weights, biases, nabla_b, nabla_w, (), eta, len(pairs), NO_RULES
        )
        self._check_step(weights, biases)
        self.weights, self.biases = weights, biases

    @public(ignore=("under", "over", "invalid"))
    def backprop(self, x: ArrayLike, y: ArrayLike) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return the gradient of the cost C_x = 1/2 ||a - y||^2 of one sample.

        Parameters
        ----------
        x : array_like, shape (n_in, 1)
        y : array_like, shape (n_out, 1)
            With one output neuron also a number.

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
        Source: book, chapter 2, equations BP1 to BP4.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp import network
        >>> net = network.Network([3, 2])
        >>> nabla_b, nabla_w = net.backprop(np.ones((3, 1)), np.array([[1.0], [0.0]]))
        >>> nabla_b[0].shape, nabla_w[0].shape
        ((2, 1), (2, 3))
        """
        plan = self._plan
        x = numeric_arrays.as_columns(x, plan.sizes[0], self.dtype, "x", 1)
        y = numeric_arrays.as_target_column(y, plan.sizes[-1], self.dtype, "y")
        return self._gradient_of_one(x, y, self._functions(plan), self._output_error)

    @public
    def evaluate(self, test_data: Data) -> int:
        """Return how many samples the network gets right: argmax(output) == label.

        Parameters
        ----------
        test_data : list of (x, label), or tuple (X, labels) or (X, Y)
            A label is an integer, or an array or a one-hot column that holds one; Y holds rows
            with one largest number each.

        Returns
        -------
        int

        Raises
        ------
        TypeError, ValueError
            For data that do not fit the network.

        Notes
        -----
        One output neuron answers 1 where its output is at least 0.5, else 0, and the labels are 0
        and 1: the book's argmax over one output is always 0.

        Examples
        --------
        >>> from fastbp import mnist_loader, network
        >>> _, _, (X, labels) = mnist_loader.synthetic(0, 0, 100)
        >>> 0 <= network.Network([784, 30, 10]).evaluate((X, labels)) <= 100
        True
        """
        test_data = containers.materialise(test_data, "test_data")
        if self._is_overridden("feedforward", "sigmoid"):
            pairs = datasets.labelled_pairs(test_data, self._plan, self.dtype, OUTPUT)
            return sum(
                predictions.predict_label(self.feedforward(x), OUTPUT) == y for x, y in pairs
            )
        X, labels = datasets.labelled_arrays(
            test_data, self._plan, self.dtype, OUTPUT, streams="auto"
        )
        self._check_weights()
        with self._translate_errors("test_data", X):
            return self._count_correct(X, labels, self._checks_finite)

    def cost_derivative(self, output_activations: FloatArray, y: FloatArray) -> FloatArray:
        """Return the derivatives of C_x by a, the output_activations, for the target y: a - y."""
        return output_activations - y

    # ------------------------------------------------ files

    def save(self, path: Path) -> None:
        """Write the network to an .npz file that holds numbers only, no pickle.

        Parameters
        ----------
        path : path
            The file appears whole or not at all. `fastbp.network.load` reads it.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If weights or biases do not fit sizes, or are not finite.
        """
        npz_model.write(path, self._plan.sizes, self.dtype, *self._finite_copies())

    # ------------------------------------------------ evaluation

    def _count_correct(self, X, labels, check=False):
        """Return how many are right; check: outputs that are not finite are an error."""

        def outputs_of(part):
            return self._outputs_of(part, "test_data", check)

        return evaluation.count_correct(outputs_of, X, labels, OUTPUT)

    # ------------------------------------------------ what is shown of it

    def _activation_names(self):
        return [OUTPUT] * (len(self.sizes) - 1)

    def _cost_text(self):
        own = self._is_overridden("cost_derivative")
        return "a cost of its own" if own else "quadratic cost"

    # ------------------------------------------------ the reference path

    def _functions(self, plan=None):
        """Return the pair (f, f') of each layer: this module's sigmoid, as it is now."""
        functions = _FUNCTIONS
        if sigmoid is not _SIGMOID or sigmoid_prime is not _SIGMOID_PRIME:  # they are patched
            functions = sigmoid, lambda z, a: sigmoid_prime(z)
        return [functions] * len((plan or self._plan).shapes)

    def _output_error(self, z, a, y, slope):
        """Return BP1, the Delta of the output layer."""
        return self.cost_derivative(a, y) * slope(z, a)


_SIGMOID, _SIGMOID_PRIME = sigmoid, sigmoid_prime
_FUNCTIONS = reference_path.ACTIVATIONS[OUTPUT]
_OVERRIDABLE = ("feedforward", "update_mini_batch", "backprop", "evaluate", "cost_derivative")
Network._original = base.originals(Network, _OVERRIDABLE)


def load(path: Path, *, threads: int | None = None) -> Network:
    """Return the Network that `Network.save` wrote to a file.

    Parameters
    ----------
    path : path
        An .npz file.
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
    Nothing in the file is executed, and no random numbers are drawn.

    Examples
    --------
    >>> from fastbp import network
    >>> network.Network([784, 30, 10]).save("model.npz")
    >>> network.load("model.npz").sizes
    [784, 30, 10]
    """
    if threads is not None:
        arguments.check_count("threads", threads, 1)
    path = arguments.check_path("path", path)
    what = "is not a model written by Network.save"
    try:
        with npz.NpzReader(path) as content:
            sizes, dtype = npz_model.read_header(content)
            what = "is not a whole model"
            net = Network.__new__(Network)
            net._prepare(sizes, dtype, threads)
            net._bind_parameters(npz_model.read_parameters(content, net._plan, net.dtype))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} {what}: {messages.shorten(error, 300)}") from None
    return net
