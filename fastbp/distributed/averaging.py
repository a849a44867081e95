"""Local steps on each rank, and the average of their weights from time to time.

Source: Stich 2019, "Local SGD converges fast and communicates little". Moments are averaged, too.
"""

import numpy as np

from fastbp.distributed import tree
from fastbp.distributed.allreduce import AllReduce
from fastbp.training.compute import engine
from fastbp.training.compute.divergence import Diverged
from fastbp.training.compute.rules import NO_RULES


class AveragingDescent:
    """The same as engine.Descent, with averages every settings.average_every steps; see there.

    Each rank takes every size-th sample of the order, in mini-batches of m / size.
    """

    def __init__(self, ranks, settings, params, plan, samples, order, m, eta, n_threads=None,
                 rules=NO_RULES, moments=(), check=True, steps=0):  # fmt: skip
        if not samples.checked:
            samples.check(params.dtype)
        self.ranks, self.settings, self.plan, self.samples = ranks, settings, plan, samples
        self.order, self.m, self.eta, self.n_threads = order, m, eta, n_threads
        self.rules, self.check, self.steps, self.done = rules, check, steps, 0
        self.flat = [params, *moments]
        self.allreduce = AllReduce(ranks, ranks.size, params.size, params.dtype)

    def __enter__(self):
        return self

    def __iter__(self):
        window = self.settings.average_every * self.m
        for start in range(0, len(self.order), window):
            end = min(len(self.order), start + window)
            before = [vector.copy() for vector in self.flat]
            self._train(self.order[start:end], self.steps + start // self.m)
            for vector in self.flat:
                self._average(vector)
            if self.check and not all(np.isfinite(vector).all() for vector in self.flat):
                for vector, kept in zip(self.flat, before):
                    np.copyto(vector, kept)
                raise Diverged(self.done)
            self.done = end
            yield end - start

    def __exit__(self, kind, error, trace):
        pass

    def _train(self, order, steps):
        """Take the local steps of this rank's part of an order."""
        mine = np.ascontiguousarray(order[self.ranks.rank :: self.ranks.size])
        per_epoch = -(-self.ranks.epoch_samples // self.m)
        params, *moments = self.flat
        if len(mine):
            eta = self.settings.eta_of(self.eta, steps, per_epoch)
            engine.train(
                params, self.plan, self.samples, mine, self.m // self.ranks.size, eta,
                self.n_threads, None, self.rules, moments, check=False, steps=steps,
            )  # fmt: skip

    def _average(self, vector):
        """Overwrite a vector with its average over the ranks."""
        allreduce, rank, size = self.allreduce, self.ranks.rank, self.ranks.size
        allreduce.post_receives()
        allreduce.send(tree.part_bounds(size, rank, size), vector)
        with np.errstate(all="ignore"):
            vector[allreduce.own_slice] = allreduce.reduced_slice() / size
        allreduce.gather(vector)
