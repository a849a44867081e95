"""The learning rate of each epoch: eta, its schedule and its warm-up.

Source: book, chapter 3, "How to choose a neural network's hyper-parameters?"; Goyal and others 2017
(warm-up).
"""

import dataclasses
import inspect

import numpy as np

from fastbp import schedules
from fastbp.data import arguments, messages

HALVE = "halve"  # the book's schedule, which needs a monitor


@dataclasses.dataclass
class LearningRates:
    """The learning rate of each epoch; see network2.Network.SGD.

    dtype: the network's; eta: the argument of SGD, checked; epochs: of the whole run; schedule:
    after the check None, "halve" or a function; may_halve: whether "halve" is allowed.
    """

    dtype: np.dtype
    eta: float
    epochs: int
    schedule: object = None
    warmup: int = 0
    may_halve: bool = False

    def __post_init__(self):
        self.schedule = self._checked_schedule()
        self.warmup = arguments.check_count("warmup", self.warmup, 0)
        if self.warmup and self.halves:
            raise ValueError(
                f"warmup is {self.warmup}, expected 0 with schedule 'halve', which goes by what is "
                f"monitored"
            )
        self._takes_epochs = callable(self.schedule) and takes_epochs(self.schedule)
        if self.epochs and self._is_known:  # their extremes are at the beginning and the end
            self.of_epoch(self.epochs - 1, self.eta)

    def _checked_schedule(self):
        schedule = self.schedule
        if schedule is None or callable(schedule):
            if isinstance(schedule, type):
                raise TypeError(
                    f"schedule is the class {schedule.__name__}, expected an instance, e.g. "
                    f"Linear() or Step(10)"
                )
            return schedule
        if isinstance(schedule, str):
            return self._named_schedule()
        halve = "'halve', " if self.may_halve else ""
        raise TypeError(
            f"schedule is {messages.describe(schedule)}, expected None, {halve}a schedule of "
            f"fastbp.schedules, its name, or a function"
        )

    def _named_schedule(self):
        """Return the schedule of a name, "halve" as it is."""
        name = self.schedule
        if name == HALVE and self.may_halve:
            return name
        if name == HALVE:
            raise ValueError("schedule is 'halve', which goes by a monitor: fastbp.network2 has it")
        try:
            return schedules.parse(name)
        except ValueError as error:
            raise ValueError(f"{error}{', or halve' if self.may_halve else ''}") from None

    @property
    def halves(self):
        """Tell whether eta is halved where there is no improvement."""
        return isinstance(self.schedule, str)

    @property
    def _is_known(self):
        return type(self.schedule) in schedules.SCHEDULES.values()

    @property
    def description(self):
        """Return what must be the same when a run is resumed, or None for a constant eta."""
        if not callable(self.schedule):
            return self.schedule if not self.warmup else f"warm-up {self.warmup}"
        text = repr(self.schedule) if self._is_known else "a function"
        if self._takes_epochs and not isinstance(self.schedule, schedules.Step):
            text += f" over {self.epochs} epochs"
        return text + (f", warm-up {self.warmup}" if self.warmup else "")

    def of_epoch(self, epoch, eta):
        """Return the learning rate of an epoch; eta: that of the epoch before."""
        if self._takes_epochs:
            factor = self.schedule(epoch, self.epochs)
            eta = self.eta * arguments.check_rate("schedule", factor, self.dtype)
        elif callable(self.schedule):
            eta = arguments.check_rate("schedule", self.schedule(epoch), self.dtype)
        elif self.warmup:
            eta = self.eta
        if epoch < self.warmup:
            eta *= (epoch + 1) / (self.warmup + 1)
        return arguments.check_rate("eta", eta, self.dtype)


def takes_epochs(schedule):
    """Tell whether a schedule is a function of (epoch, epochs), not of the epoch alone.

    That is so if exactly two positional parameters have no default: the second one of
    ``lambda epoch, rates=rates: rates[epoch]`` is no number of epochs.
    """
    try:
        parameters = inspect.signature(schedule).parameters.values()
    except (TypeError, ValueError):  # some functions that are written in C have no signature
        return False
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2
