"""Schedules of the learning rate: functions (epoch, epochs) that return a factor of eta.

``net.SGD(training_data, 30, 10, 0.5, schedule=schedules.Linear())``, or ``schedule="linear"``, as
`parse` reads it.

Invariants: a factor depends on the number of the epoch, 0, 1 ..., and on the number of epochs only;
equal schedules have one text, by which a checkpoint knows them: their numbers are Python's.
"""

import dataclasses
import math

import numpy as np

from fastbp.data import arguments, messages

__all__ = ["SCHEDULES", "Cosine", "Geometric", "Linear", "Step", "parse"]

FLOAT64 = np.dtype(np.float64)


@dataclasses.dataclass(frozen=True)
class Geometric:
    """Eta falls by the same factor in each epoch: the factor of eta is ``to ** (epoch / epochs)``.

    Parameters
    ----------
    to : float, more than 0
        The factor that is reached at the end of the last epoch, where the next one would begin.

    Raises
    ------
    TypeError, ValueError
        If `to` is no number, or out of range.

    Examples
    --------
    >>> from fastbp import schedules
    >>> [round(schedules.Geometric(to=0.01)(epoch, 4), 3) for epoch in range(4)]
    [1.0, 0.316, 0.1, 0.032]
    """

    to: float = 0.01

    def __post_init__(self) -> None:
        to = arguments.check_rate("to", self.to, FLOAT64)
        if to <= 0:
            raise ValueError(f"to is {self.to}, expected more than 0; Linear(to=0) falls to 0")
        object.__setattr__(self, "to", to)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return the factor of an epoch, a float."""
        return self.to ** (epoch / epochs)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Eta falls by the same amount in each epoch: the factor is ``1 - (1 - to) epoch / epochs``.

    Parameters
    ----------
    to : float, at least 0
        The factor that is reached at the end of the last epoch, where the next one would begin.

    Raises
    ------
    TypeError, ValueError
        If `to` is no number, or out of range.

    Examples
    --------
    >>> from fastbp import schedules
    >>> [schedules.Linear()(epoch, 4) for epoch in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """

    to: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "to", arguments.check_range("to", self.to, FLOAT64, 0))

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return the factor of an epoch, a float."""
        return 1 - (1 - self.to) * epoch / epochs


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Eta falls like half a period of the cosine.

    The factor is ``to + (1 - to) (1 + cos(pi epoch / epochs)) / 2``.

    Parameters
    ----------
    to : float, at least 0
        The factor that is reached at the end of the last epoch, where the next one would begin.

    Raises
    ------
    TypeError, ValueError
        If `to` is no number, or out of range.

    Notes
    -----
    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    without the restarts.

    Examples
    --------
    >>> from fastbp import schedules
    >>> [round(schedules.Cosine()(epoch, 4), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """

    to: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "to", arguments.check_range("to", self.to, FLOAT64, 0))

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return the factor of an epoch, a float."""
        return self.to + (1 - self.to) * (1 + math.cos(math.pi * epoch / epochs)) / 2


@dataclasses.dataclass(frozen=True)
class Step:
    """Eta falls at once after every so many epochs: the factor is ``factor ** (epoch // every)``.

    Parameters
    ----------
    every : int, at least 1
        Epochs between two falls.
    factor : float, more than 0
        What eta is multiplied by each time.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number, or out of range.

    Examples
    --------
    >>> from fastbp import schedules
    >>> [schedules.Step(every=2, factor=0.5)(epoch, 6) for epoch in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int
    factor: float = 0.5

    def __post_init__(self) -> None:
        every = arguments.check_count("every", self.every, 1)
        factor = arguments.check_rate("factor", self.factor, FLOAT64)
        if factor <= 0:
            raise ValueError(f"factor is {self.factor}, expected more than 0")
        object.__setattr__(self, "every", every)
        object.__setattr__(self, "factor", factor)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return the factor of an epoch, a float."""
        try:
            return self.factor ** (epoch // self.every)
        except OverflowError:
            raise ValueError(
                f"schedule {self} is beyond all numbers in epoch {epoch}, expected a smaller factor"
            ) from None


SCHEDULES = {"geometric": Geometric, "linear": Linear, "cosine": Cosine, "step": Step}
EXPECTED = "geometric:0.01, linear, cosine or step:10,0.5"


def parse(text: str) -> Geometric | Linear | Cosine | Step:
    """Return the schedule that a text names.

    Parameters
    ----------
    text : str
        A name, and after a colon its numbers: "geometric", "geometric:0.01", "linear",
        "linear:0.1", "cosine", "cosine:0.1", "step:10", "step:10,0.5".

    Returns
    -------
    Geometric, Linear, Cosine or Step

    Raises
    ------
    ValueError
        If it names none, or a number is out of range.

    Examples
    --------
    >>> from fastbp import schedules
    >>> schedules.parse("step:10,0.5")
    Step(every=10, factor=0.5)
    """
    name, colon, values = text.partition(":")
    try:
        kind = SCHEDULES[name]
        numbers = [float(value) for value in values.split(",")] if colon else []
        if kind is Step and numbers and numbers[0].is_integer():
            numbers[0] = int(numbers[0])
        return kind(*numbers)
    except (KeyError, TypeError):  # of too few or too many numbers
        pass
    except ValueError as error:
        raise ValueError(
            f"schedule is {messages.describe(text)}: {messages.one_line(error)}; expected e.g. "
            f"{EXPECTED}"
        ) from None
    raise ValueError(f"schedule is {messages.describe(text)}, expected e.g. {EXPECTED}")
