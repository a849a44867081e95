"""The monitors of chapter 3: costs and accuracies of training and evaluation data."""

from fastbp.data import containers, datasets


def measures_of_run(net, rules, monitors, training_data, training_set, evaluation_data):
    """Return (measures, sets).

    measures: by the name of a monitor, a function that measures it and the number of samples that
    it measures it on; sets: (X, Y) by the name of an argument of SGD.
    """
    overridden, measures, sets = net._is_overridden("accuracy", "total_cost"), {}, {}
    if training_set.arrays is not None:
        sets["training_data"] = training_set.arrays
        pairs = datasets.pairs(training_data, net._plan, net.dtype) if overridden else None
        measures |= _measures_of(net, rules, monitors, "training", training_set.arrays, pairs)
    if evaluation_data is None:
        return measures, sets
    data = containers.materialise(evaluation_data, "evaluation_data")
    pairs = _evaluation_pairs(net, data) if overridden else None
    if any(name.startswith("evaluation") for name in monitors.needed):
        both = sets["evaluation_data"] = net._read(data, False, "evaluation_data")
        one_hot = not containers.is_arrays(data)
        measures |= _measures_of(net, rules, monitors, "evaluation", both, pairs, one_hot)
    return measures, sets


def _measures_of(net, rules, monitors, of, arrays, pairs, one_hot=False):
    """Return the measures of training or evaluation data; pairs: for overridden methods."""
    X, Y = (array[: monitors.subset] for array in arrays)
    pairs = None if pairs is None else pairs[: monitors.subset]
    is_training, measures = of == "training", {}
    if f"{of}_accuracy" in monitors.needed:
        labels = datasets.answers_of_targets(Y, net.activations[-1], f"{of}_data", one_hot)

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
    if not containers.is_arrays(data):
        return data
    X, Y = datasets.training_arrays(data, net._plan, net.dtype, "evaluation_data")
    labels = Y[:, 0] if net._plan.sizes[-1] == 1 else Y.argmax(axis=1)
    return list(zip(containers.as_values(X, net.dtype)[:, :, None], labels.tolist()))
