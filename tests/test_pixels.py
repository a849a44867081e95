"""Pixels, images stored as bytes; and the warning about numbers that were not scaled."""

import pickle
import pickletools
import warnings

import numpy as np
import pytest
from helpers import assert_equal_arrays, seed_both

from fastbp import Network, Pixels, gradient_check, network2

rng = np.random.default_rng(3)
BYTES = rng.integers(0, 256, (400, 20), np.uint8) * (rng.random((400, 20)) < 0.3).astype(np.uint8)
LABELS = rng.integers(0, 3, 400)
NETS = {
    "chapter 1": lambda dtype: Network([20, 9, 3], dtype=dtype),
    "chapter 3": lambda dtype: network2.Network([20, 9, 3], dtype=dtype),
}


def seeded(make, dtype=np.float64):
    seed_both(1)
    return make(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NETS)
def test_training_on_pixels_gives_the_bits_of_their_values(name, dtype):
    results = []
    for X in (Pixels(BYTES), (BYTES / 256).astype(np.float32)):
        net = seeded(NETS[name], dtype)
        net.SGD((X, LABELS), 3, 7, 1.0, progress=False)
        more = () if name == "chapter 1" else (0.1, 400)
        net.update_mini_batch((X[:50], LABELS[:50]), 1.0, *more)
        results.append(net.weights + net.biases + net.backprop_batch(X, LABELS)[1])
        results[-1] += [net.gradient_norms((X, LABELS)), gradient_check(net, (X[:3], LABELS[:3]))]
        if name == "chapter 1":
            results[-1] += [net.evaluate((X, LABELS))]
        else:
            results[-1] += [net.accuracy((X, LABELS)), net.total_cost((X, LABELS), 0.1)]
    assert_equal_arrays(*results)


@pytest.mark.parametrize("scale", [1.0, 1 / 255, -0.5])
def test_another_scale(scale):
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for X in (Pixels(BYTES, scale), BYTES * scale):
            net = seeded(NETS["chapter 1"])
            net.SGD((X, LABELS), 1, 7, 0.01, test_data=(X, LABELS), progress=False)
            results.append(net.weights[0])
    np.testing.assert_array_equal(*results)


def test_what_pixels_are():
    pixels = Pixels(BYTES)
    assert pixels.array is BYTES
    assert (pixels.shape, pixels.ndim, pixels.dtype, len(pixels)) == ((400, 20), 2, np.uint8, 400)
    assert pixels[7].shape == (20, 1)
    assert pixels[-1].dtype == np.float32
    np.testing.assert_array_equal(pixels[7], (BYTES[7] / 256).astype(np.float32)[:, None])
    for index in (slice(3, 9), np.array([1, 5]), BYTES[:, 0] > 100):
        assert isinstance(pixels[index], Pixels)
        np.testing.assert_array_equal(pixels[index].array, BYTES[index])
    assert [x.shape for x in pixels[:2]] == [(20, 1)] * 2
    with pytest.raises(IndexError):
        pixels[400]


def test_memory_maps_and_views_are_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", BYTES)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    nets = []
    for X in (Pixels(mapped), Pixels(np.repeat(BYTES, 2, axis=0)[::2]), Pixels(BYTES)):
        assert X.array.base is not None or X.array is BYTES
        nets.append(seeded(NETS["chapter 1"]))
        nets[-1].SGD((X, LABELS), 1, 7, 1.0, progress=False)
    for net in nets:
        np.testing.assert_array_equal(net.weights[0], nets[-1].weights[0])


def test_own_methods_see_float_columns():
    seen = []

    class Own(Network):
        def feedforward(self, a):
            seen.append(a)
            return super().feedforward(a)

        def backprop(self, x, y):
            seen.append(x)
            return super().backprop(x, y)

    net = seeded(lambda dtype: Own([20, 9, 3]))
    net.SGD((Pixels(BYTES[:30]), LABELS[:30]), 1, 7, 1.0, test_data=(Pixels(BYTES), LABELS))
    assert len(seen) == 430
    assert all(x.shape == (20, 1) and x.dtype.kind == "f" and x.max() < 1 for x in seen)
    plain = seeded(NETS["chapter 1"])
    plain.SGD((Pixels(BYTES[:30]), LABELS[:30]), 1, 7, 1.0)
    np.testing.assert_allclose(net.weights[0], plain.weights[0], rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((BYTES.astype(float),), TypeError, "X has dtype float64, expected uint8"),
        ((BYTES[0],), ValueError, r"X has shape \(20,\), expected \(n, n_in\).*use X\[None\]"),
        ((BYTES.reshape(400, 4, 5),), ValueError, r"use X.reshape\(len\(X\), -1\)"),
        ((BYTES, 0), ValueError, "scale is 0, expected a finite number that is not 0"),
        ((BYTES, np.nan), ValueError, "scale is nan"),
        ((BYTES, "1/256"), TypeError, "scale is '1/256', expected a number"),
    ],
)
def test_bad_pixels(arguments, error, message):
    with pytest.raises(error, match=message):
        Pixels(*arguments)


CALLS = {
    "SGD": lambda net, X: net.SGD((X, LABELS), 3, 7, 0.001, progress=False),
    "SGD with pairs": lambda net, X: net.SGD(
        [(x[:, None], np.eye(3)[:, [y]]) for x, y in zip(X, LABELS)], 2, 7, 0.001, progress=False
    ),
    "update_mini_batch": lambda net, X: net.update_mini_batch((X, LABELS), 0.001),
    "evaluate": lambda net, X: net.evaluate((X, LABELS)),
    "evaluate pairs": lambda net, X: net.evaluate([(x[:, None], 1) for x in X]),
    "test data": lambda net, X: net.SGD(
        (Pixels(BYTES), LABELS), 3, 7, 0.001, test_data=(X, LABELS), progress=False
    ),
    "backprop_batch": lambda net, X: net.backprop_batch(X, LABELS),
    "gradient_norms": lambda net, X: net.gradient_norms((X, LABELS)),
    "feedforward": lambda net, X: net.feedforward(X.T),
    "feedforward of one": lambda net, X: net.feedforward(X[:1].T),
    "backprop": lambda net, X: net.backprop(X[:1].T, np.eye(3)[:, :1]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stored", [np.uint8, np.int32, np.float32, np.float64])
def test_unscaled_pixels_cause_one_warning(call, stored):
    X = BYTES.astype(stored)
    X[0, 0] = 255
    net = seeded(NETS["chapter 1"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[call](net, X)
    assert len(caught) == 1
    assert caught[0].category is RuntimeWarning
    assert caught[0].filename == __file__
    for part in ("255", "sigmoid", "fastbp.Pixels(X)", "X / 255"):
        assert part in str(caught[0].message)


@pytest.mark.parametrize("call", CALLS)
def test_usual_numbers_cause_no_warning(call):
    CALLS[call](seeded(NETS["chapter 1"]), BYTES / 256)
    CALLS[call](seeded(NETS["chapter 1"]), rng.normal(0, 3, (400, 20)).clip(-16, 16))


@pytest.mark.parametrize("n", [400, 5000])
def test_a_single_large_number_is_seen(n):
    X = np.zeros((n, 20))
    X[n - 3, 5] = -1000
    net = seeded(NETS["chapter 1"])
    with pytest.warns(RuntimeWarning, match="reach 1000 in size"):
        net.SGD((X, np.zeros(n, int)), 1, 7, 1e-6, progress=False)
    with pytest.warns(RuntimeWarning, match="reach 1000 in size"):
        net.evaluate((X, np.zeros(n, int)))


def overriding(method):
    """Return a Network with this method overridden, so that the reference path runs."""
    plain = getattr(Network, method)
    own = {method: lambda self, *args, **kwargs: plain(self, *args, **kwargs)}
    np.random.seed(1)
    return type("Own", (Network,), own)([20, 9, 3])


@pytest.mark.parametrize("method", ["feedforward", "backprop", "update_mini_batch", "evaluate"])
@pytest.mark.parametrize("call", ["SGD", "SGD with pairs", "evaluate", "gradient_norms", "few"])
def test_one_warning_on_the_reference_path(method, call):
    X, net = BYTES.astype(float), overriding(method)
    calls = CALLS | {"few": lambda net, X: net.evaluate([(x[:, None], 1) for x in X[:3]])}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calls[call](net, X)
    assert [w.filename for w in caught] == [__file__]


def test_few_pixels_are_evaluated_as_their_values():
    net = seeded(NETS["chapter 1"])
    for n in (1, 5, 63, 64):
        bright = np.full((n, 20), 250, np.uint8)
        assert net.evaluate((Pixels(bright), LABELS[:n])) == net.evaluate(
            (bright / 256, LABELS[:n])
        )


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_of_bytes():
    pixels = Pixels(np.matrix(BYTES))
    assert type(pixels.array) is np.ndarray
    assert pixels[0].shape == (20, 1)


def test_a_pickle_names_the_public_class_only():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps(Pixels(BYTES, 0.5), protocol)
        modules = {arg for op, arg, _ in pickletools.genops(content) if isinstance(arg, str)}
        assert not any(text.startswith("fastbp.") for text in modules)
        pixels = pickle.loads(content)
        assert type(pixels) is Pixels
        assert pixels.scale == 0.5
        np.testing.assert_array_equal(pixels.array, BYTES)
