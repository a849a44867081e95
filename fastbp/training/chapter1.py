"""One call of chapter 1's SGD, put together: its data, and what counts the right predictions."""

from fastbp.data import containers, datasets
from fastbp.training.epoch_data.training_set import TrainingSet
from fastbp.training.monitoring.monitors import CountMonitor
from fastbp.training.run import Run
from fastbp.training.settings import RuleSettings

OUTPUT = "sigmoid"  # the activation of the output layer


def run_of(net, settings, data, test_data, new_data=None):
    """Return the Run of a call of SGD; new_data: see new_data.py."""
    own_gradient = net._is_overridden("update_mini_batch", "backprop")
    reference = own_gradient or net._is_overridden("cost_derivative", "sigmoid")
    own_test = net._is_overridden("evaluate", "feedforward", "sigmoid")
    training_set = TrainingSet(data, net, reference, settings, own_gradient, new_data)
    sets = {} if training_set.given is None else {"training_data": training_set.given}
    count, n_test = _counter(net, test_data, own_test, sets)
    net.history = []
    return Run(
        net, settings, training_set, CountMonitor(count, n_test, net.history),
        RuleSettings(net.dtype, len(net._plan.sizes)), sets=sets, config={"test samples": n_test},
        rereads_list=reference or own_test,  # overridden methods may change the caller's list
        step=lambda pairs, eta, *how: net.update_mini_batch(pairs, eta),
        history={"right answers": net.history},
    )  # fmt: skip


def _counter(net, data, own_test, sets):
    """Return (a function that counts the right predictions, or None; of how many)."""
    if data is None or (isinstance(data, (list, tuple)) and not len(data)):
        return None, 0
    data = containers.materialise(data, "test_data")
    n_test = len(data[0]) if containers.is_array_form(data) else len(data)
    if own_test:
        if net._is_overridden("evaluate") and containers.is_array_form(data):
            data = datasets.labelled_pairs(data, net._plan, net.dtype, OUTPUT)
        return lambda: net.evaluate(data), n_test
    X, labels = datasets.labelled_arrays(data, net._plan, net.dtype, OUTPUT, streams="auto")
    sets["test_data"] = X, labels[:, None]
    return lambda: net._count_correct(X, labels), n_test
