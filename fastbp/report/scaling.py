"""The predictions of fastbp plan, drawn. Extra: report."""

from fastbp.data import plots
from fastbp.report.learning_curves import COLOURS, pyplot


def draw(rows, title, path):
    """Write speed-up and share of the exchange, by the number of ranks, to a picture file.

    rows: as cost_model.table returns them.
    """
    plot = pyplot("--plot")
    ranks = [row["ranks"] for row in rows]
    figure, (left, right) = plot.subplots(1, 2, figsize=(10, 3.8))
    left.plot(ranks, ranks, color="#999999", lw=1, ls="--", label="ideal")
    left.plot(ranks, [row["speedup"] for row in rows], color=COLOURS[1], marker="o", label="model")
    left.set_ylabel("speed-up over 1 rank")
    left.set_yscale("log", base=2)
    left.legend(frameon=False)
    right.plot(ranks, [100 * row["exchange"] for row in rows], color=COLOURS[0], marker="o")
    right.set_ylabel("share of the exchange in a step, %")
    right.set_ylim(0, 100)
    for axis in (left, right):
        axis.set_xlabel("ranks")
        axis.set_xscale("log", base=2)
        axis.grid(color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    plots.save(figure, path, dpi=130)
    plot.close(figure)
