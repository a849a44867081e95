"""Arrays that a network returns own their memory; memory maps that it is given are not copied."""

import tracemalloc

import numpy as np
import pytest

import fastbp
from fastbp import Pixels, network, network2
from fastbp.data import numeric_arrays

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
    net.backprop(*PAIR)  # compiles
    tracemalloc.start()
    for _ in range(4000):
        kept.append(net.backprop(*PAIR)[0])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    numbers = sum(array.nbytes for biases in kept for array in biases)
    assert held < numbers + 4000 * 3 * 400  # objects and lists, too


# ------------------------------------------------ memory maps


def growth_of(call, images, labels):
    """Return by how many bytes the peak of a call on 8000 images is above that of one on 1000."""
    peaks = []
    for n in (1000, 1000, 8000):  # the first compiles
        tracemalloc.start()
        call(images[:n], labels[:n])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return peaks[2] - peaks[1]


READERS = {
    "backprop_batch": lambda net, X, y: net.backprop_batch(X, y),
    "gradient_norms": lambda net, X, y: net.gradient_norms((X, y)),
    "gradient_check": lambda net, X, y: fastbp.gradient_check(net, (X, y), most=1),
    "evaluate": lambda net, X, y: net.evaluate((X, y)),
    "SGD": lambda net, X, y: net.SGD((X, y), 1, 10, 1e-4, shuffle="book", verbose=False),
}


@pytest.fixture
def maps(tmp_path):
    """Return labels, and 8000 images as memory maps, by name: 6 MB of bytes."""
    images = np.zeros((8000, 784), np.uint8)
    images[::3, ::5] = 1
    found = {}
    for name in ("uint8", "float32", "float64"):
        np.save(tmp_path / f"{name}.npy", images.astype(name))
        found[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    return np.arange(8000) % 10, found | {"Pixels": Pixels(found["uint8"])}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("call", READERS)
def test_memory_maps_are_not_copied(call, dtype, maps, monkeypatch):
    monkeypatch.setattr(numeric_arrays, "BLOCK_BYTES", 1 << 18)
    labels, images = maps
    net = network.Network([784, 5, 10], dtype=dtype, threads=1)
    for X in images.values():
        growth = growth_of(lambda X, y: READERS[call](net, X, y), X, labels)
        assert growth < 2e6  # one bit of each pixel, in bytes, has 5.5 MB, the targets 0.6 MB


@pytest.mark.filterwarnings("ignore:max_iter=1 epochs are done")
@pytest.mark.parametrize("name", ["NetworkClassifier", "NetworkRegressor"])
def test_estimators_do_not_copy_maps_of_their_own_type(name, maps):
    pytest.importorskip("sklearn")
    from fastbp import estimator

    labels, images = maps
    for X in (images["float32"], images["float64"]):
        how = dict(max_iter=1, learning_rate_init=1e-6, random_state=0, n_jobs=1)
        model = getattr(estimator, name)((5,), **how)
        for call in (model.fit, lambda X, y, model=model: model.predict(X)):
            assert growth_of(call, X, labels.astype(X.dtype)) < 4e6  # of 22 MB and 44 MB


def test_gradient_check_of_more_samples_than_are_in_memory_at_once(maps):
    """The cost is summed over all of them, 256 at a time."""
    labels, images = maps
    X = images["Pixels"].values(np.float64)[:600] + np.random.default_rng(0).random((600, 784))
    np.random.seed(1)
    net = network.Network([784, 5, 10])
    assert max(fastbp.gradient_check(net, (X / 800, labels[:600]), most=200)) < 1e-6
