"""The gradients of the chunks of a mini-batch, by the compiled kernels, and their sums."""

from fastbp.distributed import tree
from fastbp.kernels import layout
from fastbp.training import engine
from fastbp.training.rules import Rules, kernel_rules


class ChunkGradients:
    """Sums the gradients of chunks over the nodes of a tree, each into a vector of its own.

    weights: packed by packed_layout, as they are at the time of a call; nodes: those that are
    summed; chunks: how many a mini-batch has; rules: only their dropout counts here.
    """

    def __init__(
        self, plan, packed_layout, weights, samples, order, nodes, chunks, n_threads, rules
    ):
        self.chunks, self.n_packed = chunks, packed_layout.n_packed
        depth = max((last - first - 1).bit_length() for first, last in nodes) if nodes else 0
        count = packed_layout.n_weights
        self.vectors = {node: layout.zeros(count, weights.dtype) for node in nodes}
        self.spare = [layout.zeros(count, weights.dtype) for _ in range(depth)]
        dropout = Rules(dropout=rules.dropout, key=rules.key)
        self.call_driver = engine.gradient_calls(
            plan, packed_layout, weights, weights, samples, order, n_threads,
            kernel_rules(dropout, [weights], plan.sizes, 1.0, 1),
        )  # fmt: skip

    def sum_node(self, node, order, start, end):
        """Return the gradient, packed, summed over a node of the mini-batch order[start:end]."""
        self._sum(node, self.vectors[node], 0, order, start, end)
        return self.vectors[node][: self.n_packed]

    def _sum(self, node, target, depth, order, start, end):
        first, last = node
        if last - first > 1:
            left, right = tree.halves(node)
            self._sum(left, target, depth + 1, order, start, end)
            self._sum(right, self.spare[depth], depth + 1, order, start, end)
            target[: self.n_packed] += self.spare[depth][: self.n_packed]
            return
        target[: self.n_packed] = 0  # T is not added to, but written
        begin, stop = (start + tree.share(end - start, c, self.chunks)[0] for c in (first, last))
        if begin < stop:
            self.call_driver.net = self.call_driver.net._replace(target=target)
            self.call_driver(order, begin, stop)
