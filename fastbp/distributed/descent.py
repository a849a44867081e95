"""Gradient descent on several ranks: each mini-batch is divided, one exchange for each step.

Invariants: all ranks hold the same weights before each step; the moments are whole at the end only,
in between each rank has its slice. Results do not depend on the number of ranks.
"""

import time

import numpy as np

from fastbp.data.parameters import layer_views
from fastbp.distributed.allreduce import AllReduce
from fastbp.distributed.chunks import ChunkGradients
from fastbp.distributed.slices import SliceStep, limit_norms
from fastbp.training.compute.divergence import Diverged, FiniteGuard
from fastbp.training.compute.samples import NonFiniteInput

INTERVAL = 0.1  # seconds of steps between two moments at which the ranks may pause


class AgreedGuard(FiniteGuard):
    """A FiniteGuard of arrays of which each rank has a part."""

    def __init__(self, arrays, ranks):
        super().__init__(arrays)
        self.ranks = ranks

    def is_finite(self):
        """Tell whether all numbers of all ranks are finite now."""
        return not self.ranks.any(not super().is_finite())

    def check(self, samples_done):
        """See FiniteGuard: the cost, by which is_due goes, is that of the slowest rank."""
        is_fine = super().check(samples_done)
        self.cost = self.ranks.max(self.cost)
        return is_fine


def _check(samples, dtype, ranks):
    """Raise NonFiniteInput on all ranks if samples of one of them are not finite."""
    is_finite = True
    try:
        samples.check(dtype)
    except NonFiniteInput:
        is_finite = False
    if ranks.any(not is_finite):
        raise NonFiniteInput


class Descent:
    """The same as engine.Descent, on the ranks of a group; see there.

    rank_settings: settings.RankSettings.
    """

    def __init__(
        self, ranks, rank_settings, params, plan, samples, order, settings, n_threads=None
    ):
        if not samples.checked:  # else one rank would find what is not finite, and others not
            _check(samples, params.dtype, ranks)
        self.ranks, self.rank_settings, self.settings = ranks, rank_settings, settings
        self.plan, self.order = plan, order
        self.m, self.done = min(settings.m, len(samples)), 0
        self.steps_per_epoch = -(-ranks.epoch_samples // settings.m)
        self.layout = plan.layout(params.dtype, self.m)
        n = self.layout.n_packed
        self.flat = [params, *settings.moments]
        self.packed = [self.layout.pack(layer_views(vector, plan)) for vector in self.flat]
        self.allreduce = AllReduce(ranks, rank_settings.chunks, n, params.dtype)
        self.gradients = ChunkGradients(
            plan, self.packed[0], samples, order, self.allreduce.nodes, self.m,
            rank_settings.chunks, n_threads, settings.rules,
        )  # fmt: skip
        self.slice_step = self._slice_step()
        self.guard = AgreedGuard(self.packed, ranks) if settings.check else None

    def _slice_step(self):
        mine, layers = self.allreduce.own_slice, layer_views(np.ones_like(self.flat[0]), self.plan)
        decays = self.layout.pack([(w, 0 * b) for w, b in layers])[mine]
        weights, *moments = (packed[mine] for packed in self.packed)
        return SliceStep(weights, moments, decays, self.settings.rules)

    def __enter__(self):
        return self

    def __iter__(self):
        count = 1
        while self.done < len(self.order):
            began, start = time.perf_counter(), self.done
            end = min(len(self.order), start + count * self.m)
            self._run_steps(self.order, start, end)
            seconds = self.ranks.max(time.perf_counter() - began)
            self.done = end
            due = end == len(self.order) or (self.guard is not None and self.guard.is_due(seconds))
            if due:
                self._check_weights()
            count = max(1, int(count * min(4.0, max(0.25, INTERVAL / max(seconds, 1e-6)))))
            yield end - start

    def __exit__(self, kind, error, trace):
        try:
            if kind is None and self.done < len(self.order):  # it was left between two checks
                self._check_weights()
        finally:
            if kind is None or issubclass(kind, Diverged):
                for packed in self.packed[1:]:
                    self.allreduce.gather(packed[: self.layout.n_packed])
            for vector, packed in zip(self.flat, self.packed):
                self.layout.unpack(packed, layer_views(vector, self.plan))

    def _run_steps(self, order, start, end):
        """Take the steps of the mini-batches of order[start:end]."""
        with np.errstate(all="ignore"):  # the guard finds out what is not finite
            for first in range(start, end, self.m):
                self._take_step(order, first, min(first + self.m, end))

    def _take_step(self, order, start, end):
        """Take the step of the mini-batch order[start:end]."""
        weights, allreduce = self.packed[0], self.allreduce
        allreduce.post_receives()
        for node in allreduce.nodes:
            allreduce.send(node, self.gradients.sum_node(node, order, start, end))
        number = self.settings.steps_before + start // self.m
        eta = self.rank_settings.eta_of(self.settings.eta, number, self.steps_per_epoch)
        self.slice_step.take(allreduce.reduced_slice(), end - start, eta, number + 1)
        allreduce.gather(weights[: self.layout.n_packed])
        if max_norm := self.settings.rules.max_norm:
            limit_norms(self.layout, weights, max_norm)
        self.layout.write_transposed(weights)

    def _check_weights(self):
        """Unless they are finite, go back to where they last were, and raise Diverged."""
        if self.guard is None or self.guard.check(self.done):
            return
        order = self.order[: self.done]
        self.done = self.guard.find_last_finite(self._run_steps, order, self.m, 1)
        raise Diverged(self.done)
