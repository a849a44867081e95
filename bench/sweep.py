"""python -m bench.sweep: a search over hyper-parameters by many processes, with joblib and dask.

Each combination is one task: a NetworkClassifier, trained and scored on validation images. dask
gives the tasks to its workers, here processes of this machine, or those of a scheduler on any
number of machines. A worker that dies loses the task that it was at, and a result that it had not
handed over yet: these are computed again by others, and no other one is. Extra: sweep.
"""

import argparse
import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from bench import tables
from bench.workload import RESULTS, load_data
from fastbp.data import files

GRID = {
    "hidden_layer_sizes": [30, 100],
    "learning_rate_init": [0.0003, 0.001, 0.003, 0.01],
    "alpha": [1e-4, 1e-2, 1.0],
}


def combinations(grid):
    """Return all combinations of a grid, a list of dictionaries."""
    from sklearn.model_selection import ParameterGrid

    return list(ParameterGrid(grid))


def score(number, parameters, epochs, training, validation, starts=None):
    """Return the parameters with the accuracy on the validation images, and the seconds it took.

    starts: a folder in which each start of a task is noted, for tests.
    """
    from sklearn.exceptions import ConvergenceWarning

    from fastbp.estimator import NetworkClassifier

    if starts is not None:
        Path(starts, f"{number}-{os.getpid()}-{time.time_ns()}").touch()
    began = time.perf_counter()
    model = NetworkClassifier(
        **parameters, max_iter=epochs, n_iter_no_change=epochs, batch_size=100, random_state=1
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are what is wanted
        model.fit(*training)
    accuracy = model.score(*validation)
    return {**parameters, "accuracy": accuracy, "seconds": time.perf_counter() - began}


def search(client, grid, epochs, training, validation, starts=None):
    """Return the results of all combinations, in their order, computed by the workers of a client.

    One combination is a task (batch_size=1): joblib would else put several into one, and a worker
    that dies would lose them all.
    """
    import joblib

    with joblib.parallel_config("dask", client=client, scatter=[training, validation]):
        return joblib.Parallel(batch_size=1)(
            joblib.delayed(score)(number, parameters, epochs, training, validation, starts)
            for number, parameters in enumerate(combinations(grid))
        )


def table(results):
    """Return the results as a Markdown table, the best first."""
    ranked = sorted(results, key=lambda r: -r["accuracy"])
    rows = [
        [r["hidden_layer_sizes"], f"{r['learning_rate_init']:g}", f"{r['alpha']:g}",
         f"{r['accuracy']:.2%}", f"{r['seconds']:.1f}"]
        for r in ranked
    ]  # fmt: skip
    return tables.table(["hidden", "learning rate", "alpha", "accuracy", "s"], rows)


def draw(results, path):
    """Write the accuracy of each combination to a PNG file: a plot for each number of neurons."""
    from bench.pictures import KERNEL_COLOURS, pyplot

    widths = sorted({r["hidden_layer_sizes"] for r in results})
    figure, axes = pyplot.subplots(1, len(widths), figsize=(9, 3.6), sharey=True, squeeze=False)
    for axis, width in zip(axes.flat, widths):
        alphas = sorted({r["alpha"] for r in results})
        for colour, alpha in zip(KERNEL_COLOURS, alphas):
            mine = [r for r in results if (r["hidden_layer_sizes"], r["alpha"]) == (width, alpha)]
            mine.sort(key=lambda r: r["learning_rate_init"])
            x, y = zip(*((r["learning_rate_init"], 100 * r["accuracy"]) for r in mine))
            axis.plot(x, y, marker="o", color=colour, label=f"alpha {alpha:g}")
        axis.set_title(f"{width} hidden neurons")
        axis.set_xscale("log")
        axis.set_xlabel("learning rate")
        axis.grid(color="#eeeeee")
    axes[0, 0].set_ylabel("% right, validation")
    axes[0, -1].legend(frameon=False)
    figure.tight_layout()
    with files.write_atomically(path) as file:
        figure.savefig(file, dpi=130, format="png")
    pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    add = parser.add_argument
    add("--workers", type=int, default=2, help="processes of this machine (default: 2)")
    add("--address", help="of a dask scheduler, instead: its workers may be on any machines")
    add("--images", type=int, default=5000, help="training images (default: 5000)")
    add("--epochs", type=int, default=10, help="(default: 10)")
    add("--results", type=Path, default=RESULTS, help="folder for sweep.md, sweep.json, sweep.png")
    add("--starts", help=argparse.SUPPRESS)  # for tests: a folder, see score
    options = parser.parse_args()
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        sys.exit("bench: sweeps need dask: pip install 'fastbp[sweep]'")
    (X, labels), validation, _, name = load_data()
    part = np.ascontiguousarray(X[: options.images]), labels[: options.images]
    with contextlib.ExitStack() as ends:
        where = options.address or ends.enter_context(
            LocalCluster(n_workers=options.workers, threads_per_worker=1, dashboard_address=None)
        )
        client = ends.enter_context(Client(where))
        client.wait_for_workers(1 if options.address else options.workers)
        began = time.perf_counter()
        results = search(client, GRID, options.epochs, part, validation, options.starts)
        seconds = time.perf_counter() - began
        workers = len(client.nthreads())
    title = f"{name}, {len(part[1]):,} images, {options.epochs} epochs"
    write(results, f"{title}: {seconds:.1f} s on {workers} worker(s)", options.results)


def write(results, title, folder):
    """Print the table; write it, the results and their picture to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m bench.sweep", *sys.argv[1:]])
    text = f"# A sweep: {title}\n\n{table(results)}\n\n{tables.source(command)}"
    print(text)
    for name, content in (("sweep.md", text), ("sweep.json", json.dumps(results, indent=1))):
        with files.write_atomically(folder / name) as file:
            file.write(content.encode())
    draw(results, folder / "sweep.png")


if __name__ == "__main__":
    main()
