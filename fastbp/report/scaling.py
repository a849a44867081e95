"""The predictions of fastbp plan, drawn. Extra: report."""

from fastbp.data import files
from fastbp.report.learning_curves import COLOURS, pyplot


def draw(rows, title, path):
    """Write speed-up and share of the exchange, by the number of ranks, to a PNG file.

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
    with files.write_atomically(path) as file:
        figure.savefig(file, dpi=130, format="png")
    plot.close(figure)
