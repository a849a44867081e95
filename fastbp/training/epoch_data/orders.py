"""The orders of samples: the book's, and that of data larger than memory, in shuffled blocks.

Several processes that train together each read the blocks of their own chunks of the mini-batches.

Invariant: an order is a permutation of all samples, new in each epoch; all that is random in it is
drawn from Python's global generator.
"""

import random

import numpy as np

from fastbp.kernels import layout
from fastbp.training.compute import engine

BLOCK_BYTES = 1 << 20  # that are read at once: a disk reads so much at nearly its full speed
WINDOW_BYTES = 1 << 27  # of inputs, in which samples are shuffled; two windows are in memory


class BookOrder:
    """The book's order: random.shuffle of all samples, each time from the order before.

    samples (n,), int64: the order.
    """

    def __init__(self, n):
        self.samples = np.arange(n)

    def __len__(self):
        return len(self.samples)

    def shuffle(self):
        """Shuffle the samples for the next epoch."""
        engine.shuffle(self.samples)

    def to_array(self):
        """Return what a checkpoint holds of it."""
        return self.samples

    def from_array(self, array):
        """Return the order that a checkpoint holds, or raise ValueError."""
        n = len(self)
        if array.dtype == np.uint64:
            raise ValueError("its order is one of blocks, expected the book's")
        if array.dtype != np.int64 or not np.array_equal(np.sort(array), np.arange(n)):
            raise ValueError(f"its order is not one of {n} samples")
        order = BookOrder(0)
        order.samples = array.copy()
        return order


class BlockOrder:
    """Blocks of consecutive samples in random order, shuffled within windows of many blocks.

    The samples, block after block in a random order, are cut into windows, and each window is
    shuffled. So a mini-batch is a random choice of the samples of the window's blocks, which come
    from everywhere; but samples that are neighbours in the file always share a window or two. All
    of it follows from one number of 64 bits, `key`, which random.getrandbits draws in each epoch.

    n: samples; row_bytes: of the inputs of one; m: per mini-batch, whose multiple a window is;
    chunks: so many parts of a window, one after the other, are shuffled each by itself, and each
    chunk of a mini-batch consists of samples of its part.
    """

    def __init__(self, n, row_bytes, m, chunks=1):
        self.chunks = chunks
        self.n, self.block = n, max(1, BLOCK_BYTES // row_bytes)
        self.m = min(m, n)
        self.window = max(1, WINDOW_BYTES // row_bytes // self.m) * self.m
        self.n_windows = -(-n // self.window)
        self._begin(0)

    def __len__(self):
        return self.n

    def shuffle(self):
        """Draw the order of the next epoch."""
        self._begin(random.getrandbits(64))

    def _begin(self, key):
        """Put the blocks in the order of a key."""
        self.key, self.blocks = key, np.arange(-(-self.n // self.block))
        engine.shuffle(self.blocks, random.Random(key))
        counts = np.minimum(self.block, self.n - self.blocks * self.block)
        self.ends = np.cumsum(counts)  # in the order of the blocks

    def size_of(self, w):
        """Return how many samples window w has."""
        return min(self.window, self.n - w * self.window)

    def _chunk_of(self, w):
        """Return the number of the chunk (size,) that each place in the order of window w is in."""
        whole, rest = divmod(self.size_of(w), self.m)
        chunks = np.arange(self.chunks)
        batch, last = (np.diff(layout.chunk_bounds(m, len(chunks))[1]) for m in (self.m, rest))
        return np.append(np.tile(np.repeat(chunks, batch), whole), np.repeat(chunks, last))

    def rows_of(self, w, chunks):
        """Return (first, last), the rows of window w that are in the chunks (first, last)."""
        counts = np.bincount(self._chunk_of(w), minlength=self.chunks)
        return tuple(int(counts[:chunk].sum()) for chunk in chunks)

    def pieces(self, w, rows=None):
        """Return [(first sample, count), ...]: the runs of samples that window w consists of.

        rows: (first, last) of those that are wanted, all by default.
        """
        first, last = rows or (0, self.size_of(w))
        start, end = w * self.window + first, w * self.window + last
        found = []
        for i in range(np.searchsorted(self.ends, start, "right"), len(self.blocks)):
            first = int(self.ends[i - 1]) if i else 0  # where the block begins in the order
            a, b = max(start, first), min(end, int(self.ends[i]))
            if a >= b:
                break
            found.append((int(self.blocks[i]) * self.block + a - first, b - a))
        return found

    def within(self, w):
        """Return the order (size,), int64, of the samples in window w, as indices into it."""
        chunk_of, generator, start = self._chunk_of(w), random.Random(self.key + 1 + w), 0
        order = np.empty(len(chunk_of), np.int64)
        for chunk in range(self.chunks):
            places = np.flatnonzero(chunk_of == chunk)
            rows = np.arange(start, start + len(places))
            engine.shuffle(rows, generator)
            order[places] = rows
            start += len(places)
        return order

    def samples_of(self, w):
        """Return the samples (size,) of window w in the order in which they are trained on."""
        rows = np.concatenate([np.arange(first, first + n) for first, n in self.pieces(w)])
        return rows[self.within(w)]

    def to_array(self):
        """Return what a checkpoint holds of it."""
        return np.array([self.key], np.uint64)

    def from_array(self, array):
        """Return the order that a checkpoint holds, or raise ValueError."""
        if array.dtype != np.uint64 or array.shape != (1,):
            raise ValueError("its order is the book's, expected one of blocks")
        order = BlockOrder.__new__(BlockOrder)
        order.__dict__ |= self.__dict__
        order._begin(int(array[0]))
        return order
