"""What a step on several ranks costs: a model with measured rates, and from where more ranks pay.

A step is (1) the gradients of a rank's chunks: the flops of their samples, a pass over all
parameters for each of its V vectors, and a sum, in the cache, for each further chunk; (2) the
optimiser on a slice; (3) the exchange: a rank sends each of its vectors in R - 1 slices, and its
new slice R - 1 times, each message taking latency + bytes / bandwidth. Nothing overlaps, and each
rank has a processor of its own, all equally fast. One rank stands for the network's own SGD, where
a mini-batch is one chunk, whose pass is the step.
"""

import dataclasses
import functools

from fastbp.distributed import tree
from fastbp.distributed.settings import CHUNKS
from fastbp.kernels import layout
from fastbp.training.compute.plans import plan_of

LARGEST_WIDTH = 2**15  # of the powers of 2 that are tried


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds of a rank: per flop of a gradient; per parameter for a pass, a sum and a step.

    latency: seconds per message; bandwidth: bytes per second.
    """

    per_flop: float
    per_pass_parameter: float
    per_sum_parameter: float
    per_step_parameter: float
    latency: float
    bandwidth: float


@dataclasses.dataclass(frozen=True)
class Work:
    """A network, by its layer sizes, and what it is trained on; itemsize: bytes of a parameter."""

    sizes: tuple
    itemsize: int
    samples: int
    mini_batch_size: int
    chunks: int = CHUNKS

    @property
    def parameters(self):
        return plan_of(self.sizes).n_params

    @property
    def flops(self):
        """Return the operations of the gradient of a sample."""
        return plan_of(self.sizes).flops

    def with_width(self, width):
        """Return the same with hidden layers of this width."""
        hidden = (width,) * (len(self.sizes) - 2)
        return dataclasses.replace(self, sizes=(self.sizes[0], *hidden, self.sizes[-1]))


def chunks_for(work, ranks):
    """Return into how many chunks a mini-batch is divided; SGD wants one for each rank at least."""
    return max(work.chunks, ranks) if ranks > 1 else 1


@functools.cache
def most_vectors(chunks, ranks):
    """Return how many vectors a rank sends: the rank that has the most of them."""
    shares = (tree.part_bounds(chunks, rank, ranks) for rank in range(ranks))
    return max(len(tree.nodes_within((0, chunks), mine)) for mine in shares)


def most_samples(m, chunks, ranks):
    """Return how many samples of a mini-batch of m the rank has that has the most of them."""
    _, starts = layout.chunk_bounds(m, chunks)
    parts = (tree.part_bounds(chunks, rank, ranks) for rank in range(ranks))
    return max(int(starts[last] - starts[first]) for first, last in parts)


def compute_seconds(work, rates, ranks):
    """Return the seconds of a step that a rank computes."""
    chunks = chunks_for(work, ranks)
    mine, vectors = -(-chunks // ranks), most_vectors(chunks, ranks)
    gradients = most_samples(work.mini_batch_size, chunks, ranks) * work.flops * rates.per_flop
    passes = vectors * work.parameters * rates.per_pass_parameter
    sums = max(0, mine - vectors) * work.parameters * rates.per_sum_parameter
    step = work.parameters / ranks * rates.per_step_parameter if ranks > 1 else 0.0
    return gradients + passes + sums + step


def exchange_seconds(work, rates, ranks):
    """Return the seconds of a step in which messages are under way."""
    vectors = most_vectors(chunks_for(work, ranks), ranks)
    message = rates.latency + work.parameters / ranks * work.itemsize / rates.bandwidth
    return (vectors + 1) * (ranks - 1) * message


def epoch_seconds(work, rates, ranks):
    """Return the seconds of an epoch, evaluation not included."""
    steps = -(-work.samples // work.mini_batch_size)
    return steps * (compute_seconds(work, rates, ranks) + exchange_seconds(work, rates, ranks))


def smallest_mini_batch(work, rates, ranks, fewer):
    """Return the least power of 2 with which `ranks` are faster than `fewer` ranks, or None."""
    sizes = (2**k for k in range(work.samples.bit_length()))
    works = (dataclasses.replace(work, mini_batch_size=m) for m in sizes)
    return next((w.mini_batch_size for w in works if _pays(w, rates, ranks, fewer)), None)


def smallest_width(work, rates, ranks, fewer):
    """Return the least width, a power of 2, of the hidden layers, likewise; None if none are."""
    widths = (2**k for k in range(LARGEST_WIDTH.bit_length()))
    if len(work.sizes) == 2:
        return None
    return next((w for w in widths if _pays(work.with_width(w), rates, ranks, fewer)), None)


def _pays(work, rates, ranks, fewer):
    return epoch_seconds(work, rates, ranks) < epoch_seconds(work, rates, fewer)


def table(work, rates, counts):
    """Return a list of dictionaries, one for each number of ranks, in rising order."""
    counts, rows = sorted(set(counts)), []
    alone = epoch_seconds(work, rates, 1)
    for fewer, ranks in zip([1, *counts], counts):
        seconds, exchange = (f(work, rates, ranks) for f in (epoch_seconds, exchange_seconds))
        step = exchange + compute_seconds(work, rates, ranks)
        pays = (smallest_mini_batch, smallest_width) if ranks > fewer else ()
        mini_batch, width = [find(work, rates, ranks, fewer) for find in pays] or (None, None)
        rows.append(
            dict(ranks=ranks, step=step, exchange=exchange / step, epoch=seconds,
                 speedup=alone / seconds, mini_batch=mini_batch, width=width)
        )  # fmt: skip
    return rows
