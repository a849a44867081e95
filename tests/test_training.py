"""Whole epochs against the oracle: the same seeds give the same order, weights and counts."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from helpers import assert_equal_arrays, seed_both
from reference import Oracle

from fastbp import mnist_loader
from fastbp.network import Network

SIZES = [784, 30, 10]


def oracle_and_net(sizes=SIZES, seed=1, **options):
    made = []
    for cls, keywords in ((Oracle, {}), (Network, options)):
        seed_both(seed)
        made.append(cls(sizes, **keywords))
    oracle, net = made
    assert_equal_arrays(net.weights + net.biases, oracle.weights + oracle.biases)
    return oracle, net


def train_both(oracle, net, pairs, m, eta, seed=2):
    ours, theirs = list(pairs), list(pairs)
    random.seed(seed)
    oracle.train(theirs, 1, m, eta)
    random.seed(seed)
    net.SGD(ours, 1, m, eta)
    assert [id(pair) for pair in ours] == [id(pair) for pair in theirs]


def largest_difference(net, oracle):
    pairs = zip(net.weights + net.biases, oracle.weights + oracle.biases)
    return max(np.abs(ours - theirs).max() for ours, theirs in pairs)


@pytest.fixture(scope="module")
def drawn():
    return mnist_loader.synthetic(10_000, 0, 2_000, seed=0)


def test_a_thousand_steps_on_synthetic_digits(drawn):
    oracle, net = oracle_and_net()
    pairs = mnist_loader.wrap(drawn)[0]
    train_both(oracle, net, pairs, 10, 3.0)
    assert largest_difference(net, oracle) <= 1e-10


@pytest.mark.parametrize("sizes", [[784, 10], [784, 20, 15, 10]], ids=str)
def test_other_depths(sizes, drawn):
    oracle, net = oracle_and_net(sizes)
    train_both(oracle, net, mnist_loader.wrap(drawn)[0][:2000], 7, 1.0)
    assert largest_difference(net, oracle) <= 1e-10


def test_float32_stays_near_float64(drawn):
    oracle, _ = oracle_and_net()
    seed_both(1)
    net = Network(SIZES, dtype=np.float32)
    train_both(oracle, net, mnist_loader.wrap(drawn)[0][:1000], 10, 3.0)
    assert largest_difference(net, oracle) < 1e-3


# ------------------------------------------------ the real MNIST


def test_real_thousand_steps(real_mnist):
    oracle, net = oracle_and_net()
    train_both(oracle, net, mnist_loader.wrap(real_mnist)[0][:10_000], 10, 3.0)
    assert largest_difference(net, oracle) <= 1e-10


def test_real_whole_epoch_counts_within_25(real_mnist):
    oracle, net = oracle_and_net()
    training, _, test = mnist_loader.wrap(real_mnist)
    train_both(oracle, net, training, 10, 3.0)
    theirs, ours = oracle.count_correct(test), net.evaluate(test)
    assert abs(ours - theirs) <= 25
    assert ours > 8000


def test_real_95_percent_within_30_epochs(real_mnist, capsys):
    """The book: 95.42 % at its peak, best of three runs."""
    seed_both(1)
    net = Network(SIZES)
    net.SGD(real_mnist[0], 30, 10, 3.0, test_data=real_mnist[2])
    counts = [int(line.split()[2]) for line in capsys.readouterr().out.splitlines()]
    assert len(counts) == 30
    assert max(counts) >= 9500


MEMORY = """
import sys
import numpy as np
from fastbp import network
from fastbp.training.compute import engine
from fastbp.training.compute.plans import plan_of
dtype, form = np.dtype(sys.argv[1]), sys.argv[2]
engine.warm_up(plan_of((784, 30, 10)), dtype)
X = np.zeros((50_000, 784), np.float32)
X[:, :149] = 0.5  # as many as in a digit
Y = np.zeros((50_000, 10)); Y[:, 3] = 1
training_data = (X, Y)
if form == "list":
    training_data = [(x.reshape(784, 1).copy(), y.reshape(10, 1)) for x, y in zip(X, Y)]
    del X
network.Network([784, 30, 10], dtype=dtype).SGD(training_data, 1, 10, 0.1)
status = open("/proc/self/status").read()
print(1024 * int(status.split("VmHWM:")[1].split()[0]))  # getrusage would count the parent, too
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from /proc")
@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
@pytest.mark.parametrize(("form", "copies"), [("array", 1.3), ("list", 2.3)])
def test_memory(dtype, form, copies):
    """An array of 50,000 images costs 0.3 of itself more, a list one more copy, plus 250 MB."""
    command = [sys.executable, "-c", MEMORY, dtype, form]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(run.stdout.splitlines()[-1])
    array = 50_000 * 784 * 4
    assert peak <= copies * array + 250e6, f"{peak / 1e6:.0f} MB"
