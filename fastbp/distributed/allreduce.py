"""The exchange of a step: a vector is summed by slices, one for each rank, and gathered again.

The sums of chunks go to the owners of the slices in messages from rank to rank (a reduce-scatter
whose order of summation is that of tree.py), each as soon as it is formed; the slices go back by
Allgatherv.
"""

import numpy as np

from fastbp.distributed import tree

LINE = 16  # slices begin at multiples of so many numbers: on a line of the cache


class AllReduce:
    """Sums vectors of `length` numbers over `chunks` chunks.

    nodes: of the tree, that this rank sums; own_slice: the slice that it owns.
    """

    def __init__(self, ranks, chunks, length, dtype):
        self.ranks, self.root = ranks, (0, chunks)
        rank, size = ranks.rank, ranks.size
        owned = [
            tree.nodes_within(self.root, tree.part_bounds(chunks, r, size)) for r in range(size)
        ]
        self.nodes = owned[rank]
        lines = -(-length // LINE)
        ends = [min(length, LINE * tree.part_bounds(lines, r, size)[1]) for r in range(size)]
        self.slices = [slice(*ends) for ends in zip([0, *ends], ends)]
        self.own_slice = self.slices[rank]
        count = self.own_slice.stop - self.own_slice.start
        self.received = {
            (other, node): np.empty(count, dtype)
            for other, nodes in enumerate(owned) if other != rank for node in nodes
        }  # fmt: skip
        self.counts = [s.stop - s.start for s in self.slices], [s.start for s in self.slices]

    def post_receives(self):
        """Make ready for what other ranks send in this step."""
        self.vectors = {node: array for (_, node), array in self.received.items()}
        self.requests = [
            self.ranks.comm.Irecv(array, source, node[0])
            for (source, node), array in self.received.items()
        ]

    def send(self, node, vector):
        """Send the sum of one of this rank's nodes, each slice to its owner.

        The vector must not change until `reduced_slice` has returned.
        """
        self.vectors[node] = vector[self.own_slice]
        for other, part in enumerate(self.slices):
            if other != self.ranks.rank:
                self.requests.append(self.ranks.comm.Isend(vector[part], other, node[0]))

    def reduced_slice(self):
        """Return the sum over all chunks of this rank's slice; valid until the next step."""
        self.ranks.wait(self.requests)
        return tree.total(self.root, self.vectors)

    def gather(self, vector):
        """Fill in a vector, of which this rank has its slice, the slices of the others."""
        if self.ranks.size > 1:
            mpi = self.ranks.mpi
            kind = mpi.FLOAT if vector.dtype == np.float32 else mpi.DOUBLE
            whole = [vector, self.counts, kind]
            self.ranks.wait([self.ranks.comm.Iallgatherv(mpi.IN_PLACE, whole)])
