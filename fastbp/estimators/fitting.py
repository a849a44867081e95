"""One call of fit or partial_fit: its epochs, and what they leave behind.

Invariant: between two mini-batches only is it interrupted, or while it compiles or evaluates.
"""

import dataclasses
import functools
import time

import numpy as np

from fastbp.data.parameters import layer_views
from fastbp.kernels.costs import QUADRATIC
from fastbp.training import signals
from fastbp.training.compute import engine
from fastbp.training.compute.divergence import Diverged
from fastbp.training.compute.rules import StepSettings
from fastbp.training.compute.samples import Samples
from fastbp.training.epoch_data.new_data import NewData
from fastbp.training.epoch_data.prefetcher import EpochPrefetcher
from fastbp.training.monitoring import callbacks
from fastbp.training.monitoring.progress_bar import progress_bar

LEAST = np.finfo(np.float64).min


@dataclasses.dataclass
class TrainingState:
    """What goes on from one call to the next: generator, optimizer, figures.

    steps: of Adam; order: of the samples, as it was shuffled last; waited: epochs without
    improvement; eta: of learning_rate "adaptive", once it has been divided.
    """

    generator: np.random.RandomState
    moments: list = dataclasses.field(default_factory=list)
    steps: int = 0
    epoch: int = 0
    samples_seen: int = 0
    order: np.ndarray | None = None
    waited: int = 0
    eta: float | None = None
    best_loss: float = np.inf
    loss_curve: list = dataclasses.field(default_factory=list)
    validation_scores: list = dataclasses.field(default_factory=list)
    validation_loss_curve: list = dataclasses.field(default_factory=list)

    @functools.cached_property
    def dropout_key(self):
        """Return what masks of dropout follow from, drawn when first needed."""
        return int(self.generator.randint(2**32, dtype=np.uint32))

    @functools.cached_property
    def deform_key(self):
        """Return what deformations of images follow from, drawn when first needed."""
        return int(self.generator.randint(2**32, dtype=np.uint32))

    @functools.cached_property
    def split_key(self):
        """Return what the choice of held-out samples follows from, drawn when first needed."""
        return int(self.generator.randint(2**32, dtype=np.uint32))


class Fitting:
    """One call of fit or partial_fit.

    settings: FitSettings; plan, params: what is trained, in place; state: TrainingState, goes on;
    data: TrainingData; measure(params): (loss, score) on validation data, or None; labels: of the
    images, for deformations, or None.
    """

    def __init__(self, settings, plan, params, state, data, measure, labels=None):
        self.settings, self.plan, self.params, self.state = settings, plan, params, state
        self.data, self.labels, self.measure = data, labels, measure
        self.samples = self._samples_of(data.X)
        self.n, self.m = len(self.samples), min(settings.batch_size, len(self.samples))
        mean_weight = data.sample_weight.mean()
        is_weighted = data.sample_weight.min() != data.sample_weight.max()
        self.sample_weight = data.sample_weight / mean_weight if is_weighted else None
        self.batch_weight = float(self.m * mean_weight)
        self.rule_settings = settings.rule_settings(len(plan.sizes), params.dtype)
        self.stops_by_score = settings.early_stopping and measure is not None
        self.best_params, self.best_validation = params.copy(), (-np.inf, -np.inf)
        self.epochs_done, self.finished = 0, False
        if len(state.moments) != len(self.rule_settings.moments):
            state.moments = [np.zeros_like(params) for _ in self.rule_settings.moments]
            state.steps = 0
        if state.order is None or len(state.order) != self.n or not settings.shuffle:
            state.order = np.arange(self.n)

    def _samples_of(self, X):
        samples = Samples(X, self.data.Y)
        samples.checked = True  # validate_data has looked for NaN and infinity
        return samples

    def run(self, epochs, first_epoch=0):
        """Train for so many epochs, or until there is no improvement, or a callback ends it.

        first_epoch: where the schedule of the learning rate begins. Raises FloatingPointError if
        the weights diverge; params are the last finite ones.
        """
        self.first_epoch, self.prefetcher = first_epoch, self._begin_deforming(epochs)
        bar = progress_bar(self.settings.progress, epochs * self.n)
        with signals.DeferredSignals() as self.deferred, bar as self.bar:
            if self.stops_by_score and self.state.epoch:  # the first weights are to be beaten, too
                self.best_validation = _rank(*self._measure())
            while self.epochs_done < epochs and not self.finished:
                self._run_epoch(epochs)
            if self.prefetcher is not None:
                self.prefetcher.wait()
            if self.stops_by_score:
                self.params[...] = self.best_params

    def _begin_deforming(self, epochs):
        """Return what deforms the images of each epoch on a thread, or None."""
        settings, state = self.settings, self.state
        if settings.deformation is None:
            return None
        new_data = NewData(
            None, settings.deformation, state.deform_key, state.epoch, epochs, settings.n_threads
        )

        def samples(epoch):
            return self._samples_of(new_data.deform(self.data.X, self.labels, epoch))

        return EpochPrefetcher(samples, state.epoch + epochs)

    def _run_epoch(self, epochs):
        state, start = self.state, time.perf_counter()
        self.eta = self.settings.rate.of_epoch(state, self.first_epoch + self.epochs_done)
        if self.prefetcher is not None:
            self.samples = self.prefetcher.result(state.epoch)
            threads, dtype = self.settings.n_threads, self.params.dtype
            if not engine.uses_all_processors(self.plan, self.m, dtype, threads):
                self.prefetcher.prefetch(state.epoch + 1)
        if self.settings.shuffle:  # as sklearn.utils.shuffle does: same numbers, same order
            permutation = np.arange(self.n)
            state.generator.shuffle(permutation)
            state.order = state.order[permutation]
        self.bar.set_description(f"Epoch {self.epochs_done}", refresh=False)
        loss = self._train()
        state.epoch, state.samples_seen = state.epoch + 1, state.samples_seen + self.n
        state.loss_curve.append(loss)
        figures = {"epoch": self.epochs_done, "epochs": epochs, "eta": self.eta}
        figures |= {"samples": self.n, "loss": loss, **self._validate()}
        figures["seconds"] = time.perf_counter() - start
        self.epochs_done += 1
        self._report(figures)
        self._judge(figures)

    def _train(self):
        """Train for an epoch; return its loss, see NetworkClassifier."""
        state = self.state
        key = state.dropout_key if self.rule_settings.dropout else 0  # else nothing is drawn
        rules = self.rule_settings.for_epoch(self.batch_weight, state.epoch, key)
        penalty = 0.0
        if rules.l2:
            layers = layer_views(self.params, self.plan)
            penalty = 0.5 * rules.l2 * sum(float(np.vdot(w, w)) for w, _ in layers)
        done, total = 0, 0.0
        while done < self.n:  # more than once only if a signal comes
            descent = self._descend(state.order[done:], rules, done)
            done, total = done + descent.done, total + self._loss_of(descent)
            state.steps += -(-descent.done // self.m)
            self.deferred.deliver()
        return total / self.n + penalty

    def _descend(self, order, rules, done):
        """Train on the rows `order`, or until a signal comes; return the Descent."""
        settings = StepSettings(self.m, self.eta, rules, self.state.moments, self.state.steps)
        try:
            with engine.Descent(
                self.params, self.plan, self.samples, order, settings, self.settings.n_threads,
                sample_weight=self.sample_weight, sums_loss=True,
            ) as descent:  # fmt: skip
                for count in descent:
                    self.bar.update(count)
                    if self.deferred.pending:
                        break
        except Diverged as error:
            raise self._divergence(done + error.before) from None
        return descent

    def _loss_of(self, descent):
        """Return its loss, where a probability of 0 counts as the smallest number above 0.

        That is the whole cost of the sample then, times its weight.
        """
        loss = descent.loss
        if loss == np.inf and self.plan.cost != QUADRATIC:
            losses, order = descent.losses[: descent.done], descent.order[: descent.done]
            weights = 1.0 if self.sample_weight is None else self.sample_weight[order]
            most = -np.log(np.finfo(self.params.dtype).tiny) * weights
            loss = float(np.where(losses == np.inf, most, losses).sum())
        return loss

    def _divergence(self, before):
        return FloatingPointError(
            f"the weights became infinite or NaN in epoch {self.epochs_done}, mini-batch "
            f"{before // self.m}: {self._likely_cause()}"
        )

    def _likely_cause(self):
        alpha, rate = self.settings.alpha, self.settings.rate.first
        if min(rate, 1) * alpha > self.batch_weight:  # weight decay is more than the weights
            return (
                f"alpha={alpha} may be too large for mini-batches of the weight "
                f"{self.batch_weight:.6g}, the sum of sample_weight"
            )
        if self.eta > rate:
            return (
                f"the learning rate {self.eta:.6g} may be too large, which learning_rate makes of "
                f"learning_rate_init={rate}"
            )
        return (
            f"learning_rate_init={rate} may be too large, or the inputs, or the targets of a "
            f"regression, are; scale them, e.g. by a StandardScaler"
        )

    def _validate(self):
        """Return the validation figures by name."""
        if self.measure is None:
            return {}
        loss, score = self._measure()
        self.state.validation_loss_curve.append(loss)
        self.state.validation_scores.append(score)
        return {"validation_loss": loss, "validation_score": score}

    def _measure(self):
        """Return (loss, score) on the validation data."""
        with signals.allow_signals():
            return self.measure(self.params)

    def _report(self, figures):
        """Print a line, and call the callbacks: one of them may end the training."""
        if self.settings.verbose:
            line = ", ".join(
                f"{name.replace('_', ' ')} {figures[name]:.6g}"
                for name in ("loss", "validation_loss", "validation_score")
                if name in figures
            )
            self.bar.write(f"Epoch {figures['epoch']}: {line}")
        if self.settings.callbacks:
            self.bar.clear()
            with self.deferred.blocked():
                self.finished = callbacks.call(self.settings.callbacks, figures)

    def _judge(self, figures):
        """Keep the best weights; end the training where nothing has improved for too long.

        As in scikit-learn: each epoch that does not beat the best by tol counts, and one epoch more
        than n_iter_no_change of them in a row end it, or divide an adaptive learning rate.
        """
        state, tol, loss = self.state, self.settings.tol, figures["loss"]
        improves = loss <= state.best_loss - tol
        state.best_loss = min(state.best_loss, loss)
        if self.measure is not None:
            score = figures["validation_score"]
            if self.stops_by_score:
                improves = score >= self.best_validation[0] + tol
            validation = _rank(figures["validation_loss"], score)
            if validation > self.best_validation:
                self.best_validation = validation
                self.best_params[...] = self.params
        state.waited = 0 if improves else state.waited + 1
        if state.waited > self.settings.patience:
            self._end_or_divide()

    def _end_or_divide(self):
        """End the training, or divide an adaptive learning rate."""
        state, what = self.state, "validation score" if self.stops_by_score else "loss"
        goes_on = self.settings.rate.divide(state, self.eta)
        self.finished |= not goes_on
        if self.settings.verbose:
            then = f"the learning rate is now {state.eta:.6g}" if goes_on else "done"
            self.bar.write(
                f"No improvement of the {what} by tol={self.settings.tol} in {state.waited} "
                f"epochs: {then}"
            )
        if goes_on:
            state.waited = 0


def _rank(loss, score):
    """Return what is greater for better weights: the score; of equal ones the smaller loss.

    NaN is the least, but more than that of no epoch.
    """
    return tuple(np.nan_to_num((score, -loss), nan=LEAST))
