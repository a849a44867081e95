"""Local steps on each rank, and the average of their weights from time to time.

Source: Stich 2019, "Local SGD converges fast and communicates little". Moments are averaged, too.
"""

import numpy as np

from fastbp.distributed import tree
from fastbp.distributed.allreduce import AllReduce
from fastbp.training.compute import engine
from fastbp.training.compute.divergence import Diverged, FiniteGuard


class AveragingDescent:
    """The same as engine.Descent, with averages every average_every steps; see there.

    rank_settings: settings.RankSettings.

    Each rank takes every size-th sample of the order, in mini-batches of m / size.
    """

    def __init__(
        self, ranks, rank_settings, params, plan, samples, order, settings, n_threads=None
    ):
        if not samples.checked:
            samples.check(params.dtype)
        self.ranks, self.rank_settings, self.settings = ranks, rank_settings, settings
        self.plan, self.samples, self.order = plan, samples, order
        self.n_threads, self.done = n_threads, 0
        self.flat = [params, *settings.moments]
        self.guard = FiniteGuard(self.flat) if settings.check else None
        self.allreduce = AllReduce(ranks, ranks.size, params.size, params.dtype)

    def __enter__(self):
        return self

    def __iter__(self):
        m = self.settings.m
        window = self.rank_settings.average_every * m
        for start in range(0, len(self.order), window):
            end = min(len(self.order), start + window)
            self._train(self.order[start:end], self.settings.steps_before + start // m)
            for vector in self.flat:
                self._average(vector)
            if self.guard is not None and not self.guard.check(end):
                raise Diverged(self.guard.restore())
            self.done = end
            yield end - start

    def __exit__(self, kind, error, trace):
        pass

    def _train(self, order, steps_before):
        """Take the local steps of this rank's part of an order."""
        mine = np.ascontiguousarray(order[self.ranks.rank :: self.ranks.size])
        m, eta = self.settings.m, self.settings.eta
        params, *moments = self.flat
        if len(mine):
            steps_per_epoch = -(-self.ranks.epoch_samples // m)
            eta = self.rank_settings.eta_of(eta, steps_before, steps_per_epoch)
            engine.train(
                params, self.plan, self.samples, mine, m // self.ranks.size, eta, self.n_threads,
                rules=self.settings.rules, moments=moments, steps_before=steps_before, check=False,
            )  # fmt: skip

    def _average(self, vector):
        """Overwrite a vector with its average over the ranks."""
        allreduce, rank, size = self.allreduce, self.ranks.rank, self.ranks.size
        allreduce.post_receives()
        allreduce.send(tree.part_bounds(size, rank, size), vector)
        with np.errstate(all="ignore"):
            vector[allreduce.own_slice] = allreduce.reduced_slice() / size
        allreduce.gather(vector)
