"""Charts of a report: learning curves as SVG, a confusion matrix as an HTML table."""

import math
from html import escape

import numpy as np

WIDTH, HEIGHT = 400, 250  # of a chart, in its own units; a page may scale it
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 36  # the margins around the axes
MOST_TICKS = 6


def line_chart(title, curves, unit=""):
    """Return an SVG element with a line for each curve over the epochs 0, 1 ...

    curves: {name: values}, NaN where there is none; the name is the line's class in the style
    sheet. unit: what follows a number in the description for screen readers.
    """
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in curves.items()}
    heights = [v for values in finite.values() for v in values] or [0.0]
    last = max(1, *(len(values) - 1 for values in curves.values()))
    epochs, levels = nice_ticks(0, last, whole=True), nice_ticks(min(heights), max(heights))

    def x_of(epoch):
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / last

    def y_of(value):
        return (
            HEIGHT
            - BOTTOM
            - (HEIGHT - TOP - BOTTOM) * (value - levels[0]) / (levels[-1] - levels[0])
        )

    parts = [_level(y_of(level), level) for level in levels]
    parts += [_text(x_of(e), HEIGHT - BOTTOM + 16, e) for e in epochs if e <= last]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "epoch"))
    parts += [
        f'<path class="line {name}" d="{_path(values, x_of, y_of)}"/>'
        for name, values in curves.items()
    ]
    about = "; ".join(
        f"{name}: from {v[0]:.4g}{unit} to {v[-1]:.4g}{unit}" for name, v in finite.items() if v
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: '
        f'{escape(about)}">{"".join(parts)}</svg>'
    )


def nice_ticks(low, high, whole=False):
    """Return up to about six round numbers, evenly spaced, from at most low to at least high.

    low, high: finite. whole: whether they are whole numbers.
    """
    span = (high - low) or abs(high) or 1.0
    smallest = span / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(smallest))
    step = next((power * f for f in (1, 2, 5) if smallest <= power * f), 10 * power)
    step = max(step, 1) if whole else step
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _level(y, level):
    """Return a horizontal line of the grid, and its number."""
    return (
        f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.6g}</text>'
    )


def _text(x, y, text):
    text = text if isinstance(text, str) else f"{text:g}"
    return f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{text}</text>'


def _path(values, x_of, y_of):
    """Return the path of a line; what is not finite interrupts it."""
    path, command = [], "M"
    for epoch, value in enumerate(values):
        if math.isfinite(value):
            path.append(f"{command}{x_of(epoch):.1f} {y_of(value):.1f}")
            command = "L"
        else:
            command = "M"
    # A line of one point would be invisible; with a round cap, one of length 0 is a dot.
    return "".join(path) + ("h0" if len(path) == 1 else "")


def confusion_table(confusion, classes):
    """Return an HTML table of a confusion matrix: rows are labels, columns predictions.

    The darker a cell, the more of its row are in it; mistakes have a colour of their own.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    most = max(float((shares - np.diag(np.diag(shares))).max(initial=0)), 1e-9)
    head = "".join(f'<th scope="col">{c}</th>' for c in classes)
    rows = []
    for r, label in enumerate(classes):
        cells = []
        for c, count in enumerate(confusion[r]):
            kind, share = ("right", shares[r, c]) if r == c else ("wrong", shares[r, c] / most)
            style = f' class="{kind}" style="--share:{share:.2f}"' if count else ""
            cells.append(f"<td{style}>{count or '·'}</td>")
        rows.append(f'<tr><th scope="row">{label}</th>{"".join(cells)}</tr>')
    return (
        '<table class="confusion"><caption>Rows: labels. Columns: predictions.</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
