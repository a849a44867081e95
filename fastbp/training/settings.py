"""The arguments of SGD, checked and together: settings of a run, and of chapter 3's rules."""

import dataclasses

import numpy as np

from fastbp.data import arguments, file_rows, messages
from fastbp.kernels.dropout import GOLDEN
from fastbp.training import group
from fastbp.training.compute.rules import Rules
from fastbp.training.monitoring.callbacks import check_callbacks
from fastbp.training.monitoring.learning_rates import LearningRates

MONITORS = "evaluation_cost", "evaluation_accuracy", "training_cost", "training_accuracy"


@dataclasses.dataclass
class RunSettings:
    """How long SGD trains, how it ends, and who hears of it; see network.Network.SGD.

    dtype: the network's; callbacks: the argument `callback`, after the check a tuple of callables;
    may_halve: whether there is a monitor that schedule "halve" may go by; rates: LearningRates.
    """

    dtype: np.dtype
    epochs: int
    mini_batch_size: int
    eta: float
    on_divergence: str = "stop"
    verbose: bool = True
    callbacks: object = None
    schedule: object = None
    warmup: int = 0
    may_halve: bool = False
    shuffle: str | None = None

    def __post_init__(self):
        self.epochs = arguments.check_count("epochs", self.epochs, 0)
        self.mini_batch_size = arguments.check_count("mini_batch_size", self.mini_batch_size, 1)
        self.eta = arguments.check_rate("eta", self.eta, self.dtype)
        arguments.check_choice("on_divergence", self.on_divergence, "stop", "continue")
        self.verbose = arguments.check_flag("verbose", self.verbose)
        self.callbacks = check_callbacks(self.callbacks)
        self.rates = LearningRates(
            self.dtype, self.eta, self.epochs, self.schedule, self.warmup, self.may_halve
        )
        if self.shuffle is not None:
            arguments.check_choice("shuffle", self.shuffle, "book", "blocks")

    def take_order_of(self, checkpointer, data):
        """With shuffle None, take the order of the run that is resumed, if data are a memory map.

        What is free of the memory, by which the order is chosen, is another amount each time, and
        on each machine: of several processes rank 0 chooses.
        """
        ranks = group.current()

        def choose():
            resumed = checkpointer.peek().shuffle
            if resumed is not None or ranks.size == 1 or not file_rows.holds_map(data):
                return resumed
            is_large = file_rows.streamed_rows(data[0], "auto", "training_data") is not None
            return "blocks" if is_large else "book"

        shuffle = ranks.from_root(choose)
        if self.shuffle is None and file_rows.holds_map(data):
            self.shuffle = shuffle

    @property
    def streams(self):
        """Return which data are read in windows: see datasets.training_arrays."""
        return {None: "auto", "book": None, "blocks": "always"}[self.shuffle]

    @property
    def stops_on_divergence(self):
        return self.on_divergence == "stop"


@dataclasses.dataclass
class RuleSettings:
    """What a step does beyond following the gradient; see network2.Network.SGD."""

    dtype: np.dtype
    num_layers: int
    lmbda: float = 0.0
    l1: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    dropout: float | list | tuple = 0.0
    max_norm: float | None = None
    optimizer: str = "sgd"
    betas: tuple = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self):
        dtype = self.dtype
        self.lmbda = arguments.check_range("lmbda", self.lmbda, dtype, 0)
        self.l1 = arguments.check_range("l1", self.l1, dtype, 0)
        self.momentum = arguments.check_range("momentum", self.momentum, dtype, 0, 1)
        if self.max_norm is not None:
            least = np.finfo(dtype).tiny
            self.max_norm = arguments.check_range("max_norm", self.max_norm, dtype, least)
        self.nesterov = arguments.check_flag("nesterov", self.nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov goes with a momentum, which is 0")
        self.dropout = _dropout_rates(self.dropout, self.num_layers, dtype)
        arguments.check_choice("optimizer", self.optimizer, "sgd", "adam")
        if self.optimizer == "adam":
            self._check_adam()

    def _check_adam(self):
        if self.momentum:
            raise ValueError(
                f"momentum is {self.momentum}, expected 0 with optimizer 'adam', which has its "
                f"own: betas"
            )
        if np.shape(self.betas) != (2,):
            raise ValueError(
                f"betas is {messages.describe(self.betas)}, expected two numbers, e.g. (0.9, 0.999)"
            )
        beta1, beta2 = self.betas
        self.betas = tuple(
            arguments.check_range(f"betas[{i}]", beta, self.dtype, 0, 1)
            for i, beta in enumerate((beta1, beta2))
        )
        least = np.finfo(self.dtype).tiny
        self.epsilon = arguments.check_range("epsilon", self.epsilon, self.dtype, least)

    @property
    def moments(self):
        """Return the names of the vectors that are kept from step to step, as in checkpoints."""
        if self.optimizer == "adam":
            return "first_moment", "second_moment"
        return ("velocity",) if self.momentum else ()

    def for_epoch(self, n, epoch, dropout_key):
        """Return the Rules of an epoch of n samples; dropout_key: of the run's masks of dropout."""
        key = (dropout_key + epoch * GOLDEN) % 2**32 if self.dropout else 0
        adam = self.optimizer == "adam"
        momentum = self.betas[0] if adam else self.momentum
        return Rules(
            l2=self.lmbda / n, l1=self.l1 / n, momentum=momentum, nesterov=self.nesterov,
            dropout=self.dropout, key=key, max_norm=self.max_norm, adam=adam, beta2=self.betas[1],
            epsilon=self.epsilon,
        )  # fmt: skip


def _dropout_rates(dropout, num_layers, dtype):
    """Return the dropout rate of each layer, the output layer's 0, as a tuple; () for none."""
    if np.ndim(dropout):
        rates = list(dropout)
    else:
        rates = [0.0, *[arguments.check_range("dropout", dropout, dtype, 0, 1)] * (num_layers - 2)]
        if dropout and num_layers == 2:
            raise ValueError(
                f"dropout is {dropout}, the rate of hidden layers, and there are none; a list of "
                f"one number, [{dropout}], is the rate of the inputs"
            )
    if len(rates) != num_layers - 1:
        raise ValueError(
            f"dropout has {len(rates)} numbers, expected {num_layers - 1}: one for each layer but "
            f"the output layer"
        )
    rates = [arguments.check_range("dropout", rate, dtype, 0, 1) for rate in rates]
    return (*rates, 0.0) if any(rates) else ()


@dataclasses.dataclass
class MonitorSettings:
    """What SGD monitors, and what it does about it; see network2.Network.SGD.

    wanted: the names of MONITORS that are printed and returned; halves: whether eta is halved where
    there is no improvement.
    """

    wanted: set
    early_stopping_n: int = 0
    halves: bool = False
    stop_on: str = "evaluation_accuracy"
    subset: int | None = None
    every: int | None = None

    def __post_init__(self):
        self.early_stopping_n = arguments.check_count("early_stopping_n", self.early_stopping_n, 0)
        arguments.check_choice("stop_on", self.stop_on, *MONITORS)
        if self.subset is not None:
            self.subset = arguments.check_count("monitor_subset", self.subset, 1)
        if self.every is not None:
            self.every = arguments.check_count("monitor_every", self.every, 1)

    @property
    def needed(self):
        """Return the names of the monitors that are measured after each epoch."""
        return self.wanted | ({self.stop_on} if self.early_stopping_n or self.halves else set())
