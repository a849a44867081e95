"""The report of a network: one HTML page that holds all of its figures, and its weights.

Invariant: the page needs nothing but itself, no network connection and no other file.
"""

import html
import pathlib
import string

from fastbp import __version__
from fastbp.converters.contents import contents_of
from fastbp.data import containers, files
from fastbp.report import figures, page_content, sections
from fastbp.report.results import outputs_of, results_of

ASSETS = pathlib.Path(__file__).with_name("assets")
SCRIPTS = (
    "centring.js", "network.js", "paint.js", "equations.js", "drawing.js", "passes.js", "page.js"
)  # fmt: skip
N_FOR_GRADIENT = 1000  # training samples that the gradient is averaged over, as in chapter 5


def write_report(path, net, training, test, *, model_name, data_name="test data", curves=None):
    """Write the report of a network to an HTML file.

    Parameters
    ----------
    path : path
        The file appears whole or not at all.
    net : fastbp.network.Network or fastbp.network2.Network
    training, test : tuple (X, labels)
        X (n, n_in), an array or `fastbp.Pixels`; labels (n,). The first 1,000 samples of training
        are used.
    model_name, data_name : str
        What the page calls the network and the data.
    curves : dict, optional
        The learning curves, as `fastbp.report.run_curves.read_curves` returns them.

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
    Gradients and saturation: book, chapters 2, 3 and 5. The page holds the weights as float32.
    """
    contents = contents_of(net, "a report")
    results = results_of(net, contents, test)
    measured = _measured_sections(net, contents, training, results)
    page = string.Template(_read("page.html")).substitute(
        title=html.escape(model_name),
        version=__version__,
        summary=sections.summary(contents, data_name, len(results.X), results.accuracy),
        sections="\n".join([*_sections(contents, results, curves), *measured]),
        style=_read("page.css"),
        content=page_content.content_of(contents, results),
        scripts="\n".join(map(_read, SCRIPTS)),
    )
    content = page.encode()
    with files.write_atomically(path) as file:
        file.write(content)
    return len(content)


def _read(name):
    """Return the text of a part of the page."""
    return (ASSETS / name).read_text("utf-8")


def _sections(contents, results, curves):
    """Return the sections about the weights, the run and the test samples, as HTML."""
    reason = page_content.why_not_drawn(contents)
    return [
        _read("drawing.html") if reason is None else sections.missing("drawing", reason),
        sections.learning_curves(curves),
        sections.classes(results, contents.activations[-1], page_content.MOST_OUTPUTS),
        sections.mistakes(results, is_image=contents.sizes[0] == page_content.N_INPUTS),
        sections.weights(contents.sizes[1], page_content.N_PICTURES)
        if reason is None
        else sections.missing("weights", reason),
    ]


def _measured_sections(net, contents, training, results):
    """Return the sections about gradients, saturation and speed, as HTML."""
    X, labels = (part[:N_FOR_GRADIENT] for part in training)
    shares = figures.saturated_shares(
        results.X, contents.weights, contents.biases, contents.activations
    )
    n, one = len(results.X), containers.as_values(results.X[:1], net.dtype).T
    per_second = n * figures.calls_per_second(lambda: outputs_of(net, results.X))
    one_per_second = figures.calls_per_second(lambda: net.feedforward(one))
    threads = {None: "all threads", 1: "one thread"}.get(
        net.threads, f"at most {net.threads} threads"
    )
    return [
        sections.layers(contents, net.gradient_norms((X, labels)), len(X), shares),
        sections.speed(n, per_second, one_per_second, threads),
    ]
