"""The pictures: speed-ups and epoch times of all contestants, and a roofline of the kernels."""

from bench import report

# Okabe and Ito's palette: told apart by colour-blind readers, too.
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
MARKERS = "osD^vPX*"


def draw(results, folder):
    """Write speedup.png and roofline.png, or say what to install."""
    try:
        import matplotlib
    except ImportError:
        print("no pictures: pip install matplotlib")
        return
    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    _speed_up(results, folder / "speedup.png")
    _roofline(results, folder / "roofline.png")


def _footer(figure, results):
    at = results["machine"]
    text = f"{at['processor']}, {at['cores']} cores, {at['date']}; {results['data']}"
    figure.text(0.99, 0.008, text, ha="right", va="bottom", fontsize=7, color="#555555")


def _speed_up(results, path):
    from matplotlib import pyplot

    rows = results["rows"]
    columns = 2
    lines = -(-len(rows) // columns)
    most = max(len(row["contestants"]) for row in rows)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(11, lines * (0.27 * most + 0.75) + 0.6), squeeze=False
    )
    for axis, row in zip(axes.flat, rows):
        _bars(axis, row)
    for axis in axes.flat[len(rows) :]:
        axis.axis("off")
    figure.suptitle("One epoch of stochastic gradient descent on a CPU", fontsize=13)
    figure.tight_layout(rect=(0, 0.02, 1, 0.99), h_pad=1.6, w_pad=2)
    _footer(figure, results)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _bars(axis, row):
    """Draw speed-ups over the oracle where it takes part, else images per second."""
    oracle = report.of(row, "oracle")
    entries = sorted(row["contestants"], key=lambda c: -c["median"])
    if oracle:
        values = [oracle["median"] / c["median"] for c in entries]
        texts = [
            f"{value:.1f}x  ({report.scaled(row, c):.2f} s)" for value, c in zip(values, entries)
        ]
        what = "times faster than the book's algorithm"
    else:
        values = [row["images"] / c["median"] for c in entries]
        texts = [
            f"{value:,.0f}  ({report.scaled(row, c):.2f} s)" for value, c in zip(values, entries)
        ]
        what = "images per second"
    bars = axis.barh(range(len(entries)), values, color=[COLOURS[c["name"]] for c in entries])
    axis.bar_label(bars, texts, padding=4, fontsize=8)
    names = [c["name"] + (f", {c['threads']} threads" * (c["threads"] > 1)) for c in entries]
    axis.set_yticks(range(len(entries)), names)
    for tick, c in zip(axis.get_yticklabels(), entries):
        tick.set_fontweight("bold" if c["name"] == "fastbp" else "normal")
    axis.set_xlim(0, max(values) * 1.32)
    axis.set_xlabel(what, fontsize=8)
    axis.tick_params(axis="y", length=0)
    net = "-".join(map(str, row["sizes"]))
    axis.set_title(
        f"{net}, mini-batch {row['m']}, {row['dtype']}", loc="left", fontsize=10, weight="bold"
    )


def _roofline(results, path):
    """Draw kernels under the roof.

    Colour says which of the equations, shape of the mark on which shape of layer.
    """
    from matplotlib import pyplot

    computing = [k for k in results["kernels"] if k.get("gflops")]
    kinds, shapes = ({}, {})
    for k in computing:
        kind, shape = _parts(k)
        kinds.setdefault(kind, KIND_COLOURS[len(kinds) % len(KIND_COLOURS)])
        shapes.setdefault(shape, MARKERS[len(shapes) % len(MARKERS)])
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 6), sharey=True)
    top = max(results["peaks"]["fma"].values()) * 1.7
    for axis, dtype in zip(axes, ("float32", "float64")):
        _roof(axis, results["peaks"], dtype)
        for k in computing:
            if k["dtype"] != dtype:
                continue
            kind, shape = _parts(k)
            at, marker = k["flops_per_byte"], shapes[shape]
            if blas := k.get("openblas_gflops"):
                axis.plot([at, at], [blas, k["gflops"]], color="#BBBBBB", lw=0.8, zorder=1)
                axis.plot(at, blas, "_", ms=12, mew=2, color="#222222", zorder=2)
            axis.plot(at, k["gflops"], marker, ms=9, mfc=kinds[kind], mec="white", zorder=4)
        axis.set(xscale="log", yscale="log", xlim=(0.1, 200), ylim=(0.7, top))
        axis.set_title(dtype, loc="left", weight="bold")
        axis.set_xlabel("flops per byte of the kernel's arrays, each counted once")
        axis.grid(True, which="major", color="#EEEEEE", zorder=0)
    axes[0].set_ylabel("GFLOP/s, one thread")
    _roofline_legend(figure, kinds, shapes)
    figure.suptitle("fastbp's kernels under the roof of the machine", fontsize=13)
    figure.tight_layout(rect=(0, 0.15, 1, 1))
    _footer(figure, results)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _parts(kernel):
    """Return (equation, shape of the layer)."""
    name, _, shape = kernel["name"].partition(" ")
    kind, _, form = name.partition("_")
    return kind, shape or form or "other"


def _roof(axis, peaks, dtype):
    import numpy as np

    peak, x = peaks["fma"][dtype], np.geomspace(0.1, 200, 500)
    for name, speed, style in (
        ("memory", peaks["bandwidth"], "-"),
        ("cache", peaks["cache_bandwidth"], "--"),
    ):
        axis.plot(x, np.minimum(peak, speed * x), style, color="#444444", lw=1.3, zorder=1)
        axis.text(
            0.13, speed * 0.13 * 1.2, f"{name}, {speed:.0f} GB/s", fontsize=8, color="#444444",
            rotation=np.degrees(np.arctan(1.2 * speed)), rotation_mode="anchor",
            transform_rotates_text=True,
        )  # fmt: skip
    axis.text(190, peak * 1.07, f"FMA peak of a core, {peak:.0f} GFLOP/s", ha="right", fontsize=8)


def _roofline_legend(figure, kinds, shapes):
    from matplotlib.lines import Line2D

    def mark(label, marker, colour):
        return Line2D([], [], ls="", ms=8, label=label, marker=marker, color=colour, mew=1)

    first = [mark(kind, "o", colour) for kind, colour in kinds.items()]
    second = [mark(shape, marker, "#777777") for shape, marker in shapes.items()]
    second.append(
        Line2D([], [], ls="", marker="_", ms=12, mew=2, color="#222222", label="OpenBLAS")
    )
    for handles, height in ((first, 0.085), (second, 0.035)):
        figure.legend(
            handles=handles, loc="lower center", ncols=len(handles), fontsize=8.5, frameon=False,
            bbox_to_anchor=(0.5, height),
        )  # fmt: skip


# One for each kernel: Okabe and Ito's again.
KIND_COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"]
