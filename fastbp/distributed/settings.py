"""How several ranks train one network: the arguments of fastbp.mpi.SGD, checked and together."""

import dataclasses

import numpy as np

from fastbp.data import arguments
from fastbp.distributed import tree

CHUNKS = 12  # a multiple of 1, 2, 3 and 4 ranks


@dataclasses.dataclass
class RankSettings:
    """See fastbp.mpi.SGD; size: how many ranks there are."""

    size: int
    mini_batch_size: int
    chunks: int = CHUNKS
    average_every: int | None = None
    base_mini_batch_size: int | None = None
    scaling_epochs: float = 5.0

    def __post_init__(self):
        m = self.mini_batch_size = arguments.check_count("mini_batch_size", self.mini_batch_size, 1)
        self.chunks = arguments.check_count("chunks", self.chunks, 1)
        if self.average_every is not None:
            self.average_every = arguments.check_count("average_every", self.average_every, 1)
            if m % self.size:
                raise ValueError(
                    f"mini_batch_size is {m}, expected a multiple of the {self.size} ranks: with "
                    f"average_every each trains on an equal part of it"
                )
        elif self.chunks < self.size:
            raise ValueError(
                f"chunks is {self.chunks}, expected at least one for each of the {self.size} "
                f"ranks, best a multiple; pass chunks={self.size}"
            )
        if self.base_mini_batch_size is not None:
            self.base_mini_batch_size = arguments.check_count(
                "base_mini_batch_size", self.base_mini_batch_size, 1
            )
        self.scaling_epochs = arguments.check_range(
            "scaling_epochs", self.scaling_epochs, np.dtype(float), 0
        )

    @property
    def config(self):
        """Return what must be the same when the run is resumed.

        With `average_every` the number of ranks must, too.
        """
        scales = self.base_mini_batch_size is not None
        how = {
            "average_every": self.average_every,
            "base_mini_batch_size": self.base_mini_batch_size,
            "scaling_epochs": self.scaling_epochs if scales else None,
        }
        return how | ({"ranks": self.size} if self.average_every else {"chunks": self.chunks})

    def chunks_read(self, rank):
        """Return (chunks, (first, last) of a rank): it reads the samples of these alone.

        With `average_every` it reads all samples, as a single process does.
        """
        if self.average_every:
            return 1, (0, 1)
        return self.chunks, tree.part_bounds(self.chunks, rank, self.size)

    def eta_of(self, eta, steps, steps_per_epoch):
        """Return the learning rate of the step after `steps` others.

        Linear scaling with a gradual warm-up: Goyal and others 2017, sections 2.1 and 2.2.
        """
        if self.base_mini_batch_size is None:
            return eta
        scale, ramp = self.mini_batch_size / self.base_mini_batch_size, 1.0
        if self.scaling_epochs:
            ramp = min(1.0, (steps + 1) / (self.scaling_epochs * steps_per_epoch))
        return eta * (1 + (scale - 1) * ramp)
