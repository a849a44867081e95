"""One call of chapter 3's SGD, put together: its data, its rules and what it monitors."""

import functools

from fastbp.data import containers, datasets, parameters, predictions
from fastbp.training import reference_path
from fastbp.training.epoch_data.training_set import TrainingSet
from fastbp.training.monitoring.monitors import CurveMonitor
from fastbp.training.run import Run
from fastbp.training.settings import MONITORS


def run_of(net, settings, rules, monitors, training_data, evaluation_data, new_data=None):
    """Return the Run of a call of SGD; its arguments are checked. new_data: see new_data.py."""
    own_gradient = net._is_overridden("update_mini_batch", "backprop")
    reference = own_gradient or net._is_overridden("cost", "sigmoid")
    _check_reach(net, rules, reference)
    if any(name.endswith("accuracy") for name in monitors.needed):
        predictions.check_classifies(net._plan.sizes[-1], net.activations[-1])
    for name in sorted(monitors.needed):
        if name.startswith("evaluation") and evaluation_data is None:
            raise ValueError(f"{name} needs evaluation_data, which is None")
    own_data = own_gradient and not monitors.needed & {"training_cost", "training_accuracy"}
    training_set = TrainingSet(training_data, net, reference, settings, own_data, new_data)
    measures, sets = _measures(net, rules, monitors, training_set, evaluation_data)
    history = {name: [] for name in MONITORS}

    def measure_new_data():
        measures.update(_training_measures(net, rules, monitors, training_set))

    return Run(
        net, settings, training_set,
        CurveMonitor(monitors, measures, history, settings.eta, net._parameters), rules,
        step=functools.partial(_reference_step, net, rules, training_set.n), sets=sets,
        history=history, config=_config(net, rules, monitors), on_new_data=measure_new_data,
    )  # fmt: skip


def _check_reach(net, rules, reference):
    """Raise ValueError for rules that overridden methods would not apply."""
    if rules.dropout and reference:
        raise ValueError(
            "dropout goes with the costs and methods of network2 only: backprop has no masks"
        )
    if (rules.moments or rules.l1 or rules.max_norm) and net._is_overridden("update_mini_batch"):
        raise ValueError(
            "momentum, adam, l1 and max_norm do not reach an overridden update_mini_batch"
        )


def _reference_step(net, rules, n, pairs, eta, step_rules, moments, steps):
    """Take a step by the network's own methods."""
    beyond = moments or rules.l1 or rules.max_norm
    if net._is_overridden("update_mini_batch") or not beyond:
        net.update_mini_batch(pairs, eta, rules.lmbda, n)
    else:
        step_by_backprop(net, pairs, eta, step_rules, moments, steps)


def step_by_backprop(net, pairs, eta, rules, moments=(), steps=0):
    """Take a step by net.backprop, sample by sample; moments: flat vectors, see rules.Rules."""
    plan = net._plan
    nabla_b, nabla_w = reference_path.summed_gradient(net.backprop, pairs)
    moments = [parameters.views(moment, plan) for moment in moments]
    weights, biases = reference_path.update(
        *net._layers(), nabla_b, nabla_w, moments, eta, len(pairs), rules, steps
    )
    net._check_step(weights, biases)
    net.weights, net.biases = weights, biases


def _config(net, rules, monitors):
    """Return what must be the same when a run is resumed."""
    cost = net.cost if isinstance(net.cost, type) else type(net.cost)
    return {
        "cost": cost.__name__, "activations": list(net.activations), "lmbda": rules.lmbda,
        "l1": rules.l1, "momentum": rules.momentum, "nesterov": rules.nesterov,
        "adam": None if rules.optimizer == "sgd" else [*rules.betas, rules.epsilon],
        "dropout": list(rules.dropout), "max_norm": rules.max_norm,
        "early_stopping_n": monitors.early_stopping_n, "stop_on": monitors.stop_on,
        "monitors": sorted(monitors.wanted), "monitor_subset": monitors.subset,
        "monitor_every": monitors.every,
    }  # fmt: skip


def _measures(net, rules, monitors, training_set, evaluation_data):
    """Return (measures, sets).

    measures: by the name of a monitor, a function that measures it and the number of samples that
    it measures it on; sets: (X, Y) by the name of an argument of SGD.
    """
    measures, sets = _training_measures(net, rules, monitors, training_set), {}
    if training_set.arrays is not None:
        sets["training_data"] = training_set.given
    if evaluation_data is None:
        return measures, sets
    data, pairs = containers.materialise(evaluation_data, "evaluation_data"), None
    if _passes_pairs(net, monitors, "evaluation"):
        pairs = _evaluation_pairs(net, _first_of(data, monitors.subset))
    if any(name.startswith("evaluation") for name in monitors.needed):
        both = sets["evaluation_data"] = net._read(data, False, "evaluation_data")
        one_hot = not containers.is_array_form(data)
        measures |= _measures_of(net, rules, monitors, "evaluation", both, pairs, one_hot)
    return measures, sets


def _passes_pairs(net, monitors, of):
    """Tell whether an overridden method measures the training or the evaluation data."""
    methods = ("accuracy", "accuracy"), ("cost", "total_cost")
    return any(
        f"{of}_{what}" in monitors.needed and net._is_overridden(method) for what, method in methods
    )


def _first_of(data, n):
    """Return the first n samples of data in a form that materialise returns; None: all of them."""
    return tuple(array[:n] for array in data) if containers.is_array_form(data) else data[:n]


def _training_measures(net, rules, monitors, training_set):
    """Return the measures of the training data as they are now."""
    if training_set.arrays is None:
        return {}
    pairs = None
    if _passes_pairs(net, monitors, "training"):
        data = _first_of(training_set.data, monitors.subset)
        pairs = datasets.training_pairs(data, net._plan, net.dtype)
    return _measures_of(net, rules, monitors, "training", training_set.arrays, pairs)


def _measures_of(net, rules, monitors, of, arrays, pairs, one_hot=False):
    """Return the measures of training or evaluation data; pairs: for overridden methods."""
    X, Y = (array[: monitors.subset] for array in arrays)
    is_training, measures = of == "training", {}
    if f"{of}_accuracy" in monitors.needed:
        labels = datasets.stored_labels(Y, net.activations[-1], f"{of}_data", one_hot)

        def accuracy():
            if net._is_overridden("accuracy"):
                return net.accuracy(pairs, convert=is_training)
            return net._accuracy(X, labels)

        measures[f"{of}_accuracy"] = accuracy, len(X)

    def cost():
        if net._is_overridden("total_cost"):
            return net.total_cost(pairs, rules.lmbda, convert=not is_training)
        return net._total_cost(X, Y, rules.lmbda, rules.l1)

    measures[f"{of}_cost"] = cost, len(X)
    return measures


def _evaluation_pairs(net, data):
    """Return the pairs that an overridden accuracy or total_cost gets."""
    if not containers.is_array_form(data):
        return data
    X, Y = datasets.training_arrays(data, net._plan, net.dtype, "evaluation_data")
    labels = Y[:, 0] if net._plan.sizes[-1] == 1 else Y.argmax(axis=1)
    return list(zip(containers.as_values(X, net.dtype)[:, :, None], labels.tolist()))
