"""One call of SGD: its epochs in their order, and everything that may end or outlast it.

Invariants: a run is interrupted between two mini-batches only, or while it compiles or evaluates;
between two mini-batches a RunState and the weights are its complete state. What it prints it keeps,
so that a run that was resumed has printed the same in the end as one that never stopped; where it
is not verbose, too.
"""

import random
import time
import warnings

import numpy as np

from fastbp.data import numeric_arrays, parameters
from fastbp.data.file_rows import ReadError
from fastbp.training import checkpoint, group, run_state, signals
from fastbp.training.compute.divergence import Diverged, ReferenceFiniteGuard
from fastbp.training.compute.rules import StepSettings
from fastbp.training.compute.samples import NonFiniteInput
from fastbp.training.monitoring import callbacks
from fastbp.training.monitoring.progress_bar import progress_bar
from fastbp.training.run_state import RunState

WINDOW_KEY_STRIDE = 0x85EBCA6B  # between the keys of the masks of dropout of two windows


class Run:
    """One call of SGD.

    net: the network; settings: RunSettings; training_set: TrainingSet; monitor: see monitors.py;
    rule_settings: RuleSettings; step(pairs, eta, rules, moments, steps): a step of the reference
    path; sets: (X, Y) by the name of an argument; history: lists of values by name; config: what
    must be the same when the run is resumed, a dictionary for JSON; rereads_list: whether the
    caller's list is read again in each epoch, since overridden methods may change it;
    on_new_data(): called when the training set has the data of another epoch.
    """

    def __init__(
        self, net, settings, training_set, monitor, rule_settings, *, step, sets, history, config,
        rereads_list=False, on_new_data=lambda: None,
    ):  # fmt: skip
        self.net, self.settings, self.training_set = net, settings, training_set
        self.callers_list = training_set.callers_list
        self.monitor, self.rule_settings = monitor, rule_settings
        self.step, self.sets = step, sets
        self.config, self.rereads_list, self.on_new_data = config, rereads_list, on_new_data
        self.group = group.current()
        moments = [np.zeros(net._plan.n_params, net.dtype) for _ in rule_settings.moments]
        moments = dict(zip(rule_settings.moments, moments))
        self.state = RunState(training_set.new_order(), settings.eta, moments, history=history)
        if training_set.new_data is not None:
            self.state.deform_seed = training_set.new_data.seed
        self.reference_guard = None
        if training_set.reference and settings.stops_on_divergence:
            self.reference_guard = ReferenceFiniteGuard(net)

    def train(self, checkpointer, progress):
        """Run all epochs that are left."""
        net, settings, self.checkpointer = self.net, self.settings, checkpointer
        self.callers_list.note()
        if settings.stops_on_divergence:
            parameters.check_finite_parameters(net)
        else:  # nothing looks for NaN later
            self._check_finite_sets()
        restore = self._snapshot()
        bar = progress_bar(progress, settings.epochs * self.training_set.n)
        deferred = signals.DeferredSignals()
        with net._unchecked(), self.training_set, deferred as self.signals, bar as self.bar:
            try:
                self._start()
                while self.state.epoch < settings.epochs and not self.state.finished:
                    self._run_epoch()
                self._write_checkpoint()
                self.training_set.wait_for_prefetch()
            except (NonFiniteInput, Diverged) as error:
                self._raise_cause(error, restore)
            except ReadError:
                if self.state.epoch or self.state.epoch_started:  # not before a checkpoint is read
                    self._write_checkpoint_or_warn()
                raise
            except BaseException as error:
                self.group.await_failures(error)  # that of others would end the job meanwhile
                if self.signals.delivered:
                    self._write_checkpoint_or_warn()
                raise

    def write(self, line):
        """Keep a line, and print it if the run is verbose."""
        self.state.lines.append(line)
        if self.settings.verbose:
            self.bar.write(line)

    def _start(self):
        """Begin, or go on where a checkpoint stands."""
        self.group.note_epoch_size(self.training_set.n)
        if self.checkpointer.path is not None or self.group.size > 1:
            self.config = self._whole_config()
            self.group.check_same(self.config)
            self.config = self.config | self.group.config | self.checkpointer.config
        found = self.group.from_root(self._read_checkpoint)
        if found:
            self._resume(*found)
        elif self.rule_settings.dropout:
            self.state.dropout_key = self.group.from_root(_draw_key)

    def _read_checkpoint(self):
        """Return what the checkpoint holds, or None if there is none."""
        return self.checkpointer.read(self._config_of(self.checkpointer.peek().epoch_started))

    def _run_epoch(self):
        state, start, values = self.state, time.perf_counter(), None
        if not state.epoch_started:
            self._start_epoch()
        self.training_set.prefetch(state.epoch + 1)
        eta = state.eta  # early stopping may halve it when the epoch is recorded
        n = self.training_set.n  # an overridden method may have changed it
        self.bar.set_description(f"Epoch {state.epoch}", refresh=False)
        self._check_weights(now=True)
        interval = self.monitor.interval(self.settings.mini_batch_size) or n
        while state.last_monitored < n:
            end = min(n, state.last_monitored + interval)
            while state.samples_done < end:
                self._train_until(end)
            self._check_weights(now=True)
            values = self._measure(midway=end < n)
            state.last_monitored = end
            with self.signals.blocked():
                self.monitor.record(values, state, self.write, midway=end < n)
        figures = {
            "epoch": state.epoch, "epochs": self.settings.epochs, "eta": eta, "samples": n,
            "seconds": time.perf_counter() - start, **self.monitor.figures(values),
        }  # fmt: skip
        state.start_next_epoch()
        self._call_back(figures)
        self._write_checkpoint_if_due(state.epoch)

    def _start_epoch(self):
        state = self.state
        if self.training_set.start_epoch(state.epoch):
            self._note_data()
            self.on_new_data()
            if self.group.size > 1 and not self.training_set.is_fixed:
                name, fingerprint = self.training_set.name, self.training_set.fingerprint()
                self.group.check_same({name: fingerprint})
        with self.signals.blocked():  # overridden methods and schedules
            if self.rereads_list and state.epoch:
                if self.training_set.read_again(state.order):
                    state.order = self.training_set.new_order()
                self._note_data()
            state.eta, state.order = self.group.from_root(self._draw_epoch)
        self.callers_list.shuffle(state.order)
        state.epoch_started = True

    def _note_data(self):
        """Note the data of the epoch that begins, in which an error would be looked for."""
        if "training_data" in self.sets:
            self.sets["training_data"] = self.training_set.given

    def _draw_epoch(self):
        """Return the learning rate and the order of samples of the epoch that begins."""
        state = self.state
        eta = self.settings.rates.of_epoch(state.epoch, state.eta)
        state.order.shuffle()
        return eta, state.order

    def _call_back(self, figures):
        """Call the callbacks after an epoch: one may end the run, or change the weights."""
        with self.signals.blocked():  # else a callback would see a part of an epoch, or none of it
            ends, params = self.group.from_root(lambda: self._call_callbacks(figures))
        if params is not None and self.group.rank:
            self.net._bind_parameters(params)
        if ends:
            self.state.finished = True
            self.write("A callback returned True: done")

    def _call_callbacks(self, figures):
        """Return (whether a callback ends the run, the weights for the other ranks or None)."""
        if not self.settings.callbacks:
            return False, None
        self.bar.clear()  # what they print is not to stand behind it
        ends = callbacks.call(self.settings.callbacks, figures)
        if self.settings.stops_on_divergence:
            parameters.check_finite_parameters(self.net)
        return ends, self.net._parameters() if self.group.size > 1 else None

    def _train_until(self, end):
        """Train up to sample `end`, or until something is to be done in between."""
        if self.training_set.reference:
            self._train_by_reference(end)
            self._check_weights(now=self._is_interrupted())
        else:
            self._train_compiled(end)
        self._write_checkpoint_if_due()

    def _train_compiled(self, end):
        """Train on the kernels."""
        state, start, descent = self.state, self.state.samples_done, None
        samples, order, window = self.training_set.part(state.order, start, end)
        settings = StepSettings(
            self._batch_size(), state.eta, self._step_rules(window), list(state.moments.values()),
            self._steps(), self.settings.stops_on_divergence,
        )  # fmt: skip
        try:
            with self.net._descent(samples, order, settings) as descent:
                for count in descent:
                    if self._note_progress(count):
                        break
        finally:
            if descent is not None:
                state.samples_done = start + descent.done

    def _train_by_reference(self, end):
        """Take steps by the network's own methods."""
        state, pairs = self.state, self.training_set.pairs
        while state.samples_done < end:
            start = state.samples_done
            batch = state.order.samples[start : min(start + self._batch_size(), end)].tolist()
            self._check_weights()
            with self.signals.blocked():
                how = self._step_rules(), list(state.moments.values()), self._steps()
                self.step([pairs[i] for i in batch], state.eta, *how)
            state.samples_done += len(batch)
            if self._note_progress(len(batch)):
                break

    def _note_progress(self, count):
        """Show that `count` samples more are done; tell whether to pause at this mini-batch."""
        self.bar.update(count)
        return self._is_interrupted()

    def _is_interrupted(self):
        return self.group.any(bool(self.signals.pending or self.checkpointer.is_due()))

    def _steps(self):
        """Return how many steps have been taken since the run began."""
        state, m = self.state, self._batch_size()
        return state.epoch * -(-self.training_set.n // m) + -(-state.samples_done // m)

    def _batch_size(self):
        return self.settings.mini_batch_size

    def _step_rules(self, window=0):
        """Return the Rules of this epoch, and of a window, whose samples are numbered anew."""
        state = self.state
        if any(moment.size != self.net._plan.n_params for moment in state.moments.values()):
            raise ValueError("the network's sizes have changed during SGD: call SGD anew")
        key = state.dropout_key + window * WINDOW_KEY_STRIDE
        return self.rule_settings.for_epoch(self.training_set.n, state.epoch, key)

    def _measure(self, midway):
        """Return what the monitor measures; if it is interrupted, what it drew is undone."""
        restore_generators = _snapshot_generators() if self.checkpointer.path else lambda: None
        try:
            with signals.allow_signals():
                return self.group.from_root(lambda: self.monitor.measure(midway))
        except BaseException:
            if self.signals.delivered:
                restore_generators()
            raise

    # ------------------------------------------------ what is not finite

    def _check_weights(self, now=False):
        """On the reference path: raise Diverged if the weights are not finite, at times."""
        if self.reference_guard is None:
            return
        done, batch = self.state.samples_done, self._batch_size()
        try:
            self.reference_guard.check(done, now)
        except Diverged as error:
            self._raise_diverged(
                f"between the mini-batches {error.before // batch} and {done // batch}"
            )

    def _raise_diverged(self, where):
        """Raise the error that says where the weights ceased to be finite."""
        raise FloatingPointError(
            f"the weights became infinite or NaN in epoch {self.state.epoch}, {where}: "
            f"{self._likely_cause()} may be too large. The network keeps the last finite weights; "
            f"to go on, as the book's code does, set on_divergence to 'continue'"
        ) from None

    def _likely_cause(self):
        eta, rules = self.state.eta, self.rule_settings
        name = "lmbda" if rules.lmbda > rules.l1 else "l1"
        value = getattr(rules, name)
        # Weight decay is more than the weights, or than 1, also with a moderate eta.
        is_extreme = min(eta, 1) * value > self.training_set.n
        return f"{name} {value}" if is_extreme else f"eta {eta}"

    def _snapshot(self):
        """Return a function that undoes the whole run: weights, random states, the list."""
        net, restore_generators = self.net, _snapshot_generators(bool(self.rule_settings.dropout))
        before = net.weights, net.biases

        def restore():
            net.weights, net.biases = before
            restore_generators()
            self.callers_list.restore()

        return restore

    def _raise_cause(self, error, restore):
        """Raise ValueError for non-finite data, with all restored; else FloatingPointError."""
        try:
            self._check_finite_sets()
        except ValueError:
            restore()
            raise
        if isinstance(error, NonFiniteInput):
            raise ValueError("the data hold NaN or infinity, expected finite numbers") from None
        self._raise_diverged(f"mini-batch {self.state.samples_done // self._batch_size()}")

    def _check_finite_sets(self):
        """Raise ValueError for data that hold NaN or infinity."""
        for name, both in self.sets.items():
            name = self.training_set.name if name == "training_data" else name
            numeric_arrays.check_finite_samples(*both, self.net.dtype, name)

    # ------------------------------------------------ checkpoints

    def _whole_config(self):
        """Return what must be the same when the run is resumed."""
        net, sets = self.net, self.sets.items()
        return {
            "network": f"{net._original['module'].__name__}.{type(net).__name__}",
            "sizes": list(net._plan.sizes), "dtype": net.dtype.name, "eta": self.settings.eta,
            "mini_batch_size": self._batch_size(), "samples": self.training_set.n,
            "schedule": self.settings.rates.description, "deform": self.training_set.deformation,
            **self.training_set.config(self.state.order),  # which the next ones depend on
            **{name: checkpoint.fingerprint(*both) for name, both in sets},
            **self.config,
        }  # fmt: skip

    def _config_of(self, epoch_started):
        """Return the config; data that are new in each epoch count once this epoch has begun."""
        if self.training_set.is_fixed or "training_data" not in self.config:
            return self.config
        fingerprint = self.training_set.fingerprint() if epoch_started else None
        return self.config | {"training_data": fingerprint}

    def _write_checkpoint_if_due(self, epochs=None):
        """Write a checkpoint if it is time, and let pending signals through."""
        if self.checkpointer.is_due(epochs):
            self._write_checkpoint_or_warn()
        self.signals.deliver(self.group.agree_on_signals(self.signals))

    def _write_checkpoint_or_warn(self):
        """Write a checkpoint; that it can't be written need not end hours of work."""
        try:
            self._write_checkpoint()
        except OSError as error:
            warnings.warn(f"no checkpoint was written: {error}", RuntimeWarning, stacklevel=2)

    def _write_checkpoint(self):
        """Write a checkpoint, if one is asked for."""
        net = self.net
        if self.checkpointer.path is None:
            return
        if self.settings.stops_on_divergence and not parameters.all_finite(net.weights, net.biases):
            return  # the reference path looks at them only at times
        if self.callers_list.was_replaced:
            raise ValueError(
                "training_data was changed during SGD: no checkpoint of such a run could be "
                "resumed; leave checkpoint out"
            )
        config = self._config_of(self.state.epoch_started)
        run_state.write(self.checkpointer, config, self.state, net, self.monitor.to_file())

    def _resume(self, about, arrays):
        """Go on from what another run has written."""
        net, check = self.net, self.settings.stops_on_divergence
        with checkpoint.as_errors_of(self.checkpointer.path):
            any_type = self.training_set.reference
            weights, biases = run_state.weights_from_file(arrays, net, any_type, check)
            state = self.state.from_file(about, arrays, net, self.settings.epochs, check)

            def checked_vector(vector, name):
                return run_state.checked_vector(vector, name, net, check)

            self.monitor.from_file(about, arrays, checked_vector)
            checkpoint.set_random_states(about, arrays)
        lines, state.lines = state.lines, []
        for name, values in self.state.history.items():  # these lists are the network's, too
            values[:] = state.history[name]
        state.history, self.state = self.state.history, state
        if all(array.dtype == net.dtype for array in weights + biases):
            net._bind_parameters(parameters.flatten(weights, biases, net._plan, net.dtype))
        else:
            net.weights, net.biases = weights, biases
        if state.epoch_started or state.epoch:
            self.callers_list.shuffle(state.order)
        self.bar.update(state.epoch * self.training_set.n + state.samples_done)
        for line in lines:
            self.write(line)


def _draw_key():
    return int(np.random.randint(2**32, dtype=np.uint32))


def _snapshot_generators(with_numpy=True):
    """Return a function that puts the global generators back to where they are now."""
    state, numpy_state = random.getstate(), checkpoint.numpy_state() if with_numpy else None

    def restore_generators():
        random.setstate(state)
        if numpy_state is not None:
            np.random.set_state(numpy_state)

    return restore_generators
