"""What is measured and printed during a run.

A monitor has

    interval(m)          after how many samples it measures, besides at the end of an epoch, or None
    measure(midway)      return the values, by name; it may be interrupted
    record(values, ...)  note them; at the end of an epoch print them and see whether it is the last
    figures(values)      return what callbacks get of them, by name
"""

from fastbp.training.monitoring.early_stopping import EarlyStopping

# In this order the book prints them.
LINES = {
    "training_cost": "Cost on training data: {}",
    "training_accuracy": "Accuracy on training data: {} / {}",
    "evaluation_cost": "Cost on evaluation data: {}",
    "evaluation_accuracy": "Accuracy on evaluation data: {} / {}",
}


class CountMonitor:
    """Chapter 1's: how many samples of the test data are right.

    count(): measures it, or None; n: of how many; history: the list of the counts.
    """

    def __init__(self, count, n, history):
        self.count, self.n, self.history = count, n, history

    def interval(self, m):
        return None

    def measure(self, midway):
        return None if self.count is None else self.count()

    def record(self, value, state, write, midway):
        if self.count is None:
            write(f"Epoch {state.epoch} complete")
        else:
            self.history.append(value)
            write(f"Epoch {state.epoch}: {value} / {self.n}")

    def figures(self, value):
        return {} if value is None else {"test_accuracy": value, "n_test": self.n}

    def to_file(self):
        return {}, {}

    def from_file(self, about, arrays, checked_vector):
        pass


class CurveMonitor:
    """Chapter 3's: costs and accuracies, and early stopping by one of them.

    settings: MonitorSettings; measures: for each of the names in settings.needed, a function that
    measures it and the number of samples that it measures it on; history: the lists of the values
    by name.
    """

    def __init__(self, settings, measures, history, first_eta, parameters_of):
        self.settings, self.measures, self.history = settings, measures, history
        self.stopping = EarlyStopping(settings, first_eta, parameters_of)

    def interval(self, m):
        return self.settings.every and self.settings.every * m

    def measure(self, midway):
        names = self.settings.wanted if midway else self.settings.needed
        return {name: self.measures[name][0]() for name in LINES if name in names}

    def record(self, values, state, write, midway):
        settings = self.settings
        if not midway:
            write(f"Epoch {state.epoch} training complete")
        for name, line in LINES.items():
            if name in settings.wanted:
                self.history[name].append(values[name])
                if not midway:
                    write(line.format(values[name], self.measures[name][1]))
        if not midway:
            write("")
            if settings.early_stopping_n or settings.halves:
                self.stopping.judge(values[settings.stop_on], state, write)

    def figures(self, values):
        counts = {
            f"n_{name.removesuffix('_accuracy')}": self.measures[name][1]
            for name in values or {}
            if name.endswith("_accuracy")
        }
        return {**(values or {}), **counts}

    def to_file(self):
        return self.stopping.to_file()

    def from_file(self, about, arrays, checked_vector):
        self.stopping.from_file(about, arrays, checked_vector)
