"""The sections of a report, as HTML."""

import math
from html import escape

import numpy as np

from fastbp.report import charts, figures, page_content

NO_CURVES = (
    "No history was given. <code>fastbp.History</code> records one: <code>history = "
    "fastbp.History(); net.SGD(..., callback=history); history.to_csv('run.csv')</code>, then "
    "<code>fastbp report MODEL --history run.csv</code>. The checkpoint of <code>fastbp train "
    "--checkpoint PATH</code> will do, too."
)


TITLES = {
    "drawing": "Draw a digit",
    "curves": "Learning curves",
    "confusion": "Confusion matrix",
    "scores": "Precision, recall and F1",
    "mistakes": "Most confident mistakes",
    "weights": "Weights from the pixels",
    "layers": "How fast each layer learns",
    "speed": "Speed",
}


def section(name, content):
    """Return a section with a heading; name: a key of TITLES; content: HTML."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{TITLES[name]}</h2>{content}</section>'
    )


def missing(name, reason):
    """Return a section that only says why there is nothing to show."""
    return section(name, note(reason))


def note(text):
    """Return a paragraph of explanation, or of why there is nothing to show."""
    return f'<p class="note">{text}</p>'


def table(head, rows, caption=""):
    """Return a table of texts; the first column holds the headings of the rows."""
    columns = "".join(f'<th scope="col">{text}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{text}</td>" for text in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def summary(contents, data_name, n_test, accuracy):
    """Return the list of what the network is; accuracy: 0..1, or None."""
    n_params = page_content.n_params_of(contents)
    facts = {
        "Layers": " → ".join(f"{n:,}" for n in contents.sizes),
        "Activations": ", ".join(contents.activations),
        "Cost": contents.cost or "one of your own",
        "Weights and biases": f"{n_params:,}",
        "Type": contents.dtype.name,
        "Test data": f"{escape(data_name)}, {n_test:,} samples",
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts.items())
    if accuracy is not None:
        items = (
            '<div class="accuracy"><dt>Test accuracy</dt>'
            f'<dd id="test-accuracy">{accuracy:.2%}</dd></div>' + items
        )
    return f'<dl class="summary">{items}</dl>'


def learning_curves(curves):
    """Return the charts of accuracy and cost; curves: as read_curves returns them, or None."""
    if curves is None:
        return missing("curves", NO_CURVES)
    content = ""
    for kind, title, unit, best_of in (
        ("accuracy", "Accuracy, %", " %", max), ("cost", "Cost", "", min),
    ):  # fmt: skip
        if curves[kind]:
            chart = charts.line_chart(title, curves[kind], unit)
            legend = "".join(
                f'<li class="{data}">{data}{_best(values, best_of, unit)}</li>'
                for data, values in curves[kind].items()
            )
            content += (
                f'<figure><figcaption>{title}</figcaption>{chart}<ul class="legend">{legend}</ul>'
                "</figure>"
            )
    return section("curves", f'<div class="charts">{content}</div>')


def _best(values, best_of, unit):
    """Return the text of the legend about the best value of a curve."""
    known = [i for i, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return ""
    epoch = best_of(known, key=values.__getitem__)
    return f": best {values[epoch]:.4g}{unit}, epoch {epoch}"


def classes(results, activation, most):
    """Return the confusion matrix and the scores of each class, of at most so many classes.

    activation: of the output layer.
    """
    if results.labels is None:
        return missing(
            "confusion",
            f"The output layer is one {activation} neuron, whose output is a number: there are no "
            f"classes.",
        )
    if len(results.classes) > most:
        n = len(results.classes)
        return missing("confusion", f"There are {n:,} classes. This section shows {most} at most.")
    matrix = figures.confusion_matrix(results.labels, results.predicted, results.classes)
    return _confusion(matrix, results.classes)


def _confusion(matrix, classes):
    """Return the confusion matrix and the scores of each class."""
    scores = zip(classes, *figures.class_scores(matrix), matrix.sum(axis=1))
    rows = [
        (label, *("-" if math.isnan(score) else f"{score:.3f}" for score in three), f"{n:,}")
        for label, *three, n in scores
    ]
    matrix_section = section(
        "confusion",
        '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        f"{charts.confusion_table(matrix, classes)}</div>",
    )  # fmt: skip
    explanation = note(
        "Precision: of the samples predicted as a class, how many are of it. Recall: of the "
        "samples of a class, how many are predicted as it. F1: their harmonic mean."
    )
    head = "class", "precision", "recall", "F1", "samples"
    scores_section = section("scores", explanation + table(head, rows, "Scores by class"))
    return f'<div class="pair">{matrix_section}{scores_section}</div>'


def mistakes(results, is_image):
    """Return the section that page.js fills with wrongly classified images."""
    if results.labels is None:
        return missing("mistakes", "The output is a number: there are no classes.")
    wrong = int((results.labels != results.predicted).sum())
    count = f"{wrong:,} of {len(results.labels):,} test samples are classified wrongly."
    if not is_image:
        return missing("mistakes", f"{count} Pictures are for inputs of 28 x 28 pixels.")
    return section(
        "mistakes",
        note(
            f"{count} These have the largest output for a wrong answer: label → prediction. Choose "
            "one to see it in the drawing area."
        )
        + '<div id="mistake-images" class="images" role="group" aria-label="Mistakes"></div>',
    )


def weights(n, most):
    """Return the section that page.js fills with the weights of the layer after the input."""
    which = f"the first {most} of {n:,}" if n > most else f"all {n:,}"
    text = (
        f"The weights from the 28 x 28 pixels to {which} neurons of the layer after the input: <b "
        'class="positive">blue</b> where ink excites the neuron, <b class="negative">red</b> where '
        "it inhibits it. Each picture has its own scale."
    )
    images = (
        '<div id="weight-images" class="images" role="img" '
        f'aria-label="The weights of {which} neurons as pictures"></div>'
    )
    return section("weights", note(text) + images)


def layers(contents, gradient_norms, n_training, saturated_shares):
    """Return the table of how fast each layer learns, and of its saturated neurons.

    gradient_norms: a float for each layer; n_training: samples that they are averaged over;
    saturated_shares: as figures.saturated_shares returns them.
    """
    rows = []
    for l, (n, name, norm, shares) in enumerate(
        zip(contents.sizes[1:], contents.activations, gradient_norms, saturated_shares), 2
    ):
        count = int((shares > 0.5).sum())
        where = "output" if l == len(contents.sizes) else "hidden"
        silent = " silent" if name == "relu" else ""
        saturated = "never" if name == "linear" else f"{count:,}{silent} ({count / n:.0%})"
        mean = "-" if name == "linear" else f"{np.mean(shares):.0%}"
        rows.append((f"{l}, {where}", f"{n:,} {name}", f"{norm:.3g}", saturated, mean))
    head = "layer", "neurons", "norm of ∂C/∂b", "saturated neurons", "mean share"
    explanation = note(
        f"The norm of the gradient by a layer's biases, averaged over {n_training:,} training "
        "samples, tells how fast the layer learns (chapter 5). A neuron is counted as saturated if "
        "it is so on more than half of the test samples (chapters 2 and 3): a sigmoid or softmax "
        f"neuron with an activation below {figures.LOW} or above {figures.HIGH}, a tanh neuron "
        f"beyond ±{figures.HIGH - figures.LOW:g}, a relu neuron at 0, named silent: a good "
        "network has many. Output neurons are trained to be so. The mean share is that of the "
        "samples, averaged over the layer's neurons."
    )
    return section("layers", explanation + table(head, rows, "Speed by layer"))


def speed(n_test, per_second, one_per_second, threads):
    """Return the table of how many samples per second the network reads."""
    rows = (
        (f"all {n_test:,} test samples in one call", f"{per_second:,.0f}"),
        ("one at a time", f"{one_per_second:,.0f}"),
    )
    return section(
        "speed",
        table(("feedforward", "samples per second"), rows, "Speed of feedforward")
        + note(f"Measured when this page was made, with {threads}."),
    )  # fmt: skip
