"""One call of SGD: its epochs in their order, and everything that may end or outlast it.

Law: between two mini-batches a run can say all that it is (see _state), and only there, or while
it compiles or evaluates, is it interrupted. What it prints it remembers, so that a run that was
resumed has printed the same in the end as one that never stopped.
"""

import copy
import random
import time
import warnings

import numpy as np

from fastbp.data import arguments, numeric_arrays, parameters
from fastbp.training import checkpoint, engine, signals
from fastbp.training.progress_bar import progress_bar

LOOK_SECONDS = 0.1  # how often the general path looks at the weights


class Run:
    """What both Networks' SGD do. A subclass reads the data, and says what an epoch ends with.

    It sets samples (engine.Samples) or, on the general path, pairs; n, how many; callers_list, the
    book's list, shuffled in place, or None; sets, (X, Y) by the name of an argument.
    """

    def __init__(self, net, epochs, m, eta, on_divergence, path, every, resume):
        self.net = net
        self.epochs = arguments.check_count("epochs", epochs, 0)
        self.m = arguments.check_count("mini_batch_size", m, 1)
        self.eta = self.first_eta = arguments.check_rate("eta", eta, net.dtype)
        on_divergence = arguments.check_choice("on_divergence", on_divergence, "stop", "continue")
        self.stops = on_divergence == "stop"
        self.keeper = checkpoint.Keeper(path, every, resume)
        self.samples = self.pairs = self.callers_list = self.velocity = None
        self.general = self.finished = False
        self.begun = False  # the next epoch has its order, and may have samples behind it
        self.epoch = self.position = 0  # epochs, and samples of the next one, that are behind it
        self.watched = 0  # the position at which it was last monitored
        self.lines, self.history, self.sets = [], {}, {}
        self.rewritten = False  # the caller's list is another one than at the beginning

    # ------------------------------------------------ what a subclass says

    def facts(self):
        """Return what must be the same when the run is resumed: a dictionary for JSON."""
        sets = {name: checkpoint.fingerprint(*both) for name, both in self.sets.items()}
        named = getattr(self.net, "_facts", {})  # what the command line knows beyond it
        named = {name: value for name, value in named.items() if value is not None}
        return {
            "network": f"{self.net._original['module'].__name__}.{type(self.net).__name__}",
            "sizes": list(self.net._plan.sizes), **named,
            "dtype": self.net.dtype.name, "eta": self.first_eta, "mini_batch_size": self.m,
            "samples": self.n, **sets,
        }  # fmt: skip

    draws = False  # begin() draws on NumPy's generator

    def begin(self):
        """Draw what a new run draws once."""

    def begin_epoch(self):
        """Set what this epoch is trained with."""

    def rules(self):
        """Return the keyword arguments of engine.train beyond eta."""
        return {}

    def stretch(self):
        """Return after how many samples it is monitored."""
        return self.n

    def step(self, batch):
        """Take a step on the general path, with a list of pairs."""
        self.net.update_mini_batch(batch, self.eta)

    def watch(self):
        """Return whatever record() wants to know; may be interrupted."""

    def record(self, values, midway):
        """Note what was watched; at the end of an epoch, print it, and see if it is the last."""

    def extra_state(self):
        """Return (what else a subclass knows, for JSON; arrays by name)."""
        return {}, {}

    def set_extra_state(self, about, content):
        """Undo extra_state."""

    # ------------------------------------------------ the run

    def go(self, progress):
        """Run all epochs that are left."""
        net, self.order = self.net, np.arange(self.n)
        self.pairs_given = None if self.callers_list is None else list(self.callers_list)
        if self.stops:
            parameters.check_finite_parameters(net)
        else:  # nobody asks later where NaN comes from
            for name, both in self.sets.items():
                numeric_arrays.check_finite_samples(*both, net.dtype, name)
        undo = self._undo()
        bar = progress_bar(progress, self.epochs * self.n)
        net._stops, before = False, net._stops  # this looks at the weights itself, now and then
        with signals.Held() as self.held, bar as self.bar:
            try:
                self._facts = self.facts() if self.keeper.path is not None else {}
                found = self.keeper.read(self._facts)
                if found:
                    self._resume(*found)
                else:
                    self.begin()
                while self.epoch < self.epochs and not self.finished:
                    self._one_epoch()
                self._write()
            except (engine.NotFinite, engine.Diverged) as error:
                self._explain(error, undo)
            except BaseException:
                if self.held.delivered:
                    self._write_or_warn()
                raise
            finally:
                net._stops = before

    def write(self, line=""):
        """Print a line, and remember it."""
        self.lines.append(line)
        self.bar.write(line)

    def _one_epoch(self):
        if not self.begun:
            with self.held.closed():
                self.begin_epoch()
            engine.shuffle(self.order)
            self._hand_out()
            self.begun = True
        self.bar.set_description(f"Epoch {self.epoch}", refresh=False)
        self._look(now=True)
        part = self._train_generally if self.general else self._train
        while self.watched < self.n:
            end = min(self.n, self.watched + self.stretch())
            while self.position < end:
                part(end)
            self._look(now=True)
            values = self._watched()
            self.watched = end
            with self.held.closed():
                self.record(values, midway=end < self.n)
        self.epoch, self.position, self.watched, self.begun = self.epoch + 1, 0, 0, False
        self._boundary(self.epoch)

    def _watched(self):
        """Return watch(); if it is interrupted, what it has drawn is undone: it was not there."""
        undo_draws = _drawing() if self.keeper.path else lambda: None
        try:
            with signals.welcome():
                return self.watch()
        except BaseException:
            if self.held.delivered:
                undo_draws()
            raise

    def _train(self, end):
        """Train on the kernels, up to a sample, or until something is to be done in between."""
        began, how = self.position, dict(watch=self.stops, **self.rules())
        try:
            part = self.order[began:end]
            self.net._train(self.samples, part, self.m, self.eta, self._count, **how)
        except engine.Diverged as error:
            self.position = began + error.before
            raise
        self._boundary()

    def _count(self, samples):
        self.position += samples
        self.bar.update(samples)
        return self.held.pending or self.keeper.due()

    def _train_generally(self, end):
        """Take one step by the book's own structure."""
        batch = self.order[self.position : min(self.position + self.m, end)]
        self._look()
        with self.held.closed():
            self.step([self.pairs[i] for i in batch.tolist()])
        if self._count(len(batch)):
            self._look(now=True)
            self._boundary()

    def _boundary(self, epochs=None):
        """Write what is due, and hand on the signals that have come."""
        if self.keeper.due(epochs):
            self._write_or_warn()
        self.held.deliver()

    def _write_or_warn(self):
        """Write a checkpoint; that it can't be written need not end hours of work."""
        try:
            self._write()
        except OSError as error:
            warnings.warn(f"no checkpoint was written: {error}", RuntimeWarning, stacklevel=2)

    def _hand_out(self):
        """Shuffle the caller's list, as the book does."""
        if self.callers_list is not None:
            self.callers_list[:] = [self.pairs_given[i] for i in self.order.tolist()]

    def handed_out(self):
        """Tell whether the caller's list is still as it was handed out."""
        pairs, theirs = self.pairs_given, self.callers_list
        return len(pairs) == len(theirs) and all(
            pairs[i] is mine for i, mine in zip(self.order.tolist(), theirs)
        )

    # ------------------------------------------------ what is not finite

    _sound = None  # (when, at which position, weights, biases)

    def _look(self, now=False):
        """On the general path: keep the weights while they are finite, from time to time."""
        net, moment = self.net, time.monotonic()
        if not (self.general and self.stops):
            return
        if self._sound and not now and moment - self._sound[0] < LOOK_SECONDS:
            return
        if self._sound and not parameters.all_finite(net.weights, net.biases):
            _, position, net.weights, net.biases = self._sound
            self._refuse(f"between the mini-batches {position // self.m} and")
        copies = copy.deepcopy((net.weights, net.biases))  # whatever someone has made of them
        self._sound = moment, self.position, *copies

    def _refuse(self, where):
        """Raise the error that says where the weights ceased to be finite."""
        raise FloatingPointError(
            f"the weights became infinite or NaN in epoch {self.epoch}, {where} "
            f"{self.position // self.m}: eta {self.eta} may be too large. The network keeps the "
            f"last finite weights; on_divergence='continue' goes on, as the book's code does"
        ) from None

    def _undo(self):
        """Return a function that undoes the whole run: weights, random states, the list."""
        standing, undo_draws = self.net._standing(), _drawing(self.draws)

        def undo():
            self.net._stand(standing)
            undo_draws()
            if self.callers_list is not None:
                self.callers_list[:] = self.pairs_given

        return undo

    def _explain(self, error, undo):
        """Raise what is wrong: the data, as if nothing had happened, or else the weights."""
        for name, both in self.sets.items():
            try:
                numeric_arrays.check_finite_samples(*both, self.net.dtype, name)
            except ValueError:
                undo()
                raise
        if isinstance(error, engine.NotFinite):
            raise ValueError("the data hold NaN or infinity, expected finite numbers") from None
        self._refuse("mini-batch")

    # ------------------------------------------------ stop and go on

    def fitting(self, vector, name):
        """Return a flat vector of a checkpoint, or raise ValueError."""
        net = self.net
        if vector.shape != (net._plan.n_params,) or vector.dtype != net.dtype:
            raise ValueError(f"its {name} do not fit the network")
        if self.stops and not np.isfinite(vector).all():
            raise ValueError(f"its {name} are not finite")
        return vector

    def _write(self):
        """Write a checkpoint, if one is asked for."""
        if self.keeper.path is None:
            return
        if self.stops and not parameters.all_finite(self.net.weights, self.net.biases):
            return  # somebody's own step, half done
        if self.rewritten:
            raise ValueError(
                "training_data was changed during SGD: no checkpoint of such a run could be "
                "resumed; leave checkpoint out"
            )
        random_about, content = checkpoint.random_states()
        extra, more = self.extra_state()
        content |= more | {"order": self.order}
        weights, biases = parameters.check_layers(self.net.weights, self.net.biases, self.net._plan)
        content |= {f"weights_{l}": w for l, w in enumerate(weights)}
        content |= {f"biases_{l}": b for l, b in enumerate(biases)}
        if self.velocity is not None:
            content["velocity"] = self.velocity
        state = {
            "epoch": self.epoch, "begun": self.begun, "position": self.position,
            "watched": self.watched, "eta": self.eta, "finished": self.finished,
            "lines": self.lines, "history": self.history, **random_about, **extra,
        }  # fmt: skip
        self.keeper.write(self._facts, state, content)

    def _resume(self, state, content):
        """Be what another run was when it wrote this."""
        net, n = self.net, self.n
        with checkpoint.as_errors_of(self.keeper.path):
            layers = range(len(net._plan.sizes) - 1)
            weights = [content[f"weights_{l}"] for l in layers]
            biases = [content[f"biases_{l}"] for l in layers]
            parameters.check_layers(weights, biases, net._plan)
            fit = all(array.dtype == net.dtype for array in weights + biases)
            if not fit and not self.general:  # else they are somebody's own
                raise ValueError(f"its weights are not of {net.dtype}")
            if self.stops and not parameters.all_finite(weights, biases, dtype=net.dtype):
                raise ValueError("its weights are not finite")
            order = content["order"]
            if order.dtype != np.int64 or not np.array_equal(np.sort(order), np.arange(n)):
                raise ValueError(f"its order is not one of {n} samples")
            counts = [
                arguments.check_count(k, state[k], 0) for k in ("epoch", "position", "watched")
            ]
            if not counts[2] <= counts[1] <= n:
                raise ValueError(f"it stands at sample {counts[1]} of {n}")
            self.epoch, self.position, self.watched = counts
            if self.epoch > self.epochs or (self.position and self.epoch == self.epochs):
                raise ValueError(
                    f"{self.epoch} epochs are behind it, epochs is {self.epochs}: the number in all"
                )
            self.begun = bool(state["begun"])
            if self.position and not self.begun:
                raise ValueError(f"it stands at sample {self.position} of an epoch not begun")
            self.eta = arguments.check_rate("eta", state["eta"], net.dtype)
            self.finished = bool(state["finished"])
            lines = list(state["lines"])
            for line in lines:
                if not line.replace("\n", "").replace("\t", "").isprintable():
                    raise ValueError("its lines are not what is printed")
            history = {name: list(state["history"][name]) for name in self.history}
            if self.velocity is not None:
                self.velocity = self.fitting(content["velocity"], "velocity").copy()
            self.set_extra_state(state, content)
            checkpoint.set_random_states(state, content)
        self.order = order.copy()
        for name, values in history.items():
            self.history[name][:] = values
        if fit:
            net._publish(parameters.flatten(weights, biases, net._plan, net.dtype))
        else:
            net.weights, net.biases = weights, biases
        if self.begun or self.epoch:
            self._hand_out()
        self.bar.update(self.epoch * n + self.position)
        for line in lines:
            self.write(line)


def _drawing(with_numpy=True):
    """Return a function that puts the global generators back to where they are now."""
    state, state_2 = random.getstate(), checkpoint.numpy_state() if with_numpy else None

    def undo_draws():
        random.setstate(state)
        if state_2 is not None:
            np.random.set_state(state_2)

    return undo_draws
