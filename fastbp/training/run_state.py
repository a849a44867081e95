"""What a run is between two mini-batches, but for its weights; to a checkpoint and back.

Invariant: a state that is read is checked as a whole before any of it is used.
"""

import dataclasses

import numpy as np

from fastbp.data import arguments, parameters
from fastbp.training import checkpoint
from fastbp.training.epoch_data.orders import BlockOrder, BookOrder

# The names that fields have in a file, where they differ.
IN_FILES = {"epoch_started": "begun", "samples_done": "position", "last_monitored": "watched"}


@dataclasses.dataclass
class RunState:
    """How far a run has come, and what it has printed and measured.

    order: that of the samples in this epoch; epoch: how many are complete; epoch_started: whether
    the next one has its order; samples_done: of the next one; last_monitored: after so many samples
    of it; finished: by early stopping; moments: flat vectors by name, see RuleSettings.moments;
    dropout_key: of the masks; deform_seed: of deformed images, or None.
    """

    order: BookOrder | BlockOrder
    eta: float
    moments: dict = dataclasses.field(default_factory=dict)
    epoch: int = 0
    samples_done: int = 0
    last_monitored: int = 0
    epoch_started: bool = False
    finished: bool = False
    dropout_key: int = 0
    deform_seed: int | None = None
    lines: list = dataclasses.field(default_factory=list)
    history: dict = dataclasses.field(default_factory=dict)

    def start_next_epoch(self):
        """Note that an epoch is complete."""
        self.epoch, self.samples_done, self.last_monitored = self.epoch + 1, 0, 0
        self.epoch_started = False

    def to_file(self):
        """Return (a dictionary for JSON, arrays by name)."""
        about = {
            IN_FILES.get(name, name): getattr(self, name)
            for name in ("epoch", "epoch_started", "samples_done", "last_monitored", "eta",
                         "finished", "lines", "history")
        }  # fmt: skip
        about |= {"key": self.dropout_key, "deform_seed": self.deform_seed}
        return about, {"order": self.order.to_array(), **self.moments}

    def from_file(self, about, arrays, net, epochs, check_finite):
        """Return the RunState that a file holds. Raises ValueError or TypeError."""
        n, order = len(self.order), self.order.from_array(arrays["order"])
        counts = [arguments.check_count(k, about[k], 0) for k in ("epoch", "position", "watched")]
        epoch, samples_done, last_monitored = counts
        if not last_monitored <= samples_done <= n:
            raise ValueError(f"it stands at sample {samples_done} of {n}")
        if epoch > epochs or (samples_done and epoch == epochs):
            raise ValueError(f"{epoch} epochs are behind it, epochs is {epochs}: the number in all")
        if samples_done and not about["begun"]:
            raise ValueError(f"it stands at sample {samples_done} of an epoch not begun")
        lines = list(about["lines"])
        for line in lines:
            if not line.replace("\n", "").replace("\t", "").isprintable():
                raise ValueError("its lines are not what is printed")
        moments = {
            name: checked_vector(arrays[name], name, net, check_finite) for name in self.moments
        }
        return dataclasses.replace(
            self, order=order, eta=arguments.check_rate("eta", about["eta"], net.dtype),
            moments=moments, epoch=epoch, samples_done=samples_done, last_monitored=last_monitored,
            epoch_started=bool(about["begun"]), finished=bool(about["finished"]),
            dropout_key=arguments.check_count("key", about.get("key", 0), 0), lines=lines,
            history={name: list(about["history"][name]) for name in self.history},
        )  # fmt: skip


def checked_vector(vector, name, net, check_finite):
    """Return a copy of a flat vector of a checkpoint that fits the network, or raise ValueError."""
    if vector.shape != (net._plan.n_params,) or vector.dtype != net.dtype:
        raise ValueError(f"its {name} do not fit the network")
    if check_finite and not np.isfinite(vector).all():
        raise ValueError(f"its {name} are not finite")
    return vector.copy()


# ------------------------------------------------ weights


def weights_from_file(arrays, net, any_type, check_finite):
    """Return (weights, biases) of a checkpoint that fit the network, or raise ValueError.

    any_type: whether they may be of another type than the network's, as overridden methods may make
    them.
    """
    layers = range(len(net._plan.sizes) - 1)
    weights = [arrays[f"weights_{l}"] for l in layers]
    biases = [arrays[f"biases_{l}"] for l in layers]
    parameters.check_layers(weights, biases, net._plan)
    if not any_type and any(array.dtype != net.dtype for array in weights + biases):
        raise ValueError(f"its weights are not of {net.dtype}")
    if check_finite and not parameters.all_finite(weights, biases, dtype=net.dtype):
        raise ValueError("its weights are not finite")
    return weights, biases


def write(checkpointer, config, state, net, extra):
    """Write a checkpoint. extra: (a dictionary for JSON, arrays by name) of the monitor."""
    random_about, arrays = checkpoint.random_states()
    about, more = state.to_file()
    extra_about, extra_arrays = extra
    about |= random_about | extra_about
    layers = parameters.check_layers(net.weights, net.biases, net._plan)
    arrays |= more | extra_arrays | parameters.by_name(*layers)
    checkpointer.write(config, about, arrays)
