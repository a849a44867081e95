"""fastbp recipe: list the recipes, train one of them, draw curves of several.

Invariant: options that are wrong whatever the data are reported before the data are read.
"""

import contextlib
import random
import time

import numpy as np

from fastbp import Pixels
from fastbp.cli.console import BackgroundCompilation, log
from fastbp.cli.data_options import read_data
from fastbp.cli.options import add_data, add_threads
from fastbp.data import arguments, files, messages
from fastbp.recipes import RECIPES
from fastbp.report import recipe_curves
from fastbp.training import engine
from fastbp.training.rules import Rules


def recipe(options):
    """Do what the options say: draw curves, list the recipes, or train one of them."""
    if options.plot is not None:
        _plot(options)
    elif options.name is None:
        _list()
    else:
        _check_options(options)
        _train(options)


def _plot(options):
    if options.name is not None:
        raise ValueError(f"--plot draws files, expected no recipe before it: {options.name}")
    path, *curves = options.plot
    if not curves:
        raise ValueError("--plot has no curves; give a picture and CSV files of --curve")
    recipe_curves.draw(path, [recipe_curves.read(curve) for curve in curves])
    log(f"drawn to {path}")


def _list():
    """Print a table of the recipes."""
    rows = [("recipe", "network", "epochs", "deformed", "paper", "")]
    for name, found in RECIPES.items():
        sizes = "-".join(map(str, found.sizes))
        paper = "" if found.paper is None else f"{found.paper:.2f} %"
        deformed = "yes" if found.deform is not None else "no"
        rows.append((name, sizes, str(found.epochs), deformed, paper, found.source))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def _check_options(options):
    """Raise for options that are wrong whatever the data are."""
    if options.name not in RECIPES:
        raise ValueError(
            f"recipe is {messages.describe(options.name)}, expected one of {', '.join(RECIPES)}"
        )
    arguments.check_count("seeds", options.seeds, 1)
    if options.epochs is not None:
        arguments.check_count("epochs", options.epochs, 1)
    for path in (options.save, options.curve):
        if path is not None:
            files.check_writable(path)
    if options.save is not None and options.final and options.seeds > 1:
        raise ValueError(
            f"--save with --final and --seeds {options.seeds}: no validation images are left that "
            f"tell which network is the best; use --seeds 1"
        )


def _train(options):
    """Train a recipe from each seed; print its errors, and save the best network."""
    found = RECIPES[options.name]
    net = found.network(threads=options.threads)
    rules = Rules(l2=1.0)  # all recipes have some
    compilation = BackgroundCompilation(engine.warm_up, net._plan, net.dtype, rules)
    training, validation, test, name = read_data(options.data, options.transpose)
    if options.final:
        training, validation = _joined(training, validation), None
    log(f"{options.name} on {len(training[1]):,} images of {name}")
    compilation.wait()
    rows, ends, best = [], [], None
    try:
        for seed in range(1, options.seeds + 1):
            net, end = _run(found, options, seed, (training, validation, test), rows)
            ends.append(end)
            if best is None or end["validation_error"] < best[0]:
                best = end["validation_error"], net
    finally:  # after Ctrl-C, the epochs until then
        if options.curve is not None and rows:
            recipe_curves.write(options.curve, rows)
    if options.save is not None:
        best[1].save(options.save)
        log(f"saved to {options.save}")
    _print_summary(found, ends)


def _joined(*sets):
    """Return the samples of several sets (X, labels) as one."""
    inputs, labels = zip(*sets)
    if all(isinstance(X, Pixels) for X in inputs):
        scale = inputs[0].scale
        return Pixels(np.concatenate([X.array for X in inputs]), scale), np.concatenate(labels)
    return np.concatenate(inputs), np.concatenate(labels)


def _run(found, options, seed, data, rows):
    """Return (network, its last row) of a run from a seed; append a row of each epoch to rows.

    The seconds are those of training and validation, without the evaluation on the test images.
    """
    training, validation, test = data
    random.seed(seed)
    np.random.seed(seed)
    net, clock = found.network(threads=options.threads), _Clock()

    def note(figures):
        row = {"recipe": options.name, "seed": seed, "epoch": figures["epoch"]}
        row |= {"seconds": round(clock.read(), 3), "validation_error": ""}  # of none: --final
        if validation is not None:
            right = figures["evaluation_accuracy"]
            row["validation_error"] = _error(right, len(validation[1]))
        with clock.paused():
            row["test_error"] = _error(net.accuracy(test), len(test[1]))
        rows.append(row)
        if not options.quiet:
            print(f"epoch {row['epoch']}: {_describe(row)}", flush=True)

    net.SGD(
        training, **found.arguments(options.epochs), evaluation_data=validation,
        monitor_evaluation_accuracy=validation is not None, verbose=False, callback=note,
        progress=False if options.quiet else None,
    )  # fmt: skip
    print(f"seed {seed}: {_describe(rows[-1])}", flush=True)
    return net, rows[-1]


class _Clock:
    """Tells the seconds since it was made, without those of its pauses."""

    def __init__(self):
        self.begun = time.perf_counter()

    def read(self):
        return time.perf_counter() - self.begun

    @contextlib.contextmanager
    def paused(self):
        began = time.perf_counter()
        yield
        self.begun += time.perf_counter() - began


def _error(right, n):
    """Return the error in percent, where `right` of n samples are right."""
    return round(100 * (n - right) / n, 4)


def _describe(row):
    validation = row["validation_error"]
    text = "" if validation == "" else f"validation error {validation:.2f} %, "
    return f"{text}test error {row['test_error']:.2f} %, {row['seconds']:.1f} s"


def _print_summary(found, ends):
    """Print the means over the seeds, and the paper's result."""
    if len(ends) > 1:
        names = [name for name in ("validation_error", "test_error") if ends[0][name] != ""]
        means = [f"{np.mean([end[name] for end in ends]):.3f} %" for name in names]
        texts = (f"{name.replace('_', ' ')} {mean}" for name, mean in zip(names, means))
        print(f"mean of {len(ends)} seeds: {', '.join(texts)}")
    if found.paper is not None:
        print(f"{found.source}: test error {found.paper:.2f} %")


def add_options(parser):
    """Add the options of fastbp recipe."""
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="a recipe; without it they are listed")
    add_data(add)
    add("--seeds", type=int, default=1, metavar="1", help="seeds 1 .. N (default: 1)")
    add("--epochs", type=int, metavar="N", help="another number of epochs than the recipe's")
    add("--final", action="store_true", help="train on the validation images, too")
    add("--save", metavar="model.json",
        help="write the network to this file, of several seeds the best on validation")  # fmt: skip
    add("--curve", metavar="curve.csv", help="write seconds and errors of each epoch to this file")
    add("--plot", nargs="+", metavar=("recipes.png", "curve.csv"),
        help="train nothing: draw curves of several runs (extra: report)")  # fmt: skip
    add_threads(add)
    add("--quiet", action="store_true", help="print the results only: no epochs, no progress bar")
