"""The pictures: speed-ups of all peers, and a roofline of the kernels."""

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot, ticker

from bench import tables
from fastbp.recipes import RECIPES

pyplot.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = {
    "oracle": "#999999",
    "matrix NumPy": "#56B4E9",
    "PyTorch autograd": "#E69F00",
    "PyTorch by hand": "#F0C566",
    "JAX scan": "#009E73",
    "scikit-learn": "#CC79A7",
    "plain C": "#0072B2",
    "fastbp": "#D55E00",
}
KERNEL_COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"]
MARKERS = "osD^vPX*"
RECIPE_COLOURS = [*KERNEL_COLOURS, "#000000", "#882255", "#44AA99", "#AA4499", "#117733"]


def _save(figure, path, title, note, bottom):
    figure.suptitle(title, fontsize=13)
    figure.tight_layout(rect=(0, bottom, 1, 0.99), h_pad=1.6, w_pad=2)
    figure.text(0.99, 0.008, note, ha="right", va="bottom", fontsize=7, color="#555555")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def speed_up(cases, path, data):
    """Draw bars for each of the figures of epochs.py: how fast the peers are."""
    lines, most = -(-len(cases) // 2), max(len(case["peers"]) for case in cases)
    figure, axes = pyplot.subplots(
        lines, 2, figsize=(11, lines * (0.27 * most + 0.75) + 0.6), squeeze=False
    )
    for axis in axes.flat[len(cases) :]:
        axis.axis("off")
    for axis, case in zip(axes.flat, cases):
        _bars(axis, case)
    note = f"{data}; {tables.machine()}"
    _save(figure, path, "One epoch of stochastic gradient descent on a CPU", note, 0.02)


def _bars(axis, case):
    """Draw speed-ups over the oracle if it runs, else images per second."""
    peers = case["peers"]
    oracle = next((peer["median"] for peer in peers if peer["name"] == "oracle"), None)
    values = [(oracle or case["images"]) / peer["median"] for peer in peers]
    pattern = "{:.1f}x" if oracle else "{:,.0f}"
    bars = axis.barh(range(len(peers)), values, color=[COLOURS[peer["name"]] for peer in peers])
    axis.bar_label(bars, [pattern.format(value) for value in values], padding=4, fontsize=8)
    names = [p["name"] + (f", {p['threads']} threads" if p["threads"] > 1 else "") for p in peers]
    axis.set_yticks(range(len(peers)), names)
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(0, max(values) * 1.2)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    what = "times faster than the book's algorithm" if oracle else "images per second"
    axis.set_xlabel(what, fontsize=8)
    title = tables.network(case["sizes"], case["m"], case["dtype"])
    axis.set_title(title, loc="left", fontsize=9, weight="bold")


def roofline(kernels, fma, bandwidths, path):
    """Draw the figures of kernels.py under the limits of the machine.

    fma: {dtype: GFLOP/s}; bandwidths: {name: GB/s}. Colours are kernels, markers shapes of layers;
    a grey line leads to OpenBLAS's speed for the same product.
    """
    kernels = [k for k in kernels if "flops_per_byte" in k]
    names = list(dict.fromkeys(k["name"].partition(" ")[0] for k in kernels))
    shapes = list(dict.fromkeys(k["name"].partition(" ")[2] for k in kernels))
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 6), sharey=True)
    x = np.geomspace(0.1, 200, 500)
    for axis, (dtype, peak) in zip(axes, fma.items()):
        for (name, speed), style in zip(bandwidths.items(), ("-", "--")):
            axis.plot(x, np.minimum(peak, speed * x), style, color="#444444", label=name)
        for k in (k for k in kernels if k["dtype"] == dtype):
            name, _, shape = k["name"].partition(" ")
            at, openblas = k["flops_per_byte"], k.get("openblas_gflops")
            if openblas:
                axis.plot([at, at], [openblas, k["gflops"]], "_-", color="#AAAAAA", zorder=1)
            axis.plot(
                at, k["gflops"], MARKERS[shapes.index(shape)], ms=9, mec="white", label=k["name"],
                mfc=KERNEL_COLOURS[names.index(name)],
            )  # fmt: skip
        axis.set(xscale="log", yscale="log", ylim=(0.7, 1.7 * max(fma.values())))
        axis.set_title(f"{dtype}, FMA peak {peak:.0f} GFLOP/s", loc="left", weight="bold")
        axis.set_xlabel("flops per byte of the kernel's arrays, each counted once")
    axes[0].set_ylabel("GFLOP/s, one thread; grey: OpenBLAS")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=8,
        frameon=False, bbox_to_anchor=(0.5, 0.03),
    )  # fmt: skip
    _save(figure, path, "fastbp's kernels and the limits of the machine", tables.machine(), 0.15)


def recipes(groups, path):
    """Draw test errors against seconds of training, with the sources' figures as lines.

    groups: {(name of a recipe, whether of all images): [run, ...]}, see recipes.py. Of a group
    only the runs with the most threads are drawn; the mean is of all.
    """
    figure, axis = pyplot.subplots(figsize=(11, 7))
    for colour, ((name, final), runs) in zip(RECIPE_COLOURS, groups.items()):
        ends = [run["curve"][-1][2] for run in runs]
        mean = f"{np.mean(ends):.2f} %" + f", {len(ends)} seeds" * (len(ends) > 1)
        most = max(run["threads"] for run in runs)
        for i, run in enumerate(run for run in runs if run["threads"] == most):
            seconds, _, errors = zip(*run["curve"])
            label = f"{name}{', 60,000 images' * final}: {mean}" if i == 0 else None
            axis.plot(seconds, errors, "--" if final else "-", color=colour, lw=1.2, label=label)
    sources = {(RECIPES[name].paper, RECIPES[name].source) for name, _ in groups}
    for paper, source in sorted(pair for pair in sources if pair[0]):
        axis.axhline(paper, color="#777777", lw=0.7, ls=":")
        axis.annotate(f"{paper:g} % {source}", (0.005, paper), fontsize=7, color="#555555",
                      xycoords=("axes fraction", "data"), va="bottom")  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="test error, %")
    for kind in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        kind("{x:g}")
    axis.tick_params(axis="y", which="minor", labelsize=7)
    axis.set_ylim(0.3, 12)
    axis.grid(which="both", color="#eeeeee")
    axis.legend(frameon=False, fontsize=8, loc="upper right")
    _save(figure, path, "Recipes on MNIST", tables.machine(), 0.02)
