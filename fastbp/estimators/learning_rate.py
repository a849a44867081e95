"""The learning rate of each epoch of an estimator: scikit-learn's three ways, and schedules."""

import numpy as np

from fastbp import schedules
from fastbp.data import messages
from fastbp.training.monitoring.learning_rates import LearningRates

OF_SKLEARN = "constant", "invscaling", "adaptive"
DIVISOR, SMALLEST = 5.0, 1e-6  # of "adaptive", as in scikit-learn
FLOAT64 = np.dtype(np.float64)


class LearningRate:
    """The argument `learning_rate` of an estimator, checked; see NetworkClassifier.

    first: that of the first epoch; power: of "invscaling"; epochs: of the schedule. As in
    scikit-learn, "invscaling" and "adaptive" count for the solver "sgd" only.
    """

    def __init__(self, choice, first, power, epochs, solver):
        self.first, self.power, self.epochs = first, power, epochs
        if isinstance(choice, str) and choice in OF_SKLEARN:
            self.way, self.rates = choice if solver == "sgd" else "constant", None
            return
        if not (isinstance(choice, str) or callable(choice)):
            raise TypeError(f"learning_rate is {messages.describe(choice)}, {_expected()}")
        try:
            self.way, self.rates = "schedule", LearningRates(FLOAT64, first, epochs, choice)
        except (TypeError, ValueError) as error:
            reason = messages.one_line(error).removeprefix("schedule is ")
            raise type(error)(f"learning_rate is {reason}; {_expected()}") from None

    def of_epoch(self, state, epoch):
        """Return the learning rate of an epoch; state: TrainingState, epoch: its number for us."""
        if self.way == "invscaling":
            try:
                return self.first / (state.samples_seen + 1) ** self.power
            except OverflowError:  # of the divisor
                return 0.0
        if self.way == "adaptive":
            return self.first if state.eta is None else state.eta
        if self.way == "schedule":
            return self.rates.of_epoch(min(epoch, self.epochs - 1), self.first)
        return self.first

    def divide(self, state, eta):
        """Divide the rate where nothing improves; tell whether training goes on with it."""
        if self.way != "adaptive" or eta <= SMALLEST:
            return False
        state.eta = eta / DIVISOR
        return True


def _expected():
    names = ", ".join(map(repr, OF_SKLEARN))
    return f"expected {names}, or one of fastbp.schedules, e.g. {schedules.EXPECTED}"
