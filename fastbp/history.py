"""The figures of a run, epoch by epoch: a callback of SGD that collects, writes and draws them."""

from __future__ import annotations

import base64
import collections
import contextlib
import csv
import io
import itertools
import math
from typing import TYPE_CHECKING, Any

from fastbp.data import files, html_tables, messages, plots
from fastbp.typing import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["History"]
COLOURS = {
    "training": "#d55e00", "evaluation": "#0072b2", "test": "#0072b2", "loss": "#d55e00",
    "validation": "#0072b2",
}  # fmt: skip
SHOWN_ROWS = 10  # of the table in a notebook: the last epochs
MOST_DOTS = 40  # of a curve that has a dot for each epoch
# Each axis of the picture: (its title, the columns that it shows).
AXES = (
    ("Accuracy, %", ("training_accuracy", "evaluation_accuracy", "test_accuracy")),
    ("Cost", ("training_cost", "evaluation_cost")),
    ("Loss", ("loss", "validation_loss")),  # of the estimators
    ("Score", ("validation_score",)),
)


class History(collections.UserList[dict[str, Any]]):
    """A list of the figures of each epoch, filled by a call of SGD that has it as its callback.

    Notes
    -----
    ``history[0]`` is the dictionary of the first epoch, ``history["eta"]`` the list of a figure,
    ``history.columns`` are its names. Several runs may be collected in one; of a run that is
    resumed, it holds the epochs that were trained then. It can be copied and pickled, and
    ``pandas.DataFrame(history)`` is a table of it.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp import mnist_loader
    >>> training_data, _, test_data = mnist_loader.synthetic(1000, 0, 100)
    >>> net, history = fastbp.Network([784, 30, 10]), fastbp.History()
    >>> net.SGD(training_data, 3, 10, 3.0, test_data=test_data, callback=history)
    Epoch 0: ... / 100
    Epoch 1: ... / 100
    Epoch 2: ... / 100
    >>> history
    <History of 3 epochs>
    >>> len(history["test_accuracy"]), history[0]["eta"]
    (3, 3.0)
    >>> figure = history.plot("run.png")
    """

    def __call__(self, figures: dict[str, Any]) -> None:
        """Append the figures of an epoch, a dictionary."""
        self.append(dict(figures))

    def __getitem__(self, index: Any) -> Any:
        """Return an epoch by its number, some of them by a slice, or a column by its name."""
        if not isinstance(index, str):
            return super().__getitem__(index)
        if index not in self.columns:
            known = ", ".join(self.columns) or "none yet"
            raise KeyError(f"the history has no column {index!r}; its columns: {known}")
        return [figures.get(index) for figures in self]

    def __repr__(self) -> str:
        """Return how many epochs there are, not all of their figures."""
        return f"<History of {len(self)} epoch{'s' * (len(self) != 1)}>"

    def _repr_html_(self) -> str:
        """Return what notebooks show: the last epochs as a table, and the plot if there is one."""
        columns = self.columns
        rows = [[_cell(row.get(name)) for name in columns] for row in self[-SHOWN_ROWS:]]
        caption = repr(self)[1:-1] + (f", the last {len(rows)}" if len(rows) < len(self) else "")
        shown = html_tables.table(columns, rows, caption)
        with contextlib.suppress(ImportError, ValueError):  # no matplotlib, or nothing to draw
            picture = io.BytesIO()
            self.plot().savefig(picture, dpi=100, format="png")
            text = base64.b64encode(picture.getvalue()).decode()
            shown += f'\n<img alt="learning curves" src="data:image/png;base64,{text}">'
        return shown

    @property
    def columns(self) -> list[str]:
        """The names of the figures, in the order in which they came."""
        return list(dict.fromkeys(name for figures in self for name in figures))

    def to_csv(self, path: Path) -> None:
        """Write a line of names, and a line for each epoch, to a file.

        Parameters
        ----------
        path : path
            The file appears whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If there is no epoch yet.
        """
        self._check_not_empty()
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        with files.write_atomically(path) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: Path | None = None) -> Figure:
        """Draw the accuracies and the costs of each epoch, or losses and scores, on an axis each.

        Parameters
        ----------
        path : path, optional
            A file for the picture; its ending tells the format: .png, .svg, .pdf ...

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing. It is in the extra "report".
        OSError
            If the file cannot be written.
        ValueError
            If nothing of it was measured; for a format that matplotlib does not know.
        """
        self._check_not_empty()
        shown = [
            (title, found)
            for title, names in AXES
            if (found := [name for name in names if name in self.columns])
        ]
        if not shown:
            raise ValueError(
                "the history holds no accuracy and no cost: call SGD with test_data, or in "
                "network2 with monitor_evaluation_accuracy=True"
            )
        new_figure = plots.figure_class("History.plot")
        figure = new_figure(figsize=(5.5 * len(shown), 3.6), layout="constrained")
        for axis, (title, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
            self._draw(axis, title, names)
        if path is not None:
            plots.save(figure, path, dpi=150)
        return figure

    def _draw(self, axis, title, names):
        """Draw some columns, and the best value of each, on an axis of matplotlib's."""
        epochs = self["epoch"]
        if any(later <= earlier for earlier, later in itertools.pairwise(epochs)):
            epochs = range(len(self))  # several runs, one after the other
        is_accuracy, is_better = names[0].endswith("accuracy"), max
        if names[0].endswith(("cost", "loss")):
            is_better = min
        dots = {"marker": ".", "ms": 5} if len(self) <= MOST_DOTS else {}
        for name in names:
            data, values = name.partition("_")[0], self._values(name)
            how = {"color": COLOURS[data], "lw": 1.6, "label": data}
            known = [i for i, value in enumerate(values) if value == value]  # not NaN
            if known:
                i = is_better(known, key=values.__getitem__)
                best = f"{values[i]:.2f} %" if is_accuracy else f"{values[i]:.4g}"
                how["label"] = f"{data}: best {best}, epoch {epochs[i]}"
                axis.plot(epochs[i], values[i], "o", color=COLOURS[data], ms=6)
            axis.plot(epochs, values, **how, **dots)
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=9, loc="lower right" if is_better is max else "best")

    def _values(self, name):
        """Return a column for the picture: accuracies in percent, NaN where there is nothing."""
        data, _, kind = name.partition("_")
        totals = self[f"n_{data}"] if kind == "accuracy" else [100] * len(self)
        return [
            math.nan if value is None else 100 * value / total
            for value, total in zip(self[name], totals)
        ]

    def _check_not_empty(self):
        if not len(self):
            raise ValueError(
                "the history is empty, expected an epoch at least: call SGD with callback=history"
            )


def _cell(value):
    """Return a figure as the table in a notebook shows it."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else messages.shorten(value, 40)
