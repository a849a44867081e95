"""Arrays that a network returns or holds own their memory, so nothing larger is kept alive."""

import tracemalloc

import numpy as np
import pytest

from fastbp import Pixels, network, network2

rng = np.random.default_rng(2)
X, LABELS = rng.random((300, 784)) * (rng.random((300, 784)) < 0.2), rng.integers(0, 10, 300)
PAIR = X[0][:, None], np.eye(10)[:, [3]]


def kept_alive(array):
    """Return how many bytes the memory has that an array is a part of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes


def parameters(net):
    return [*net.weights, *net.biases]


def after(change):
    def arrays(net):
        change(net)
        return parameters(net)

    return arrays


def trained_with_a_checkpoint(net, path):
    net.SGD((X, LABELS), 1, 10, 0.5, checkpoint=path, progress=False)
    net.SGD((X, LABELS), 2, 10, 0.5, checkpoint=path, resume=True, progress=False)


RETURNED = {
    "constructor": parameters,
    "SGD": after(lambda net: net.SGD((X, LABELS), 1, 10, 0.5, progress=False)),
    "SGD on bytes": after(
        lambda net: net.SGD((Pixels((X * 255).astype(np.uint8)), LABELS), 1, 10, 0.5)
    ),
    "feedforward": lambda net: [net.feedforward(PAIR[0]), net.feedforward(X.T)],
    "backprop": lambda net: [a for part in net.backprop(*PAIR) for a in part],
    "backprop_batch": lambda net: [a for part in net.backprop_batch(X, LABELS) for a in part],
}
STEPS = {
    network: lambda net: net.update_mini_batch([PAIR] * 10, 0.5),
    network2: lambda net: net.update_mini_batch([PAIR] * 10, 0.5, 0.1, 100),
}


@pytest.mark.parametrize("call", [*RETURNED, "update_mini_batch", "load", "resume"])
@pytest.mark.parametrize("module", STEPS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_own_their_memory(call, module, dtype, tmp_path):
    net = module.Network([784, 30, 20, 10], dtype=dtype)
    if call == "update_mini_batch":
        arrays = after(STEPS[module])(net)
    elif call == "load":
        net.save(tmp_path / "model")
        arrays = parameters(module.load(tmp_path / "model"))
    elif call == "resume":
        arrays = after(lambda net: trained_with_a_checkpoint(net, tmp_path / "run.npz"))(net)
    else:
        arrays = RETURNED[call](net)
    for array in arrays:
        assert kept_alive(array) == array.nbytes


def test_the_best_weights_of_early_stopping_own_their_memory():
    net = network2.Network([784, 30, 10])
    data = (X, LABELS)
    net.SGD(data, 3, 10, 0.5, evaluation_data=data, monitor_evaluation_accuracy=True,
            early_stopping_n=1, progress=False)  # fmt: skip
    for array in parameters(net):
        assert kept_alive(array) == array.nbytes


def test_four_thousand_kept_gradients_of_biases_take_as_much_as_in_the_book():
    net, kept = network.Network([784, 30, 30, 10]), []
    tracemalloc.start()
    for _ in range(4000):
        kept.append(net.backprop(*PAIR)[0])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    numbers = sum(array.nbytes for biases in kept for array in biases)
    assert held < numbers + 4000 * 3 * 400  # objects and lists, too
