"""The report of a network: one HTML page that holds all of its figures, and its weights.

Invariant: the page needs nothing but itself, no network and no other file.
"""

import base64
import json
import pathlib
import string
from html import escape

import numpy as np

from fastbp import __version__
from fastbp.converters.contents import contents_of
from fastbp.data import containers, datasets, files, predictions
from fastbp.report import centring, figures, sections

ASSETS = pathlib.Path(__file__).with_name("assets")
SCRIPTS = "centring.js", "network.js", "paint.js", "equations.js", "page.js"
MOST_OUTPUTS = 27  # EMNIST's letters have the labels 1..26: 27 outputs, of which one is not used
MOST_PARAMETERS = 5_000_000  # in the page: 27 MB
N_MISTAKES, N_FOR_GRADIENT, N_PICTURES = 24, 1000, 100
N_INPUTS = centring.SIDE**2


def write_report(path, net, training, test, *, model_name, data_name="test data", curves=None):
    """Write the report of a network to an HTML file.

    Parameters
    ----------
    path : path
        The file appears whole or not at all.
    net : fastbp.network.Network or fastbp.network2.Network
    training, test : tuple (X, labels)
        X (n, n_in), an array or `fastbp.Pixels`; labels (n,). Up to 1,000 of training are used.
    model_name, data_name : str
        What the page calls the network and the data.
    curves : dict, optional
        What `fastbp.report.run_curves.read_curves` returns.

    Returns
    -------
    int
        The size of the file in bytes.

    Raises
    ------
    TypeError, ValueError
        If the data do not fit the network, or parts of it are overridden.
    OSError
        If the file cannot be written.

    Notes
    -----
    Gradients and saturation: book, chapters 2, 3 and 5.
    """
    content = make_page(
        net, training, test, model_name=model_name, data_name=data_name, curves=curves
    ).encode()
    with files.write_atomically(path) as file:
        file.write(content)
    return len(content)


def make_page(net, training, test, *, model_name, data_name, curves):
    """Return the page as a string; arguments and errors as for write_report."""
    contents = contents_of(net, "a report")
    classified = Classified.of(net, contents, test)
    reason = why_not_drawn(contents)
    parts = [sections.learning_curves(curves), *_test_sections(classified, contents)]
    if reason is None:
        parts.insert(0, (ASSETS / "drawing.html").read_text("utf-8"))
    else:
        parts.insert(0, sections.section("drawing", "Draw a digit", sections.note(reason)))
    parts.append(_weights_section(contents, reason))
    parts += _measured_sections(net, contents, training, classified)
    accuracy = classified.accuracy
    return string.Template((ASSETS / "page.html").read_text("utf-8")).substitute(
        title=escape(model_name),
        version=__version__,
        summary=sections.summary(contents, data_name, len(classified.X), accuracy),
        sections="\n".join(parts),
        style=(ASSETS / "page.css").read_text("utf-8"),
        content=_as_json(_page_content(contents, classified, reason is None)),
        scripts="\n".join((ASSETS / name).read_text("utf-8") for name in SCRIPTS),
    )


class Classified:
    """The test samples and what a network answers.

    X (n, n_in) array or Pixels; outputs (n, n_out); classes (k,), labels, predicted (n,) int64 and
    confidence (n,): the output of the predicted class; the last four are None for a regression.
    """

    @classmethod
    def of(cls, net, contents, test):
        """Return the Classified test samples; raise ValueError if they do not fit the network."""
        self, activation, n_out = cls(), contents.activations[-1], contents.sizes[-1]
        self.classes = self.labels = self.predicted = self.confidence = None
        if n_out > 1 or activation in predictions.BINARY_LABELS:
            self.X, self.labels = datasets.labelled_arrays(test, net._plan, net.dtype, activation)
            self.outputs = self.outputs_of(net)
            self.predicted = predictions.predict_labels(self.outputs, activation)
            if n_out > 1:
                self.classes, self.confidence = np.arange(n_out), self.outputs.max(axis=1)
            else:
                low, high, threshold = predictions.BINARY_LABELS[activation]
                self.classes = np.array([low, high])
                self.confidence = np.abs(self.outputs[:, 0] - threshold)
        else:
            self.X, _ = datasets.training_arrays(test, net._plan, net.dtype, "test_data")
            self.outputs = self.outputs_of(net)
        return self

    def outputs_of(self, net):
        """Return the outputs (n, n_out) of a network for the test samples."""
        if net._is_overridden("cost"):  # the kernels do not know it
            return net.feedforward(containers.as_values(self.X, net.dtype).T).T
        return net._outputs_of(self.X, "test_data", True)

    @property
    def accuracy(self):
        """The share of right predictions, or None."""
        return None if self.labels is None else float(np.mean(self.labels == self.predicted))


def why_not_drawn(contents):
    """Return why a network cannot read drawings in the page, as a sentence; None if it can."""
    n_in, n_out = contents.sizes[0], contents.sizes[-1]
    n_params = sum(w.size + b.size for w, b in zip(contents.weights, contents.biases))
    if n_in != N_INPUTS:
        return (
            f"The network has {n_in:,} inputs. This section is for networks that read images of "
            f"{centring.SIDE} × {centring.SIDE} pixels."
        )
    if n_out > MOST_OUTPUTS:
        return f"The network has {n_out:,} outputs. This section shows {MOST_OUTPUTS} at most."
    if n_params > MOST_PARAMETERS:
        return (
            f"The network has {n_params:,} weights and biases. A page holds {MOST_PARAMETERS:,} at "
            "most."
        )
    if contents.cost is None:
        return "The network has a cost of its own, which a page cannot compute."
    return None


def _test_sections(classified, contents):
    """Return the sections about right and wrong predictions."""
    n_out, title = contents.sizes[-1], "Most confident mistakes"
    if classified.labels is None:
        return [
            sections.section(
                "confusion", "Predictions",
                sections.note(
                    f"The output layer is one {contents.activations[-1]} neuron, whose output is a "
                    "number: there are no labels that are right or wrong."
                ),
            )
        ]  # fmt: skip
    if n_out > MOST_OUTPUTS:
        reason = f"The network has {n_out:,} outputs: a matrix of {MOST_OUTPUTS} at most is shown."
        found = [sections.section("confusion", "Confusion matrix", sections.note(reason))]
    else:
        pair = classified.labels, classified.predicted
        matrix = figures.confusion_matrix(*pair, classified.classes)
        found = [sections.confusion(matrix, classified.classes)]
    if contents.sizes[0] != N_INPUTS:
        content = sections.note("The inputs are not images of 28 × 28 pixels.")
    else:
        wrong = int((classified.labels != classified.predicted).sum())
        content = (
            sections.note(
                f"{wrong:,} of {len(classified.labels):,} test images are read wrongly. These are "
                "the ones with the largest output for the wrong answer: label → prediction."
            )
            + '<div id="mistake-images" class="images" role="group" aria-label="Mistakes"></div>'
        )
    return [*found, sections.section("mistakes", title, content)]


def _weights_section(contents, reason):
    """Return the section that page.js fills with pictures of the first layer's weights."""
    title = "What the first layer looks for"
    if reason is not None:
        return sections.section("weights", title, sections.note(reason))
    n = contents.sizes[1]
    which = f"the first {N_PICTURES} of {n:,}" if n > N_PICTURES else f"all {n:,}"
    text = (
        f"The weights from the {centring.SIDE} × {centring.SIDE} pixels to {which} neurons of the "
        'layer after the input: <b class="positive">blue</b> where ink excites the neuron, <b '
        'class="negative">red</b> where it inhibits it. Each picture has a scale of its own.'
    )
    return sections.section(
        "weights", title,
        sections.note(text) + f'<div id="weight-images" class="images" role="img" '
        f'aria-label="The weights of {which} neurons as pictures"></div>',
    )  # fmt: skip


def _measured_sections(net, contents, training, classified):
    """Return the sections about gradients, saturation and speed."""
    X, labels = training[0][:N_FOR_GRADIENT], training[1][:N_FOR_GRADIENT]
    shares = figures.saturated_shares(
        classified.X, contents.weights, contents.biases, contents.activations
    )
    n, one = len(classified.X), containers.as_values(classified.X[:1], net.dtype).T
    per_second = n * figures.calls_per_second(lambda: classified.outputs_of(net))
    one_per_second = figures.calls_per_second(lambda: net.feedforward(one))
    threads = "all threads" if net.threads is None else f"at most {net.threads} threads"
    return [
        sections.layers(contents, net.gradient_norms((X, labels)), len(X), shares),
        sections.speed(n, per_second, one_per_second, threads),
    ]


# ------------------------------------------------ what the scripts read


def _page_content(contents, classified, is_drawn):
    """Return the dictionary that network.js and page.js read."""
    content = {"examples": [], "mistakes": [], "network": None}
    if is_drawn:
        content["centring"] = dict(side=centring.SIDE, box=centring.BOX, ink=centring.INK)
        content["pictures"] = N_PICTURES
        content["network"] = _network_content(contents)
    if contents.sizes[0] == N_INPUTS and classified.labels is not None:
        wrong = figures.confident_mistakes(
            classified.labels, classified.predicted, classified.confidence, N_MISTAKES
        )
        examples = figures.first_of_each_class(classified.labels, classified.classes[:MOST_OUTPUTS])
        content["mistakes"] = [_image_content(classified, i) for i in wrong]
        content["examples"] = [_image_content(classified, i) for i in examples]
    return content


def _network_content(contents):
    """Return what network.js needs of a network; targets: y for one output neuron."""
    arrays = [array for pair in zip(contents.weights, contents.biases) for array in pair]
    flat = np.concatenate([array.ravel() for array in arrays]).astype("<f4")
    low, high, _ = predictions.BINARY_LABELS.get(contents.activations[-1], (0, 1, 0.5))
    return {
        "sizes": contents.sizes,
        "activations": contents.activations,
        "cost": contents.cost,
        "targets": [low, high],
        "parameters": _as_base64(flat),
    }


def _image_content(classified, i):
    """Return a test image as page.js reads it: a byte for each pixel, in units of 1/256."""
    values = containers.as_values(classified.X[i : i + 1], np.dtype(np.float64))
    pixels = np.clip(np.rint(values * 256), 0, 255).astype(np.uint8)
    return {
        "label": int(classified.labels[i]),
        "predicted": int(classified.predicted[i]),
        "pixels": _as_base64(pixels),
    }


def _as_base64(array):
    return base64.b64encode(array.tobytes()).decode()


def _as_json(content):
    """Return JSON that can stand within a <script> element."""
    return json.dumps(content).replace("<", "\\u003c")
