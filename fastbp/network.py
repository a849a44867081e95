"""Chapters 1 and 2: the book's Network, compiled. The drop-in for the book's network.py.

Invariant: what is overridden is used. Where a subclass, an instance or this module's sigmoid has
been changed, the reference path runs instead of the kernels: the book's own structure,
SGD -> update_mini_batch -> backprop -> cost_derivative and SGD -> evaluate -> feedforward.
"""

import itertools

import numpy as np

from fastbp.data import (
    arguments,
    containers,
    datasets,
    files,
    messages,
    npz,
    numeric_arrays,
    parameters,
    predictions,
)
from fastbp.data.warn import public
from fastbp.training import base, evaluation, reference_path
from fastbp.training.base import sigmoid
from fastbp.training.checkpoint import Checkpointer
from fastbp.training.monitors import CountMonitor
from fastbp.training.rules import NO_RULES
from fastbp.training.run import Run
from fastbp.training.settings import RuleSettings, RunSettings
from fastbp.training.training_set import TrainingSet

FORMAT_VERSION = 1
OUTPUT = "sigmoid"  # the activation of the output layer


@np.errstate(under="ignore")
def sigmoid_prime(z):
    """Return the derivative of the sigmoid, sigmoid(z) (1 - sigmoid(z)), elementwise."""
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
        The most threads that a call may use; None for all that this process may run on. Results
        are the same to the bit for any number.

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
    """

    _gradient_parts = "backprop", "cost_derivative", "sigmoid"

    def __init__(self, sizes, *, dtype=np.float64, threads=None):
        checked = self._prepare(sizes, dtype, threads)
        biases = [np.random.randn(n_out, 1) for n_out in checked[1:]]
        weights = [np.random.randn(n_out, n_in) for n_in, n_out in itertools.pairwise(checked)]
        self._bind_parameters(parameters.flatten(weights, biases, self._plan, self.dtype))

    # ------------------------------------------------ the book's methods

    @public(ignore=("under", "over", "invalid"))
    def feedforward(self, a):
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
        """
        plan = self._plan
        a = numeric_arrays.as_columns(a, plan.sizes[0], self.dtype, "a")
        weights, biases = parameters.check_layers(self.weights, self.biases, plan)
        out = reference_path.feedforward(a, weights, biases, self._functions(plan))
        # A product with itself is finite unless something in it is not, or it is huge.
        return out if np.vdot(out, out) < np.inf else self._finite_output(out)

    @public
    def SGD(
        self, training_data, epochs, mini_batch_size, eta, test_data=None, *, progress=None,
        on_divergence="stop", checkpoint=None, checkpoint_every=30.0, resume=False, verbose=True,
        callback=None, shuffle=None,
    ):  # fmt: skip
        """Train by mini-batch stochastic gradient descent, and print a line per epoch.

        Parameters
        ----------
        training_data : list of (x, y), iterable of such pairs, or tuple (X, Y)
            x ``(n_in, 1)`` and y ``(n_out, 1)``; a list is shuffled in place, as in the book. Or
            arrays, one sample a row: X ``(n, n_in)``, or `fastbp.Pixels` for images stored as
            bytes, and Y ``(n, n_out)`` or integer labels ``(n,)``. With one output neuron targets
            are numbers: ``(n,)`` or ``(n, 1)``, in pairs also scalars.
        epochs : int
            How often all samples are trained on.
        mini_batch_size : int
            Samples per step; the last mini-batch of an epoch may be shorter.
        eta : float
            The learning rate.
        test_data : as for `evaluate`, optional
            With it, every epoch ends with an evaluation.
        progress : bool, optional
            Whether to show a progress bar on standard error; None for one on a terminal.
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
            Whether to go on from the checkpoint, if there is one, with the same data and arguments
            (epochs is the total, and may be larger than before; a run that ended early stays
            ended). In the end weights and printed
            lines, the earlier ones again, are those of a run that never stopped, to the bit. What
            cannot be compared, such as functions, you have to keep the same.
        verbose : bool
            Whether to print the lines. A checkpoint keeps them in either case.
        callback : callable or list of callables, optional
            Called after each epoch that this call trains, with a dictionary of its figures: epoch
            (0, 1 ...), epochs, eta, samples, seconds (of training and evaluation in this call), and
            with test data test_accuracy (a count) and n_test. One that returns True ends the run;
            other values are ignored. See `fastbp.History`.
        shuffle : {None, "book", "blocks"}
            "book": the order is that of `random.shuffle`. "blocks": arrays are read in blocks of
            1 MB in random order, and shuffled within windows of 128 MB; memory maps are read from
            their files, by a thread that reads ahead. None: "blocks" for a memory map that is
            larger than the free memory, else "book".

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

        With shuffle="blocks" each epoch's order is a permutation of all samples, too, which follows
        from ``random.seed`` alone: the blocks come in random order, so that a window holds samples
        from everywhere in the file, and a mini-batch is a random choice of them. Samples of one
        block always share a window (or two): data that are sorted in runs much longer than a block
        are mixed less well than by the book's order.

        A callback is called when the lines of an epoch are printed and before its checkpoint is
        written. It may read the network's weights; if it changes them, training goes on from what
        it leaves (ValueError if that is not finite). Ctrl-C waits for its end; a second one does
        not. An exception in it ends the call like any error: the network keeps the weights of the
        epoch, and a checkpoint is one of before. Source: book, chapter 1.
        """
        settings = RunSettings(
            self.dtype, epochs, mini_batch_size, eta, on_divergence, verbose, callback, shuffle
        )
        checkpointer = Checkpointer.of(checkpoint, checkpoint_every, resume)
        training_data = containers.materialise(training_data, "training_data")
        run = _run_of(self, settings, training_data, test_data)
        run.train(checkpointer, progress)

    @public
    def update_mini_batch(self, mini_batch, eta):
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
        rules, m = NO_RULES, len(pairs)
        weights, biases = reference_path.update(
            *self._layers(), nabla_b, nabla_w, (), eta, m, rules
        )
        self._check_step(weights, biases)
        self.weights, self.biases = weights, biases

    @public(ignore=("under", "over", "invalid"))
    def backprop(self, x, y):
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
        """
        plan = self._plan
        x = numeric_arrays.as_columns(x, plan.sizes[0], self.dtype, "x", 1)
        y = numeric_arrays.as_target_column(y, plan.sizes[-1], self.dtype, "y")
        return self._gradient_of_one(x, y, self._functions(plan), self._output_error)

    @public
    def evaluate(self, test_data):
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

    def cost_derivative(self, output_activations, y):
        """Return the partial derivatives of C_x by the output activations: a - y."""
        return output_activations - y

    # ------------------------------------------------ files

    def save(self, path):
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
        content = parameters.by_name(*self._finite_copies())
        with files.write_atomically(path) as file:
            np.savez(
                file,
                format_version=FORMAT_VERSION,
                kind="network",
                sizes=np.array(self._plan.sizes),
                dtype=self.dtype.name,
                **content,
            )

    # ------------------------------------------------ evaluation

    def _count_correct(self, X, labels, check=False):
        """Return how many are right; check: outputs that are not finite are an error."""

        def outputs_of(part):
            return self._outputs_of(part, "test_data", check)

        return evaluation.count_correct(outputs_of, X, labels, OUTPUT)

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


# ------------------------------------------------ one call of SGD


def _run_of(net, settings, data, test_data):
    """Return the Run of a call of SGD."""
    own_gradient = net._is_overridden("update_mini_batch", "backprop")
    reference = own_gradient or net._is_overridden("cost_derivative", "sigmoid")
    own_test = net._is_overridden("evaluate", "feedforward", "sigmoid")
    training_set = TrainingSet(data, net, reference, settings, own_data=own_gradient)
    sets = {} if training_set.arrays is None else {"training_data": training_set.arrays}
    count, n_test = _counter(net, test_data, own_test, sets)
    net.history = []
    return Run(
        net, settings, training_set, CountMonitor(count, n_test, net.history),
        RuleSettings(net.dtype, len(net._plan.sizes)), sets=sets, config={"test samples": n_test},
        rereads_list=reference or own_test,  # overridden methods may change the caller's list
        step=lambda pairs, eta, *how: net.update_mini_batch(pairs, eta),
        history={"right answers": net.history},
    )  # fmt: skip


def _counter(net, data, own_test, sets):
    """Return (a function that counts the right predictions, or None; of how many)."""
    if data is None or (isinstance(data, (list, tuple)) and not len(data)):
        return None, 0
    data = containers.materialise(data, "test_data")
    n_test = len(data[0]) if containers.is_array_form(data) else len(data)
    if own_test:
        if net._is_overridden("evaluate") and containers.is_array_form(data):
            data = datasets.labelled_pairs(data, net._plan, net.dtype, OUTPUT)
        return lambda: net.evaluate(data), n_test
    X, labels = datasets.labelled_arrays(data, net._plan, net.dtype, OUTPUT, streams="auto")
    sets["test_data"] = X, labels[:, None]
    return lambda: net._count_correct(X, labels), n_test


def load(path, *, threads=None):
    """Return the Network that `Network.save` wrote to a file.

    Parameters
    ----------
    path : path
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
    """
    if threads is not None:
        arguments.check_count("threads", threads, 1)
    what = "is not a model written by Network.save"
    try:
        with npz.NpzReader(path) as content:
            version, kind, dtype = (
                _single(content, name) for name in ("format_version", "kind", "dtype")
            )
            if version != FORMAT_VERSION or kind != "network":
                raise ValueError(
                    f"it holds a {messages.shorten(kind, 30)!r} in format {version}, expected a "
                    f"'network' in format {FORMAT_VERSION}; a newer fastbp may read it"
                )
            shape, _ = content.header("sizes")
            if len(shape) != 1 or shape[0] > len(content):  # no file has so many layers
                raise ValueError(f"sizes has shape {shape}, expected a list")
            sizes = content["sizes"].tolist()
            what = "is not a whole model"
            if dtype not in ("float64", "float32"):  # NumPy would read a text as a program
                seen = messages.shorten(dtype, 30)
                raise ValueError(f"dtype is {seen!r}, expected float64 or float32")
            net = Network.__new__(Network)
            net._prepare(sizes, dtype, threads)
            net._bind_parameters(_parameters(content, net._plan, net.dtype))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} {what}: {messages.shorten(error, 300)}") from None
    return net


def _single(content, name):
    """Return the one string or integer that stands under a name in a model."""
    shape, dtype = content.header(name)
    if shape != () or dtype.kind not in "iuU":
        raise ValueError(f"{name} has shape {shape} and dtype {dtype}, expected one value")
    return content[name].item()


def _parameters(content, plan, dtype):
    """Return the flat vector of a model's numbers, all of whose shapes fit before one is read."""
    lists = ("weights", lambda n_in, n_out: (n_out, n_in)), ("biases", lambda _, n_out: (n_out, 1))
    for name, shape_of in lists:
        for l, wanted in enumerate(itertools.starmap(shape_of, itertools.pairwise(plan.sizes))):
            shape, kind = content.header(f"{name}_{l}")
            if kind.kind not in "fiub":
                raise ValueError(f"{name}[{l}] has dtype {kind}, expected real numbers")
            if shape != wanted:
                raise ValueError(f"{name}[{l}] has shape {shape}, expected {wanted}")
    return parameters.read_flat(plan, dtype, lambda name, l: content[f"{name}_{l}"])
