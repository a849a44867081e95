"""The gradients of the chunks of a mini-batch, by the compiled kernels, and their sums."""

import numpy as np

from fastbp.distributed import tree
from fastbp.kernels import layout
from fastbp.kernels.layout import chunk_bounds
from fastbp.training.compute import engine, threads
from fastbp.training.compute.rules import Rules, kernel_rules


def most_samples(node, m, chunks):
    """Return a bound of how many samples a node has in a mini-batch of m samples or fewer.

    In the last mini-batch, which may be shorter, a node may have more samples than in the others,
    since a chunk is a whole number of groups.
    """
    first, last = node
    groups = -(-m // layout.MR)
    return max(1, min(m, layout.MR * -(-groups * (last - first) // chunks)))


class ChunkGradients:
    """Sums the gradients of chunks over the nodes of a tree, each into a vector of its own.

    weights: packed by plan.layout, as they are at the time of a call; nodes: those that are summed;
    m: samples of a mini-batch; chunks: how many it has; rules: only their dropout counts here.
    """

    def __init__(self, plan, weights, samples, order, nodes, m, chunks, n_threads, rules):
        most = max((most_samples(node, m, chunks) for node in nodes), default=1)
        packed_layout, dtype = plan.layout(weights.dtype, most), weights.dtype
        self.chunks, self.n_packed = chunks, packed_layout.n_packed
        self.vectors = {node: layout.zeros(packed_layout.n_weights, dtype) for node in nodes}
        self.tables = {}
        height = max(map(tree.height, nodes), default=1)
        count = threads.usable(n_threads) * height * packed_layout.part_size
        dropout = Rules(dropout=rules.dropout, key=rules.key)
        self.call_driver = engine.chunk_calls(
            plan, packed_layout, weights, samples, order, layout.zeros(count, dtype), n_threads,
            kernel_rules(dropout, [weights], plan.sizes, 1.0, 1),
        )  # fmt: skip

    def _table(self, node, m):
        """Return (first and last sample of a node in a mini-batch of m, the ChunkTree's chunks)."""
        if (node, m) not in self.tables:
            self.tables[node, m] = self._new_table(node, m)
        return self.tables[node, m]

    def _new_table(self, node, m):
        (first, last), (groups, starts) = node, chunk_bounds(m, self.chunks)
        groups = groups[first : last + 1] - groups[first]
        chunks = np.column_stack([groups[:-1], groups[1:], tree.merges(node)])
        return int(starts[first]), int(starts[last]), chunks.reshape(-1)

    def sum_node(self, node, order, start, end):
        """Return the gradient, packed, summed over a node of the mini-batch order[start:end]."""
        target, (begin, stop, chunks) = self.vectors[node], self._table(node, end - start)
        if begin == stop:
            target[:] = 0
        else:
            call = self.call_driver
            call.net, call.more = call.net._replace(target=target), (chunks, *call.more[1:])
            call(order, start + begin, start + stop)
        return target[: self.n_packed]
