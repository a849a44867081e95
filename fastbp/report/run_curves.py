"""The accuracies and costs of a run, epoch by epoch, read from a csv file or a checkpoint."""

import csv
import itertools
import math
import os
import re

from fastbp.data import messages
from fastbp.training import checkpoint

# The columns of History that are drawn: (kind, of which data).
COLUMNS = {
    f"{data}_{kind}": (kind, data)
    for kind in ("accuracy", "cost")
    for data in ("training", "evaluation", "test")
}
CHAPTER_1 = "right answers"  # what a checkpoint of chapter 1 calls its test accuracies
MOST_BYTES, MOST_EPOCHS = 1 << 26, 1 << 20  # of a csv file


def read_curves(path, sizes):
    """Return {"accuracy": {data: values}, "cost": {data: values}} of a run.

    path: a csv file of History.to_csv, or a checkpoint of SGD, of a network of these sizes. data:
    "training", "evaluation" or "test"; values: a float for each epoch, accuracies in percent, NaN
    where nothing was measured.

    Raises OSError if the file cannot be read, and ValueError for one of another kind.
    """
    with open(path, "rb") as file:
        is_checkpoint = file.read(2) == b"PK"
    columns = _columns_of_checkpoint(path, sizes) if is_checkpoint else _columns_of_csv(path)
    curves = {"accuracy": {}, "cost": {}}
    for name, values in columns.items():
        if values:
            kind, data = COLUMNS[name]
            curves[kind][data] = values
    if not any(curves.values()):
        raise ValueError(
            f"{path} holds no accuracy and no cost; train with test_data, or in network2 with "
            f"monitor_evaluation_accuracy=True"
        )
    return curves


def _columns_of_csv(path):
    """Return {name in COLUMNS: values} of a file of History.to_csv."""
    if os.path.getsize(path) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES:,} bytes, expected one line an epoch")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [*csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error):
        rows = []
    if not rows or None in rows[0] or "epoch" not in rows[0]:
        raise ValueError(
            f"{path} is no table of epochs; expected a file of fastbp.History.to_csv, or a "
            f"checkpoint of SGD"
        )
    columns, epochs = {}, _epochs_of(rows, path)
    for name in COLUMNS:
        if name in rows[0]:
            values = [_number(row[name], name, i, path) for i, row in enumerate(rows, 2)]
            kind, data = COLUMNS[name]
            if kind == "accuracy":
                total = f"n_{data}"
                totals = [_number(row.get(total), total, i, path) for i, row in enumerate(rows, 2)]
                values = [_percent(*pair) for pair in zip(values, totals)]
            columns[name] = [math.nan] * (epochs[-1] + 1)
            for epoch, value in zip(epochs, values):
                columns[name][epoch] = value
    return columns


def _epochs_of(rows, path):
    """Return the epoch of each row of a csv file; of several runs, the number of the row."""
    epochs = [_number(row["epoch"], "epoch", i, path) for i, row in enumerate(rows, 2)]
    if all(epoch.is_integer() and 0 <= epoch < MOST_EPOCHS for epoch in epochs) and all(
        earlier < later for earlier, later in itertools.pairwise(epochs)
    ):
        return [*map(int, epochs)]
    return range(len(rows))


def _number(text, name, line, path):
    """Return the number in a field of a csv file; NaN for an empty or missing one."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        seen = messages.shorten(text, 40)
        raise ValueError(f"{path}, line {line}: {name} is {seen!r}, expected a number") from None


def _columns_of_checkpoint(path, sizes):
    """Return {name in COLUMNS: values} of a checkpoint; totals are in the lines that it printed."""
    about, _ = checkpoint.read(path)
    with checkpoint.as_errors_of(path):
        others = list(about["facts"]["sizes"])
        if others != list(sizes):
            raise ValueError(f"its network is {others}, expected {list(sizes)}")
        history, lines = dict(about["state"]["history"]), about["state"]["lines"]
        if CHAPTER_1 in history:
            total = about["facts"]["test samples"]
            return {"test_accuracy": [_percent(count, total) for count in history[CHAPTER_1]]}
        each = _measured_per_epoch(about["facts"])
        columns = {name: history[name][each - 1 :: each] for name in COLUMNS if history.get(name)}
        for name, values in columns.items():
            kind, data = COLUMNS[name]
            total = 100.0
            if kind == "accuracy":
                printed = re.compile(rf"Accuracy on {data} data: \d+ / (\d+)")
                total = next((float(m[1]) for m in map(printed.match, lines) if m), math.nan)
            columns[name] = [_percent(value, total) for value in values]
        return columns


def _measured_per_epoch(facts):
    """Return how often a run has measured in each epoch, the last time at its end."""
    every = facts.get("monitor_every")
    return -(-facts["samples"] // (every * facts["mini_batch_size"])) if every else 1


def _percent(count, total):
    """Return a count in percent of a total; NaN if there is no total."""
    return 100 * count / total if total else math.nan
