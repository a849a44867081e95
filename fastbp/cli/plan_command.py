"""fastbp plan: how long an epoch takes on so many ranks, predicted; from where more ranks pay."""

import numpy as np

from fastbp.cli.console import log
from fastbp.cli.options import add_dtype, parse_sizes
from fastbp.cli.outputs import check_outputs
from fastbp.data import arguments
from fastbp.distributed import cost_model, measure
from fastbp.distributed.ranks import Ranks, started_size

TYPICAL = 30e-6, 1.1e9  # seconds and bytes per second: Ethernet of 10 Gbit/s
MOST_RANKS = 2**16  # with more, the table takes minutes
TITLES = (
    "ranks", "s/step", "exchange", "s/epoch", "speed-up", "pays from mini-batch", "pays from width"
)  # fmt: skip


def plan(options):
    """Print a table, and draw it. Under mpiexec, latency and bandwidth are measured."""
    work = _work_of(options)
    if started_size() > 1:
        ranks = Ranks()
        if ranks.size > 1:
            network = measure.network_rates(ranks)
            ranks.from_root(lambda: _report(options, work, network, "measured between two ranks"))
            return
    _report(options, work, TYPICAL, "typical of 10 Gbit/s Ethernet; mpiexec -n 2 measures them")


def _work_of(options):
    """Return the Work of the options, checked."""
    for ranks in options.ranks:
        arguments.check_range("ranks", ranks, np.dtype(float), 1, MOST_RANKS + 1)
    for name, given in (("latency", options.latency), ("bandwidth", options.bandwidth)):
        if given is not None:
            arguments.check_range(name, given, np.dtype(float), 1e-6)
    check_outputs(options)
    samples = arguments.check_count("samples", options.samples, 1)
    mini_batch_size = arguments.check_count("mini_batch_size", options.mini_batch_size, 1)
    return cost_model.Work(
        arguments.check_sizes(options.sizes), np.dtype(options.dtype).itemsize, samples,
        min(mini_batch_size, samples),  # SGD takes all samples then
    )  # fmt: skip


def _report(options, work, network, source):
    """Measure the kernels, and print and draw what the model says."""
    log("measuring the kernels on one thread ...")
    rates = measure.compute_rates(work.sizes, np.dtype(options.dtype))
    latency, bandwidth = network
    if options.latency is not None:
        latency, source = options.latency * 1e-6, "given"
    if options.bandwidth is not None:
        bandwidth, source = options.bandwidth * 1e9, "given"
    rates = cost_model.Rates(*rates, latency, bandwidth)
    rows = cost_model.table(work, rates, options.ranks)
    sample = (work.flops * rates.per_flop) * 1e6
    print(
        f"{list(work.sizes)}, {options.dtype}, mini-batch {work.mini_batch_size}: {sample:.2f} us "
        f"per sample and thread; messages {latency * 1e6:.1f} us + bytes / "
        f"{bandwidth / 1e9:.2f} GB/s ({source})"
    )
    lines = [TITLES, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
    print(
        "pays from: the least mini-batch, and the least width of the hidden layers, powers of 2, "
        "with which so many ranks are faster than those of the line above"
    )
    if options.plot is not None:
        from fastbp.report import scaling

        scaling.draw(rows, f"{list(work.sizes)}, mini-batch {work.mini_batch_size}", options.plot)


def _cells(row):
    """Return the cells of a line of the table. "never": at no size that was tried."""
    is_more = row["ranks"] > 1
    pays = [str(row[name] or "never") if is_more else "-" for name in ("mini_batch", "width")]
    return (
        str(row["ranks"]), f"{row['step']:.3g}", f"{row['exchange']:.0%}", f"{row['epoch']:.3g}",
        f"{row['speedup']:.2f}", *pays,
    )  # fmt: skip


def add_options(parser):
    """Add the options of fastbp plan."""
    add = parser.add_argument
    add("--ranks", type=parse_sizes, default=[2**k for k in range(11)], metavar="1,2,4",
        help="numbers of processes, each with one thread (default: 1,2,4 ... 1024)")  # fmt: skip
    add("--sizes", type=parse_sizes, default=[784, 800, 10], metavar="784,800,10",
        help="neurons per layer (default: 784,800,10)")  # fmt: skip
    add("--mini-batch-size", type=int, default=512, metavar="512",
        help="of all processes together (default: 512)")  # fmt: skip
    add("--samples", type=int, default=50_000, metavar="50000",
        help="training samples (default: 50000)")  # fmt: skip
    add("--latency", type=float, metavar="30",
        help="microseconds per message (default: measured under mpiexec, else 30)")  # fmt: skip
    add("--bandwidth", type=float, metavar="1.1",
        help="GB per second and process (default: measured under mpiexec, else 1.1)")  # fmt: skip
    add("--plot", metavar="plan.png", help="draw the table (extra: report)")
    add_dtype(add)
