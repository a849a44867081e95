"""python -m bench.recipes [NAME ...]: train recipes, each from several seeds, beside the papers.

Every run is kept in bench/results/recipes.json, in place of one of the same recipe, seed, --final
and --epochs; recipes.md and recipes.png are made of what is there. Seconds are of training and
validation, without the evaluation on the test images, by which nothing is chosen.
"""

import argparse
import dataclasses
import json
import random
import statistics
import time

import numpy as np

from bench import pictures, tables
from bench.workload import RESULTS, progress
from fastbp import mnist_loader
from fastbp.cli import machine
from fastbp.cli.data_options import join_sets
from fastbp.data import files
from fastbp.recipes import RECIPES
from fastbp.training.compute import engine
from fastbp.training.compute.rules import NO_RULES, Rules

GOALS = 98.0, 98.4, 99.0, 99.3, 99.5  # percent of the test images
HEADER = (
    "recipe", "network", "images", "epochs", "seeds", "validation error, %", "test error, %",
    "best", "source, %", "seconds", "threads", *(f"s to {goal:g} %" for goal in GOALS),
)  # fmt: skip
CAPTION = (
    "Errors are those of the last epoch, means and ranges over seeds; best: of the seeds. Source: "
    "papers, trained on 60,000 images; nielsen-ch1 and nielsen-ch3: the book's best epochs, the "
    "latter's on the validation images. Seconds: of training and validation, of the run with the "
    "most threads; with fewer than this machine has, other programs ran beside it. s to 98 %: the "
    "end of that run's first epoch with so many test images right."
)


def train(name, seed, options, data):
    """Return a run; its curve has (seconds, validation error or None, test error) of each epoch."""
    recipe, (training, validation, test) = RECIPES[name], data
    if options.final:
        training, validation = join_sets(training, validation), None
    random.seed(seed)
    np.random.seed(seed)
    net, curve, pauses = recipe.network(threads=options.threads), [], [0.0]
    for rules in (NO_RULES, Rules(l2=1.0)):  # the two kinds of code
        engine.warm_up(net._plan, net.dtype, rules, everything=True)
    began = time.perf_counter()

    def note(figures):
        now = time.perf_counter()
        seconds = now - began - sum(pauses)
        error = None if options.final else _error(figures["evaluation_accuracy"], validation)
        curve.append((round(seconds, 2), error, _error(net.accuracy(test), test)))
        pauses.append(time.perf_counter() - now)
        return options.minutes is not None and seconds > 60 * options.minutes

    net.SGD(
        training, **recipe.arguments(options.epochs), evaluation_data=validation,
        monitor_evaluation_accuracy=not options.final, verbose=False, callback=note,
    )  # fmt: skip
    return dict(
        name=name, seed=seed, final=options.final, threads=options.threads or machine.cores(),
        epochs=options.epochs or recipe.epochs, settings=_settings_of(recipe), curve=curve,
    )  # fmt: skip


def _settings_of(recipe):
    """Return the settings of a recipe as text, by which its runs are known."""
    return repr(dataclasses.replace(recipe, paper=None, source="", differs=""))


def _error(right, data):
    """Return the error in percent, where `right` samples of data are right."""
    n = len(data[1])
    return round(100 * (n - right) / n, 4)


def table(runs):
    """Return the table of all runs, a row for each recipe and number of images."""
    return tables.table(HEADER, [_row(*key, group) for key, group in _groups(runs).items()])


def _groups(runs):
    """Return the runs by (name, final), in the order of the recipes; of each, of equal length.

    Runs with another number of epochs than today's recipe, or other settings, are left out.
    """
    groups = {(name, final): [] for name in RECIPES for final in (False, True)}
    for run in runs:
        recipe = RECIPES.get(run["name"])
        if recipe and (run["epochs"], run["settings"]) == (recipe.epochs, _settings_of(recipe)):
            groups[run["name"], run["final"]].append(run)
    return {key: _longest(group) for key, group in groups.items() if group}


def _longest(group):
    """Return the runs of a group that have the most epochs."""
    most = max(len(run["curve"]) for run in group)
    return [run for run in group if len(run["curve"]) == most]


def _row(name, final, group):
    recipe, ends = RECIPES[name], [run["curve"][-1] for run in group]
    done, asked = len(group[0]["curve"]), group[0]["epochs"]
    timed = max(group, key=lambda run: run["threads"])  # the weights are the same for any number
    return (
        name, "-".join(map(str, recipe.sizes)), "60,000" if final else "50,000",
        f"{done} of {asked}" if done < asked else done, len(group),
        "-" if final else _spread([end[1] for end in ends]), _spread([end[2] for end in ends]),
        f"{min(end[2] for end in ends):.2f}",
        "-" if recipe.paper is None else f"{recipe.paper:.2f}",
        f"{timed['curve'][-1][0]:.0f}", timed["threads"],
        *(_seconds_to(goal, timed["curve"]) for goal in GOALS),
    )  # fmt: skip


def _spread(errors):
    """Return the mean of errors, with their range if they differ."""
    mean, low, high = statistics.mean(errors), min(errors), max(errors)
    return f"{mean:.2f}" if low == high else f"**{mean:.2f}** ({low:.2f}-{high:.2f})"


def _seconds_to(goal, curve):
    """Return when a curve first has a percentage of the test images right."""
    most = round(100 - goal, 4)  # as errors are rounded
    reached = [seconds for seconds, _, error in curve if error <= most]
    return f"{reached[0]:.0f}" if reached else "-"


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.recipes", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="none: only make the table and the picture")
    add("--seeds", default="1,2,3", help="(default: 1,2,3)")
    add("--final", action="store_true", help="train on the validation images, too")
    add("--epochs", type=int, metavar="N", help="another number than the recipe's")
    add("--minutes", type=float, metavar="M", help="end a run after the epoch that exceeds these")
    add("--threads", type=int, metavar="N", help="(default: all)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"unknown recipe {sorted(unknown)[0]}: choose from {', '.join(RECIPES)}")
    if options.epochs is not None and options.epochs < 1:
        parser.error(f"--epochs is {options.epochs}, expected at least 1")
    data = mnist_loader.load_data(pixels=True) if options.names else None
    for name in options.names:
        for seed in map(int, options.seeds.split(",")):
            run = train(name, seed, options, data)
            progress(f"{name}, seed {seed}: {run['curve'][-1]}")
            _keep(run)
    runs = _read()
    source = tables.source("python -m bench.recipes")
    text = f"# Recipes\n\n{CAPTION}\n\n{table(runs)}\n![test errors](recipes.png)\n\n{source}"
    print(text)
    with files.write_atomically(RESULTS / "recipes.md") as file:
        file.write(text.encode())
    pictures.recipes(_groups(runs), RESULTS / "recipes.png")


def _read():
    path = RESULTS / "recipes.json"
    return json.loads(path.read_text()) if path.exists() else []


def _keep(run):
    """Write a run to recipes.json, in place of one of the same recipe, seed, images and epochs.

    But not of one with the same settings that had more of its epochs, without --minutes.
    """
    names, runs = ("name", "seed", "final", "epochs"), []
    for other in _read():
        if any(other[name] != run[name] for name in names):
            runs.append(other)
        elif other["settings"] == run["settings"] and len(other["curve"]) > len(run["curve"]):
            progress("not kept: a longer run of the same recipe and seed is there")
            return
    with files.write_atomically(RESULTS / "recipes.json") as file:
        file.write(json.dumps([*runs, run]).replace("}, {", "},\n{").encode())


if __name__ == "__main__":
    main()
