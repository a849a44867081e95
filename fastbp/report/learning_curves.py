"""The book's learning curves, drawn from the results of fastbp book. Extra: report."""

COLOURS = "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"


def pyplot(option="--pictures"):
    """Return matplotlib.pyplot, without a display, or raise ImportError naming the extra.

    option: of the command line, that asks for a picture.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            f"pictures need matplotlib: pip install 'fastbp[report]' (or leave out {option})"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw(results, rates, gradient_norms, path):
    """Write the learning curves of chapters 3 and 5, of the first seed, to a PNG file.

    results: as book.run_all returns it; plots of rows that are missing in it are left out.
    rates, gradient_norms: as the functions of book.py return them, or None.
    """
    panels = [panel for panel in _panels(results, rates, gradient_norms) if panel[3]]
    plot = pyplot()
    rows = -(-len(panels) // 2)
    figure, axes = plot.subplots(rows, 2, figsize=(11, 3.4 * rows), squeeze=False)
    for axis, (title, x_label, y_label, curves, log) in zip(axes.flat, panels):
        for colour, (name, x, y) in zip(COLOURS, curves):
            axis.plot(x, y, color=colour, lw=1.6, label=name, marker="o" * (len(x) < 12))
        axis.set_title(title, fontsize=11, loc="left", fontweight="bold")
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        if "x" in log:
            axis.set_xscale("log")
        if "y" in log:
            axis.set_yscale("log")
        axis.grid(color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            axis.legend(frameon=False, fontsize=9)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plot.close(figure)


def _panels(results, rates, gradient_norms):
    """Yield (title, x label, y label, [(name, x, y), ...], logarithmic axes) of each plot."""

    def curves(kind, **names):
        found = []
        for name, label in names.items():
            if name in results and kind in results[name][0]["curves"]:
                y = results[name][0]["curves"][kind]
                found.append((label, range(1, len(y) + 1), y))
        return found

    plain, regular = "overfitting-lmbda-0.0", "overfitting-lmbda-0.1"
    both = {plain: "lmbda 0: overfitting", regular: "lmbda 0.1: regularised"}
    percent = "% right"
    for kind, title, label, log in (
        ("training_cost", "Training cost, 1,000 images", "cost", "y"),
        ("test", "Test accuracy, 1,000 training images", percent, ""),
        ("training_accuracy", "Training accuracy, 1,000 images", percent, ""),
        ("test_cost", "Test cost, 1,000 training images", "cost", ""),
    ):
        yield title, "epoch", label, curves(kind, **both), log
    first = {
        "chapter1-30": "chapter 1: quadratic cost",
        "cross-entropy-30": "cross-entropy",
        "regularised-30": "cross-entropy, lmbda 5",
    }
    yield "Test accuracy of [784, 30, 10]", "epoch", percent, curves("test", **first), ""
    starts = {"initialised-default": "N(0, 1/n_in)", "initialised-large": "N(0, 1)"}
    yield "Initialisation", "epoch", "% right, validation", curves("validation", **starts), ""
    by_rate = [(f"eta {eta:g}", range(1, len(c) + 1), c) for eta, c in (rates or {}).items()]
    yield "Learning rates", "epoch", "training cost", by_rate, "y"
    names = [name for name in results if name.startswith("images-")]
    sizes = sorted((int(name.removeprefix("images-")), results[name]) for name in names)
    more = [("", [n for n, _ in sizes], [by_seed[0]["percent"][0] for _, by_seed in sizes])]
    yield "More data", "training images", "% right, validation", more if sizes else [], "x"
    by_layer = [
        (f"hidden layer {l}", range(len(y)), y) for l, y in enumerate(zip(*gradient_norms or []), 1)
    ]
    title = "Unstable gradients: the speed of each layer"
    yield title, "epoch", "norm of the gradient", by_layer, "y"
