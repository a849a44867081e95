"""Curves of recipes, in CSV files: writing, reading, and a picture. Extra: report.

Invariant: a curve is a list of rows, dictionaries with the names of COLUMNS; errors in percent.
"""

import csv
import io
import math

from fastbp.data import files, plots
from fastbp.recipes import RECIPES
from fastbp.report import learning_curves

COLUMNS = "recipe", "seed", "epoch", "seconds", "validation_error", "test_error"
COLOURS = *learning_curves.COLOURS, "#000000"


def write(path, rows):
    """Write rows to a CSV file, whole or not at all. Raises OSError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with files.write_atomically(path) as file:
        file.write(text.getvalue().encode())


def read(path):
    """Return the rows of a CSV file that write has written. Raises OSError or ValueError."""
    with open(path, newline="", encoding="utf-8") as file:
        try:
            lines = csv.DictReader(file)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its first line is not {','.join(COLUMNS)}")
            rows = [_row_of(line, i) for i, line in enumerate(lines, 2)]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path} is no curve of fastbp recipe --curve: {error}") from None
    if not rows:
        raise ValueError(f"{path} has no epoch: the run ended in its first one")
    return rows


def _row_of(line, i):
    """Return a line of a file as a row, or raise ValueError."""
    numbers = {"seed": int, "epoch": int, "seconds": float, "test_error": float}
    try:
        row = {name: convert(line[name]) for name, convert in numbers.items()}
    except (TypeError, ValueError):
        raise ValueError(f"line {i} has no number for each column") from None
    if not (0 <= row["seconds"] < math.inf and 0 <= row["test_error"] <= 100):
        raise ValueError(f"line {i} has a time or an error out of range")
    return row | {"recipe": line["recipe"]}


def draw(path, curves):
    """Draw test errors against seconds, with the papers' results as lines, to a picture file.

    path: its ending tells the format; curves: lists of rows. Raises ImportError without matplotlib.
    """
    figure = plots.figure_class("--plot")(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    runs = _runs_by_recipe(curves)
    for colour, (name, by_seed) in zip(COLOURS * (1 + len(runs) // len(COLOURS)), runs.items()):
        for i, rows in enumerate(by_seed.values()):
            label = f"{name}: {_last_errors(by_seed)} %" if i == 0 else None
            seconds = [row["seconds"] for row in rows]
            axis.plot(seconds, [row["test_error"] for row in rows], color=colour, lw=1.4,
                      label=label)  # fmt: skip
        recipe = RECIPES.get(name)
        if recipe is not None and recipe.paper is not None:
            axis.axhline(recipe.paper, color=colour, lw=0.9, ls="--")
            axis.annotate(f"{recipe.source}: {recipe.paper:g} %", (0.01, recipe.paper),
                          xycoords=("axes fraction", "data"), fontsize=7, color=colour,
                          va="bottom")  # fmt: skip
    _label(axis)
    plots.save(figure, path, dpi=150)


def _runs_by_recipe(curves):
    """Return, by the name of a recipe, the rows of each of its runs, by a number of the run."""
    runs = {}
    for i, rows in enumerate(curves):
        for row in rows:
            runs.setdefault(row["recipe"], {}).setdefault((i, row["seed"]), []).append(row)
    return runs


def _last_errors(by_seed):
    """Return the errors at the ends of runs, as a text for the legend."""
    last = sorted(rows[-1]["test_error"] for rows in by_seed.values())
    return f"{last[0]:.2f}" if len(last) == 1 else f"{last[0]:.2f} - {last[-1]:.2f}"


def _label(axis):
    """Give the axes of the picture titles, scales and ticks."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("seconds of training")
    axis.set_ylabel("test error, %")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="y", which="minor", labelsize=7)
    axis.grid(which="both", color="#eeeeee")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="upper right")
