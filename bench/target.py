"""Seconds of training until 95 % of the test set are right, with chapter 1's network.

Every epoch is evaluated, and only training counts. fastbp's seconds are those of one SGD call of
as many epochs as were needed.
"""

import math
import random
import statistics

from bench import peers, tables, timing, validation
from bench.workload import Workload, accuracy, progress

GOAL = 0.95
TITLE = f"Seconds of training to {GOAL:.0%} of the test set"
MOST_EPOCHS, QUICK_EPOCHS = 20, 2
SEEDS = (1, 2, 3)
HEADER = "peer", "median seconds", "epochs, seed by seed", "seconds, seed by seed"


def measure(settings):
    """Return the table, for the oracle and for fastbp in both dtypes."""
    most, state = QUICK_EPOCHS if settings.quick else MOST_EPOCHS, random.getstate()
    rows = [
        _row(name, peer, dtype, most, settings)
        for name, peer, dtype in (
            ("oracle", peers.BookOracle, "float64"),
            ("fastbp, float64", peers.Fastbp, "float64"),
            ("fastbp, float32", peers.Fastbp, "float32"),
        )
    ]
    random.setstate(state)
    return (
        f"{tables.network((784, 30, 10), 10)}, eta 3.0. From the same weights and in the same "
        f"order, epochs differ since rounding differences grow; not reached: not in {most} "
        f"epochs.\n\n"
        f"{tables.table(HEADER, rows)}"
    )


def _row(name, peer, dtype, most, settings):
    runs = []
    for seed in SEEDS[:1] if settings.quick else SEEDS:
        progress(f"  {name}, seed {seed} ...")
        workload = Workload((784, 30, 10), 10, 3.0, dtype, settings.folder, seed)
        runs.append(_run(peer(workload, 1), settings.n_images, settings.test, most))
    median = statistics.median(seconds if epochs else math.inf for epochs, seconds in runs)
    return (
        name,
        f"{median:.2f}" if math.isfinite(median) else "not reached",
        ", ".join(str(epochs or "not reached") for epochs, _ in runs),
        ", ".join(f"{seconds:.2f}" for _, seconds in runs),
    )


def _run(peer, n, test, most):
    """Return (epochs, seconds) to the goal; epochs is None where it takes more than `most`."""
    steps = validation.steps_of(peer.workload, n)
    validation.check(peer.first_steps(n, steps), peer.workload, n)
    peer.reset()
    orders, seconds = peer.workload.orders(n, most), 0.0
    for epoch, order in enumerate(orders, 1):
        # fastbp draws its own order, continuing from where the last call ended
        seconds += timing.seconds_of(peer.train, [order])
        if accuracy(*peer.parameters(), test) >= GOAL:
            if peer.epochs > 1:
                peer.reset()
                seconds = timing.seconds_of(peer.train, orders[:epoch])
            return epoch, seconds
    return None, seconds
