"""Early stopping, and halving the learning rate: what is done when a monitor stops improving.

Source: book, chapter 3, "How to choose a neural network's hyper-parameters?".
"""

import math

from fastbp.data import arguments

PATIENCE = 10  # epochs without improvement, where eta is halved and no other number is given
SMALLEST = 128  # eta is halved until it is below this fraction of the first


class EarlyStopping:
    """Keeps the best weights, and counts the epochs since.

    settings: MonitorSettings; first_eta: the learning rate of the first epoch; parameters_of():
    the weights as a flat vector.
    """

    def __init__(self, settings, first_eta, parameters_of):
        self.settings, self.first_eta, self.parameters_of = settings, first_eta, parameters_of
        self.best, self.best_weights, self.waited, self.halved_at = None, None, 0, 0

    def judge(self, value, state, write):
        """Note the value of an epoch; end the run, or halve its eta, where it is time."""
        settings = self.settings
        better = value if settings.stop_on.endswith("accuracy") else -value
        replaces_nan = self.best is not None and math.isnan(self.best) and not math.isnan(better)
        if self.best is None or better > self.best or replaces_nan:
            self.best, self.waited, self.halved_at = better, 0, 0
            self.best_weights = self.parameters_of()
            return
        self.waited += 1
        if settings.halves:
            if self.waited - self.halved_at >= (settings.early_stopping_n or PATIENCE):
                self._halve(state, write)
        elif self.waited >= settings.early_stopping_n:
            state.finished = True
            write(f"No improvement in {settings.early_stopping_n} epochs: done")

    def _halve(self, state, write):
        state.eta, self.halved_at = state.eta / 2, self.waited
        state.finished = abs(state.eta) < abs(self.first_eta) / SMALLEST
        if state.finished:
            write(f"The learning rate is below 1/{SMALLEST} of the first: done")
        else:
            write(f"No improvement: the learning rate is now {state.eta}")

    def to_file(self):
        """Return (a dictionary for JSON, arrays by name)."""
        about = {"best": self.best, "waited": self.waited, "halved_at": self.halved_at}
        return about, {} if self.best_weights is None else {"best_weights": self.best_weights}

    def from_file(self, about, arrays, checked_vector):
        """Undo to_file. checked_vector(vector, name): raises where one does not fit."""
        waited, halved_at = (arguments.check_count(k, about[k], 0) for k in ("waited", "halved_at"))
        best, weights = about["best"], arrays.get("best_weights")
        if best is not None and not isinstance(best, (int, float)):
            raise ValueError(f"its best value is {best!r}")
        if (weights is None) is not (best is None):
            raise ValueError("its best weights are not there")
        if weights is not None:
            weights = checked_vector(weights, "best weights")
        self.best, self.best_weights, self.waited, self.halved_at = best, weights, waited, halved_at
