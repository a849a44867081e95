"""The sections of a report, as HTML."""

import math
from html import escape

import numpy as np

from fastbp.report import charts, figures

NO_CURVES = (
    "No history was given. <code>fastbp.History</code> records one: <code>history = "
    "fastbp.History(); net.SGD(..., callback=history); history.to_csv('run.csv')</code>, then "
    "<code>fastbp report MODEL --history run.csv</code>. The checkpoint of <code>fastbp train "
    "--checkpoint PATH</code> will do, too."
)


def section(name, title, content):
    """Return a section with a heading; content: HTML."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{title}</h2>{content}</section>'
    )


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
    n_params = sum(w.size + b.size for w, b in zip(contents.weights, contents.biases))
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
        return section("curves", "Learning curves", note(NO_CURVES))
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
    return section("curves", "Learning curves", f'<div class="charts">{content}</div>')


def _best(values, best_of, unit):
    """Return the text of the legend about the best value of a curve."""
    known = [i for i, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return ""
    epoch = best_of(known, key=values.__getitem__)
    return f": best {values[epoch]:.4g}{unit}, epoch {epoch}"


def confusion(matrix, classes):
    """Return the confusion matrix and the scores of each class."""
    scores = zip(classes, *figures.class_scores(matrix), matrix.sum(axis=1))
    rows = [
        (label, *("–" if math.isnan(score) else f"{score:.3f}" for score in three), f"{n:,}")
        for label, *three, n in scores
    ]
    return section(
        "confusion", "Confusion matrix",
        '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        f"{charts.confusion_table(matrix, classes)}</div>",
    ) + section(
        "scores", "Precision, recall and F1",
        note(
            "Precision: of the samples predicted as a class, how many are of it. Recall: of the "
            "samples of a class, how many are predicted as it. F1: their harmonic mean."
        ) + table(("class", "precision", "recall", "F1", "samples"), rows, "Scores by class"),
    )  # fmt: skip


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
        saturated = "never" if name == "linear" else f"{count:,} ({count / n:.0%})"
        mean = "–" if name == "linear" else f"{np.mean(shares):.0%}"
        rows.append((f"{l}, {where}", f"{n:,} {name}", f"{norm:.3g}", saturated, mean))
    head = "layer", "neurons", "norm of ∂C/∂b", "saturated neurons", "mean share of the samples"
    explanation = note(
        f"The norm of the gradient by a layer's biases, averaged over {n_training:,} training "
        "samples, tells how fast the layer learns (chapter 5). A neuron is counted as saturated if "
        "it is so on more than half of the test samples (chapters 2 and 3): a sigmoid or softmax "
        f"neuron with an activation below {figures.LOW} or above {figures.HIGH}, a tanh neuron "
        f"beyond ±{figures.HIGH - figures.LOW:g}, a relu neuron at 0. For output neurons that is "
        "what they were trained for."
    )
    return section(
        "layers", "How fast each layer learns", explanation + table(head, rows, "Speed by layer")
    )


def speed(n_test, per_second, one_per_second, threads):
    """Return the table of how many samples per second the network reads."""
    rows = (
        (f"all {n_test:,} test samples in one call", f"{per_second:,.0f}"),
        ("one at a time", f"{one_per_second:,.0f}"),
    )
    return section(
        "speed", "Speed",
        table(("feedforward", "samples per second"), rows, "Speed of feedforward")
        + note(f"Measured when this page was made, with {threads}."),
    )  # fmt: skip
