"""From the results, one dictionary, to Markdown: the whole story, and the README's summary."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import statistics
from pathlib import Path

import fastbp
from bench import validation
from bench.work import ROOT
from fastbp.data import files
from fastbp.training import engine

MARK = "<!-- bench -->"
PACKAGES = ("numpy", "numba", "torch", "jax", "scikit-learn")
VALIDATED = (
    "Before it is timed, each contestant trains on the first mini-batches of this work in the same "
    f"process, {validation.STEPS['float64']:,} in float64, {validation.STEPS['float32']:,} in "
    f"float32, {validation.LOG_LOSS_STEPS} with log loss, or an epoch where that is less; its "
    f"weights must be those of matrix NumPy in float64 but for {validation.RTOL['float64']:.0e} or "
    f"{validation.RTOL['float32']:.0e} of what training changes."
)
PER = 50_000  # images: what seconds are scaled to, where an epoch has fewer


def machine():
    """Return processor, cores, versions and date."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    versions = {"fastbp": fastbp.__version__, "Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model,
        "cores": cores,
        "versions": versions,
        "date": str(datetime.date.today()),
    }


def machine_line(at):
    """Return what machine() returns as a line of text."""
    versions = ", ".join(f"{name} {version}" for name, version in at["versions"].items())
    return f"{at['processor']}, {at['cores']} cores; {versions}; {at['date']}"


def markdown_table(header, rows):
    return "\n".join(map(table_row, (header, ["---"] * len(header), *rows))) + "\n"


def table_row(cells):
    return f"| {' | '.join(map(str, cells))} |"


def print_table(title, header, rows, command, path=None):
    """Print a table row by row, as rows are measured; write it to a file, too, if there is a path.

    The file also says on which machine, and by which command, it was made.
    """
    for line in (header, ["---"] * len(header)):
        print(table_row(line), flush=True)
    done = []
    for row in rows:
        print(table_row(row), flush=True)
        done.append(row)
    if path:
        text = f"# {title}\n\n{markdown_table(header, done)}\n"
        text += f"{machine_line(machine())}. Made by `{command}`.\n"
        with files.write_atomically(path) as file:
            file.write(text.encode())


def label(row):
    return f"{row['sizes']}, mini-batch {row['m']}"


def scaled(row, contestant):
    """Return the median seconds per 50,000 images."""
    return contestant["median"] * PER / row["images"]


def of(row, name):
    """Return a contestant of a row by name, or None."""
    return next((c for c in row["contestants"] if c["name"] == name), None)


def best_of(row, prefix):
    """Return the fastest contestant whose name begins so, or None."""
    among = [c for c in row["contestants"] if c["name"].startswith(prefix)]
    return min(among, key=lambda c: c["median"], default=None)


def ratio(one, other):
    """Return how many times faster `other` is than `one`, as text."""
    return f"{one['median'] / other['median']:.1f}x" if one and other else "-"


def percent_of_peak(results, row, contestant):
    """Return a contestant's GFLOP/s in percent of multiply-adds in registers, on as many threads.

    Products with zeros count, whether they are computed or not: fastbp may exceed 100.
    """
    dtype = "float64" if contestant["name"] == "oracle" else row["dtype"]
    peaks = results["peaks"]["fma" if contestant["threads"] == 1 else "fma_all_cores"]
    flops = engine.plan_of(tuple(row["sizes"])).flops * row["images"] / contestant["median"]
    return f"{flops / 1e9 / peaks[dtype]:.0%}".replace("%", " %")


def _contest(results):
    header = (
        "who", "threads", "seconds per 50,000 (range)", "images/s", "% of FMA peak",
        "accuracy after an epoch", "speed-up over the oracle", "fastbp is faster by",
        "first call, s",
    )  # fmt: skip
    for row in results["rows"]:
        lines, oracle, ours = [], of(row, "oracle"), of(row, "fastbp")
        for c in sorted(row["contestants"], key=lambda c: -c["median"]):
            scale = PER / row["images"]
            lines.append(
                (
                    c["name"] + (f" ({c['variant']})" if c["variant"] else ""),
                    c["threads"],
                    f"{scaled(row, c):.3f} ({min(c['seconds']) * scale:.3f}-"
                    f"{max(c['seconds']) * scale:.3f})",
                    f"{row['images'] / c['median']:,.0f}",
                    percent_of_peak(results, row, c),
                    f"{c['accuracy']:.1%}",
                    ratio(oracle, c),
                    ratio(c, ours),
                    " / ".join(f"{seconds:.2f}" for seconds in c["first_calls"]),
                )
            )
        scaling = f"; {row['images']:,} images, scaled" if row["images"] < 0.99 * PER else ""
        yield f"### {label(row)}, {row['dtype']}, eta {row['eta']}{scaling}\n"
        yield markdown_table(header, lines)
        yield from (
            f"Not timed: {', '.join(filter(None, (r['name'], r['variant'])))}, {r['threads']} "
            f"threads: {r['why']}.\n"
            for r in row["refused"]
        )


def _threads(results):
    if results["threads"]["scaling"]:
        yield "### fastbp on all threads against one\n"
        yield markdown_table(
            ("net", "threads", "one, s", "all, s", "speed-up", "register-only FMAs, same run"),
            [
                (
                    f"{label(row)}, {row['dtype']}",
                    row["threads"],
                    f"{statistics.median(row['seconds_one']):.3f}",
                    f"{statistics.median(row['seconds_all']):.3f}",
                    f"{row['speed_up']:.2f}x",
                    f"{row['fma_speed_up']:.2f}x",
                )
                for row in results["threads"]["scaling"]
            ],
        )
    if results["threads"]["choices"]:
        yield "### The automatic choice of threads\n"
        yield markdown_table(
            ("net", "automatic, s", "serial, s", "parallel, s", "automatic / better"),
            [
                (
                    f"{label(row)}, {row['dtype']}",
                    *(
                        f"{row['medians'][mode]:.3f}" if mode in row["medians"] else "-"
                        for mode in ("automatic", "serial", "parallel")
                    ),
                    f"{row['automatic_over_better']:.2f}",
                )
                for row in results["threads"]["choices"]
            ],
        )


def _target(results):
    target = results.get("target")
    if not target:
        return
    yield f"### Seconds of training to {target['goal']:.0%} of the test set\n"
    yield markdown_table(
        ("who", "median seconds", "epochs, seed by seed", "seconds, seed by seed"),
        [
            (
                run["name"],
                f"{run['median_seconds']:.2f}" if run["median_seconds"] else "not reached",
                ", ".join("not reached" if e is None else str(e) for e in run["epochs"]),
                ", ".join(f"{s:.2f}" for s in run["seconds"]),
            )
            for run in target["runs"]
        ],
    )


def _kernels(results):
    yield "### Kernels, one thread\n"
    peaks = results["peaks"]
    yield (
        ", ".join(f"{dtype}: {value:.0f} GFLOP/s at most" for dtype, value in peaks["fma"].items())
        + f" (FMAs in registers); memory {peaks['bandwidth']:.0f} GB/s, "
        f"second-level cache {peaks['cache_bandwidth']:.0f} GB/s.\n"
    )
    yield markdown_table(
        ("kernel", "dtype", "microseconds", "GFLOP/s", "% of peak", "% of OpenBLAS"),
        [
            (
                k["name"],
                k["dtype"],
                f"{k['seconds'] * 1e6:,.1f}",
                *(
                    f"{k[key]:.0f}" if k.get(key) else "-"
                    for key in ("gflops", "percent_of_peak", "percent_of_openblas")
                ),
            )
            for k in results["kernels"]
        ],
    )


def _layers(results):
    yield "### Two layers against what the machine can do, one thread\n"
    yield markdown_table(
        ("work", "dtype", "GFLOP/s", "against", "GFLOP/s", "ratio"),
        [
            (
                layer["name"],
                layer["dtype"],
                f"{layer['gflops']:.0f}",
                layer["limit"],
                f"{layer['limit_gflops']:.0f}",
                f"{layer['ratio']:.2f}",
            )
            for layer in results["layers"]
        ],
    )


def _claim(results):
    yield "### Chapter 2's claim: the gradient in forward passes over the same samples\n"
    yield markdown_table(
        ("net", "weights and biases", "backprop", "finite differences"),
        [
            (
                one["sizes"],
                f"{one['weights']:,}",
                f"{one['backprop_in_passes']:.1f} passes",
                f"{one['differences_in_passes']:,.0f} passes",
            )
            for one in results["claim"]
        ],
    )


def whole(results):
    """Return everything as Markdown."""
    parts = [
        f"# fastbp's benchmarks\n\n{machine_line(results['machine'])}.\n",
        f"One epoch of {results['images']:,} images of {results['data']}; medians of interleaved "
        "repetitions; compiling and evaluation not included; the same initial weights, order and "
        "arithmetic for all. fastbp is timed as SGD of 3 epochs / 3, shuffling and preparing "
        "included; the others get their order ready-made. The oracle is float64 in every row.\n",
        f"{VALIDATED} First call: all seconds of the first call of the timed work in a new process "
        "(fastbp's is 3 epochs); where compiled code is kept in files, with an empty folder / with "
        "what the call before has left there. % of FMA peak: multiplications by zero count, also "
        "where they are left out, so that it may exceed 100.\n",
        *_contest(results),
        *_threads(results),
        *_target(results),
        *_layers(results),
        *_claim(results),
        *_kernels(results),
        f"Made by `{results['command']}`.\n",
    ]
    return "\n".join(parts)


def summary(results):
    """Return the README's table: a line per work and dtype."""
    lines = []
    for row in results["rows"]:
        oracle, ours = of(row, "oracle"), of(row, "fastbp")
        others = [c for c in row["contestants"] if "fastbp" not in c["name"] and c is not oracle]
        best = min(others, key=lambda c: c["median"], default=None)
        lines.append(
            (
                label(row),
                row["dtype"],
                f"{scaled(row, oracle):.2f}" if oracle else "-",
                f"{best['name']}, {scaled(row, best):.2f}" if best else "-",
                f"**{scaled(row, ours):.3f}**",
                percent_of_peak(results, row, ours),
                ratio(oracle, ours),
                ratio(best_of(row, "PyTorch"), ours),
                ratio(of(row, "JAX scan"), ours),
            )
        )
    header = (
        "net", "dtype", "the book's algorithm, s", "best other, s", "fastbp, s",
        "of FMA peak", "over the book's", "over PyTorch", "over JAX",
    )  # fmt: skip
    used = sorted({c["threads"] for row in results["rows"] for c in row["contestants"]})
    return (
        f"{markdown_table(header, lines)}\n"
        f"Seconds per 50,000 images of {results['data']}; medians, compiling and evaluation not "
        f"included; the faster of {' or '.join(map(str, used))} threads. The book's algorithm runs "
        "in float64 always (-: too slow to measure); PyTorch is its fastest form, that by hand "
        "included; JAX a whole epoch in one compiled scan. Of FMA peak: fastbp's operations per "
        "second, zeros of the images counted, though left out, against multiply-adds in registers. "
        f"{machine_line(results['machine'])}. Made by `{results['command']}`.\n"
    )


def write_summary(results):
    """Put the summary between the marks in README.md."""
    readme = ROOT / "README.md"
    parts = re.split(re.escape(MARK) + "\n", readme.read_text())
    if len(parts) == 3:
        readme.write_text(f"{MARK}\n".join([parts[0], summary(results), parts[2]]))
