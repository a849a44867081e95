"""Chapters 1 and 2: the book's Network, compiled. The drop-in for the book's network.py.

Law: whatever a reader overrides is honoured. Where a subclass, an instance or this module's
sigmoid has been changed, the general path runs instead of the kernels: the book's own structure,
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
from fastbp.training import base, engine, reference_path, sgd
from fastbp.training.base import sigmoid

FORMAT_VERSION = 1
OUTPUT = "sigmoid"  # the activation of the output layer


@np.errstate(under="ignore")
def sigmoid_prime(z):
    """Return the derivative of the sigmoid, sigmoid(z) (1 - sigmoid(z)), elementwise."""
    s = sigmoid(z)
    return s * (1 - s)


class Network(base.Compiled):
    """A feedforward network of sigmoid neurons that learns by stochastic gradient descent.

    sizes: neurons per layer, e.g. [784, 30, 10]. dtype: float64 or float32, the type of weights,
    biases and arithmetic. threads: the most threads that a call uses; None for all that the
    process may run on. Results are the same to the bit for any number of threads.

    Attributes, as in the book: num_layers; sizes; biases, a list of (n_out, 1) arrays; weights, a
    list of (n_out, n_in) arrays. Both are drawn from N(0, 1) with NumPy's global generator, all
    biases first, so numpy.random.seed gives the book's initial values. Every training call binds
    new lists of new arrays. Assign or change them as you like: the next call uses what it finds.

    Raises TypeError or ValueError for sizes, dtype or threads that make no sense.
    Source: book, chapters 1 and 2.
    """

    _gradient_points = "backprop", "cost_derivative", "sigmoid"

    def __init__(self, sizes, *, dtype=np.float64, threads=None):
        checked = self._prepare(sizes, dtype, threads)
        biases = [np.random.randn(n_out, 1) for n_out in checked[1:]]
        weights = [np.random.randn(n_out, n_in) for n_in, n_out in itertools.pairwise(checked)]
        self._publish(parameters.flatten(weights, biases, self._plan, self.dtype))

    # ------------------------------------------------ the book's methods

    @public(ignore=("under", "over", "invalid"))
    def feedforward(self, a):
        """Return the output (n_out, 1) for the input column a (n_in, 1); m columns give m columns.

        Raises ValueError for any other shape.
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
        on_divergence="stop", checkpoint=None, checkpoint_every=30.0, resume=False,
    ):  # fmt: skip
        """Train by mini-batch stochastic gradient descent, and print a line per epoch.

        training_data: pairs (x, y), x (n_in, 1) and y (n_out, 1), as a list (shuffled in place,
        as in the book) or any iterable; or arrays (X, Y), X (n, n_in), one sample a row, and Y
        (n, n_out) or integer labels (n,). Numbers mean what they say, whatever their type; images
        stored as bytes are marked: fastbp.Pixels(X). With one output neuron targets are numbers:
        (n,) or (n, 1), in pairs also scalars. test_data: as for evaluate; with it, every epoch
        ends with an evaluation. progress: True or False for a bar
        on standard error, None for one where standard error is a terminal.

        The order of samples is random.shuffle's, on Python's global generator. When a call is
        interrupted, the weights are those of the last mini-batch that was finished. `history` is
        then the list of the counts that were printed.

        on_divergence: what happens when weights are no longer finite: "stop" ends the call with a
        FloatingPointError that names the epoch and the mini-batch, and keeps the last finite ones;
        "continue" goes on, as the book's code does. checkpoint: the path of a file that the state
        of the run is written to, every so many seconds (checkpoint_every as a float) or epochs (as
        an int), at an interrupt and at the end; the one before it stays beside it, as
        `path`.previous. resume: go on where the checkpoint stands, if there is one, with the same
        data and arguments (epochs is the total; more may be asked for later). Weights and printed
        lines, the old ones again, are in the end those of a run that never stopped, to the bit.
        What cannot be compared, such as functions, has to be the same by your own care.

        Raises ValueError or TypeError, before any weight changes, for data that do not fit the
        network and for arguments out of range; OSError for a checkpoint that can't be read or
        written. Source: book, chapter 1.
        """
        run = _Run(
            self, training_data, epochs, mini_batch_size, eta, test_data,
            (on_divergence, checkpoint, checkpoint_every, resume),
        )  # fmt: skip
        run.go(progress)

    @public
    def update_mini_batch(self, mini_batch, eta):
        """Take one step of gradient descent, w - (eta/m) * sum of the m gradients.

        mini_batch: m pairs (x, y), or arrays (X, Y), as in SGD; eta: the learning rate.
        Raises ValueError or TypeError for data that do not fit. Source: book, chapter 2.
        """
        plan, dtype = self._plan, self.dtype
        eta = arguments.check_rate("eta", eta, dtype)
        mini_batch = containers.materialise(mini_batch, "mini_batch")
        if not self._general("backprop", "cost_derivative", "sigmoid"):
            self._step(mini_batch, eta)
            return
        pairs = datasets.training_pairs(mini_batch, plan, dtype, "mini_batch")
        nabla_b, nabla_w = reference_path.summed_gradient(self.backprop, pairs)
        rules, m = engine.NO_RULES, len(pairs)
        weights, biases = reference_path.update(
            *self._layers(), nabla_b, nabla_w, None, eta, m, rules
        )
        self._refuse_strange_step(weights, biases)
        self.weights, self.biases = weights, biases

    @public(ignore=("under", "over", "invalid"))
    def backprop(self, x, y):
        """Return (nabla_b, nabla_w), the gradient of C_x = 1/2 ||a - y||^2 for one sample.

        x (n_in, 1); y (n_out, 1), with one output neuron also a number. The lists are shaped like
        biases and weights; nothing changes.
        Raises ValueError for other shapes. Source: book, chapter 2, equations BP1 to BP4.
        """
        plan = self._plan
        x = numeric_arrays.as_columns(x, plan.sizes[0], self.dtype, "x", 1)
        y = numeric_arrays.as_target_column(y, plan.sizes[-1], self.dtype, "y")
        return self._gradient_of_one(x, y, self._functions(plan), self._output_error)

    @public
    def evaluate(self, test_data):
        """Return how many samples the network gets right: argmax(output) == label.

        test_data: pairs (x, label), a label being an integer, or an array or a one-hot column that
        holds one; or arrays (X, labels) or (X, Y) of rows with one largest number each. One output
        neuron answers 1 where its output is at least 0.5, else 0, and the labels are 0 and 1 (the
        book's argmax over one output is always 0). Raises ValueError or TypeError for data that do
        not fit.
        """
        test_data = containers.materialise(test_data, "test_data")
        if self._general("feedforward", "sigmoid"):
            pairs = datasets.labelled_pairs(test_data, self._plan, self.dtype, OUTPUT)
            predict = predictions.predict_label
            return sum(predict(self.feedforward(x), OUTPUT) == y for x, y in pairs)
        X, labels = datasets.labelled_arrays(test_data, self._plan, self.dtype, OUTPUT)
        self._refuse_strange_weights()
        with self._explained("test_data", X):
            return self._count_correct(X, labels, self._stops)

    def cost_derivative(self, output_activations, y):
        """Return the partial derivatives of C_x by the output activations: a - y."""
        return output_activations - y

    # ------------------------------------------------ files

    def save(self, path):
        """Write the network to `path` as an .npz file that holds numbers only, no pickle.

        The file appears whole or not at all. Raises OSError if it cannot be written, ValueError
        if weights or biases do not fit sizes or are not finite. Read it with fastbp.network.load.
        """
        flat = parameters.flatten(self.weights, self.biases, self._plan, self.dtype)
        parameters.check_finite_parameters(self)
        weights, biases = parameters.views(flat, self._plan)
        content = {f"weights_{l}": w for l, w in enumerate(weights)}
        content |= {f"biases_{l}": b for l, b in enumerate(biases)}
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

    def _count_correct(self, X, labels, sound=False):
        """Return how many are right; sound: outputs that are not finite are an error."""
        out = self._outputs_of(X, "test_data", sound)
        return int((predictions.predict_labels(out, OUTPUT) == labels).sum())

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


class _Run(sgd.Run):
    """One call of SGD."""

    def __init__(self, net, data, epochs, m, eta, test_data, settings):
        super().__init__(net, epochs, m, eta, *settings)
        self.history = {"right answers": []}
        net.history = self.history["right answers"]
        data = containers.materialise(data, "training_data")
        self.own_gradient = net._general("update_mini_batch", "backprop")
        self.general = self.own_gradient or net._general("cost_derivative", "sigmoid")
        self.own_test = net._general("evaluate", "feedforward", "sigmoid")
        self._read(data)
        self.callers_list = data if isinstance(data, list) else None
        self._read_test(test_data)

    def _read(self, data):
        net = self.net
        if not self.own_gradient:  # whoever writes their own may have data of their own, too
            X, Y = datasets.training_arrays(data, net._plan, net.dtype)
            self.sets["training_data"] = X, Y
            if self.general:
                numeric_arrays.check_finite_samples(X, Y, net.dtype, "training_data")
        if self.general:
            self.pairs = datasets.training_pairs(data, net._plan, net.dtype)
        else:
            self.samples = engine.Samples(X, Y, "training_data")
        self.n = len(self.pairs if self.general else self.samples)

    def _read_test(self, data):
        self.evaluate, self.n_test = None, 0
        if data is None or (isinstance(data, (list, tuple)) and not len(data)):
            return
        data = containers.materialise(data, "test_data")
        self.n_test = len(data[0]) if containers.is_array_form(data) else len(data)
        if self.net._general("evaluate") and containers.is_array_form(data):
            data = datasets.labelled_pairs(data, self.net._plan, self.net.dtype, OUTPUT)
        self.evaluate = lambda: self.net.evaluate(data)
        if not self.own_test:
            X, labels = datasets.labelled_arrays(data, self.net._plan, self.net.dtype, OUTPUT)
            self.sets["test_data"] = X, labels[:, None]
            self.evaluate = lambda: self.net._count_correct(X, labels)

    def facts(self):
        return super().facts() | {"test samples": self.n_test}

    def begin_epoch(self):
        own_code = self.general or self.own_test
        if own_code and self.epoch and self.callers_list is not None:
            # Whoever has code of their own in here may have changed their list with it.
            changed = not self.handed_out()
            if changed:
                self.pairs_given, self.rewritten = list(self.callers_list), True
            self._read(self.pairs_given)
            if changed:
                self.order = np.arange(self.n)

    def watch(self):
        return None if self.evaluate is None else self.evaluate()

    def record(self, count, midway):
        if self.evaluate is None:
            self.write(f"Epoch {self.epoch} complete")
        else:
            self.history["right answers"].append(count)
            self.write(f"Epoch {self.epoch}: {count} / {self.n_test}")


def load(path, *, threads=None):
    """Return the Network that Network.save wrote to `path`. Draws no random numbers.

    Raises OSError if the file cannot be read, ValueError if it is not such a file or holds a number
    that is not finite. Nothing in the file is executed: it holds numbers only.
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
            what = "is not a sound model"
            if dtype not in ("float64", "float32"):  # NumPy would read a text as a program
                seen = messages.shorten(dtype, 30)
                raise ValueError(f"dtype is {seen!r}, expected float64 or float32")
            net = Network.__new__(Network)
            net._prepare(sizes, dtype, threads)
            net._publish(_parameters(content, net._plan, net.dtype))
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
