"""The synthetic digits: deterministic, in the form of MNIST, and about as hard to learn."""

import random

import numpy as np
import pytest
from helpers import seed_both

from fastbp import mnist_loader
from fastbp.data import digits
from fastbp.network import Network


def test_the_form_of_load_data():
    sets = mnist_loader.synthetic(30, 20, 10, seed=3)
    assert [len(labels) for _, labels in sets] == [30, 20, 10]
    for images, labels in sets:
        assert (images.shape, images.dtype) == ((len(labels), 784), np.float32)
        assert labels.dtype == np.int64
        assert images.min() == 0
        assert 0.5 < images.max() <= 0.99609375
        np.testing.assert_array_equal(images * 256, np.round(images * 256))


def test_deterministic_and_without_the_global_generators():
    seed_both(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = mnist_loader.synthetic(300, 0, 0, seed=5)[0]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    np.testing.assert_array_equal(first[0], mnist_loader.synthetic(300, 0, 0, seed=5)[0][0])
    assert not np.array_equal(first[0], mnist_loader.synthetic(300, 0, 0, seed=6)[0][0])


def test_every_shape_is_drawn_within_the_frame_and_sparse_as_mnist():
    images = digits.draw(np.repeat(np.arange(10), 100), 0).reshape(10, 100, 28, 28)
    assert (images.max(axis=(2, 3)) > 120).all()  # no empty image
    assert 0.75 < (images == 0).mean() < 0.87  # MNIST: 0.81
    edge = np.concatenate([images[..., 0, :], images[..., -1, :]], axis=-1)
    assert (edge == 0).mean() > 0.98
    flat = images.reshape(1000, -1)
    assert len(np.unique(flat, axis=0)) == 1000  # all different


def test_negative_counts():
    with pytest.raises(ValueError, match="n_test is -1, expected at least 0"):
        mnist_loader.synthetic(1, 1, -1)


def test_a_small_network_learns_them_but_not_at_once(capsys):
    """Hard enough to learn from: linear-ish nets fall short, [784, 30, 10] gets most right."""
    training, _, test = mnist_loader.synthetic(10_000, 0, 2_000, seed=1)
    seed_both(1)
    net = Network([784, 30, 10], dtype=np.float32)
    net.SGD(training, 1, 10, 3.0)
    after_one = net.evaluate(test) / 2_000
    net.SGD(training, 9, 10, 3.0)
    after_ten = net.evaluate(test) / 2_000
    assert 0.3 < after_one < after_ten
    assert 0.85 < after_ten < 0.99
