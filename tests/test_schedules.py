"""Learning rates: schedules in closed form and as PyTorch's users know them, warm-up, SGD's use."""

import dataclasses
import math
import random

import numpy as np
import pytest
from helpers import assert_equal_arrays, seed_both

from fastbp import History, network, network2, schedules
from fastbp.training.monitoring.learning_rates import LearningRates, takes_epochs

SIZES = [6, 5, 3]
FLOAT64 = np.dtype(np.float64)


def samples(n=40, seed=5):
    rng = np.random.default_rng(seed)
    return rng.random((n, SIZES[0])), np.eye(SIZES[-1])[rng.integers(SIZES[-1], size=n)]


DATA = samples()


# ------------------------------------------------ closed forms


@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
@pytest.mark.parametrize("to", [0.01, 0.5, 1, 2])
def test_geometric_is_a_constant_ratio(epochs, to):
    factors = [schedules.Geometric(to)(epoch, epochs) for epoch in range(epochs)]
    ratios = np.array([*factors[1:], to]) / factors
    np.testing.assert_allclose(ratios, to ** (1 / epochs), rtol=1e-13)
    assert factors[0] == 1


@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
@pytest.mark.parametrize("to", [0, 0.1, 1])
def test_linear_is_a_constant_difference(epochs, to):
    factors = [schedules.Linear(to)(epoch, epochs) for epoch in range(epochs)]
    np.testing.assert_allclose(np.diff([*factors, to]), (to - 1) / epochs, atol=1e-15)
    assert factors[0] == 1


@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
@pytest.mark.parametrize("to", [0, 0.1])
def test_cosine_is_half_a_period(epochs, to):
    """By the recursion of cos(n x), which is another way to compute it."""
    factors = [schedules.Cosine(to)(epoch, epochs) for epoch in range(epochs)]
    before, now, wanted = math.cos(math.pi / epochs), 1.0, []
    for _ in range(epochs):
        wanted.append(to + (1 - to) * (1 + now) / 2)
        before, now = now, 2 * math.cos(math.pi / epochs) * now - before
    np.testing.assert_allclose(factors, wanted, atol=1e-12)
    reversed_ = [schedules.Cosine(to)(epochs - epoch, epochs) for epoch in range(epochs)]
    np.testing.assert_allclose(np.add(factors, reversed_), 1 + to)  # the middle is a centre


def test_step_by_hand():
    step = schedules.Step(every=3, factor=0.1)
    assert [step(epoch, 8) for epoch in range(8)] == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 2)


def test_they_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    epochs, rates = 9, torch.optim.lr_scheduler
    for ours, theirs in (
        (schedules.Geometric(0.01), lambda o: rates.ExponentialLR(o, 0.01 ** (1 / epochs))),
        (schedules.Linear(0.1), lambda o: rates.LinearLR(o, 1.0, 0.1, epochs)),
        (schedules.Cosine(0.0), lambda o: rates.CosineAnnealingLR(o, epochs)),
        (schedules.Step(4, 0.5), lambda o: rates.StepLR(o, 4, 0.5)),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler = theirs(optimizer)
        for epoch in range(epochs):
            assert ours(epoch, epochs) == pytest.approx(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()


# ------------------------------------------------ names and values


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("geometric", schedules.Geometric(0.01)),
        ("geometric:0.1", schedules.Geometric(0.1)),
        ("linear", schedules.Linear(0)),
        ("linear:.5", schedules.Linear(0.5)),
        ("cosine", schedules.Cosine(0)),
        ("cosine:1e-3", schedules.Cosine(0.001)),
        ("step:10", schedules.Step(10, 0.5)),
        ("step:10,0.1", schedules.Step(10, 0.1)),
    ],
)
def test_names(text, schedule):
    assert schedules.parse(text) == schedule
    assert takes_epochs(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.to = 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "schedule is 'fast'.* or step:10,0.5, or halve"), ("", "schedule is ''"),
        ("step", "schedule is 'step'"),
        ("linear:1,2", "expected e.g. geometric:0.01"), ("cosine:much", "could not convert"),
        ("geometric:0", "to is 0.0, expected more than 0"), ("linear:-1", "to is -1.0"),
        ("linear:nan", "to is nan"), ("linear:", "schedule is 'linear:'"),
        ("step:0", "every is 0, expected at least 1"),
        ("step:1.5", "expected e.g. "), ("step:3,0", "factor is 0.0"), ("halve:2", "'halve:2'"),
    ],
)  # fmt: skip
def test_names_that_are_none(text, message):
    with pytest.raises(ValueError, match=message) as error:
        network2.Network(SIZES).SGD(DATA, 1, 10, 0.1, schedule=text)
    assert "\n" not in str(error.value)


def test_functions_of_the_epoch_and_of_two_numbers():
    rates = [3, 2, 1]
    for one in (
        lambda epoch: epoch, lambda epoch, rates=rates: rates[epoch], rates.__getitem__,
        lambda *epochs: epochs, np.sqrt, lambda epoch, *, b=2: epoch,
    ):  # fmt: skip
        assert not takes_epochs(one)
    for two in (lambda epoch, epochs: 1, lambda epoch, epochs, power=2: 1, math.atan2):
        assert takes_epochs(two)


# ------------------------------------------------ in SGD


def etas(net, epochs, eta, **how):
    history = History()
    net.SGD(DATA, epochs, 7, eta, callback=history, verbose=False, **how)
    return history["eta"]


@pytest.mark.parametrize("module", [network, network2])
def test_the_history_has_the_rates(module):
    assert etas(module.Network(SIZES), 4, 2.0, schedule="linear") == [2.0, 1.5, 1.0, 0.5]
    assert etas(module.Network(SIZES), 3, 2.0, schedule=lambda epoch, epochs: epoch) == [0, 2, 4]
    assert etas(module.Network(SIZES), 3, 9.0, schedule=lambda epoch: epoch / 2) == [0, 0.5, 1]


@pytest.mark.parametrize("module", [network, network2])
def test_warm_up(module):
    """(e + 1) / (warmup + 1) in the first epochs, times what the schedule says."""
    assert etas(module.Network(SIZES), 5, 4.0, warmup=3) == [1, 2, 3, 4, 4]
    assert etas(module.Network(SIZES), 4, 4.0, warmup=1, schedule="linear") == [2, 3, 2, 1]
    assert etas(module.Network(SIZES), 3, 9, warmup=1, schedule=lambda epoch: 8.0) == [4, 8, 8]
    assert etas(module.Network(SIZES), 1, 4.0, warmup=100) == [4 / 101]


def manual(module, rates, **how):
    """Train epoch by epoch, with the rate of each: what a schedule has to be equal to."""
    seed_both()
    net = module.Network(SIZES)
    X, Y = DATA
    order = list(range(len(X)))
    for rate in rates:
        before = random.getstate()
        net.SGD((X[order], Y[order]), 1, 7, rate, verbose=False, **how)
        random.setstate(before)
        random.shuffle(order)
    return net


@pytest.mark.parametrize("module", [network, network2])
def test_a_schedule_is_manual_epochs_to_the_bit(module):
    seed_both()
    net = module.Network(SIZES)
    net.SGD(DATA, 4, 7, 2.0, schedule=schedules.Cosine(0.1), verbose=False)
    rates = [2.0 * schedules.Cosine(0.1)(epoch, 4) for epoch in range(4)]
    other = manual(module, rates)
    assert_equal_arrays(net.weights + net.biases, other.weights + other.biases)


def test_an_eta_of_0_changes_nothing():
    net = network2.Network(SIZES)
    before = [w.copy() for w in net.weights]
    net.SGD(DATA, 2, 7, 1.0, schedule=lambda epoch, epochs: 0, verbose=False)
    assert_equal_arrays(net.weights, before)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (dict(schedule=0.5), TypeError, "schedule is 0.5"),
        (
            dict(schedule=schedules.Linear),
            TypeError,
            r"an instance, e\.g\. Linear\(\)",
        ),
        (dict(schedule=lambda epoch, epochs: "x"), TypeError, "schedule is 'x'"),
        (dict(schedule=lambda epoch, epochs: math.inf), ValueError, "schedule is inf"),
        (dict(schedule=lambda epoch, epochs: 1e300), ValueError, "eta is inf"),
        (dict(schedule="step:1,1e300"), ValueError, "eta is inf"),
        (dict(warmup=-1), ValueError, "warmup is -1"),
        (dict(warmup=0.5), TypeError, "warmup is 0.5"),
    ],
)
@pytest.mark.parametrize("module", [network, network2])
def test_bad_schedules(module, how, error, message):
    net = module.Network(SIZES)
    before = [w.copy() for w in net.weights]
    with pytest.raises(error, match=message):
        net.SGD(DATA, 2, 7, 1e200, **how)
    assert_equal_arrays(net.weights, before)


@pytest.mark.parametrize(
    ("schedule", "epochs", "message"),
    [
        ("step:1,1e300", 3, "is beyond all numbers in epoch 2"),
        ("linear:1e308", 30, "schedule is inf"),
    ],
)
def test_a_schedule_that_grows_too_large_is_refused_before_training(schedule, epochs, message):
    net = network.Network(SIZES)
    before = net.weights
    with pytest.raises(ValueError, match=message):
        net.SGD(DATA, epochs, 7, 10, schedule=schedule)
    assert net.weights is before


def test_halving_goes_by_a_monitor():
    with pytest.raises(ValueError, match=r"which goes by a monitor: fastbp\.network2 has it"):
        network.Network(SIZES).SGD(DATA, 2, 7, 1.0, schedule="halve")
    with pytest.raises(ValueError, match="warmup is 2, expected 0 with schedule 'halve'"):
        network2.Network(SIZES).SGD(DATA, 2, 7, 1.0, schedule="halve", warmup=2)


def test_what_is_compared_when_a_run_is_resumed():
    """What follows from the number of epochs can't go on with another number of them."""

    def description(schedule, warmup=0, epochs=30):
        return LearningRates(FLOAT64, 1.0, epochs, schedule, warmup, True).description

    assert description(None) is None
    assert description("halve") == "halve"
    assert description("linear") == "Linear(to=0.0) over 30 epochs"
    assert description("step:5") == description("step:5", epochs=60)
    assert description("linear") != description("linear", epochs=60)
    assert description(lambda epoch: 1.0, 2) == "a function, warm-up 2"
    assert description(lambda epoch, epochs: 1.0) == "a function over 30 epochs"
    assert description(None, 3) == "warm-up 3"


@pytest.mark.parametrize("module", [network, network2])
def test_resumed_with_another_schedule(module, tmp_path):
    def run(epochs, resume=True, **how):
        seed_both()
        net = module.Network(SIZES)
        path = tmp_path / "run.npz"
        net.SGD(
            DATA, epochs, 7, 1.0, checkpoint=path, resume=resume, verbose=False, **how
        )  # fmt: skip
        return net

    def stop_after_two(figures):
        return figures["epoch"] == 1

    for how in (dict(schedule="geometric:0.1"), dict(schedule="step:1", warmup=2)):
        run(6, resume=False, callback=stop_after_two, **how)
        with pytest.raises(ValueError, match="run with schedule"):
            run(6, schedule="linear")
    with pytest.raises(ValueError, match="run with schedule"):
        run(6, schedule="step:1", warmup=1)


# ------------------------------------------------ the initialiser for relu


def test_he_weight_initializer():
    sizes = [300, 200, 100]
    net = network2.Network(sizes, activation="relu")
    np.random.seed(4)
    net.he_weight_initializer()
    np.random.seed(4)
    wanted = [np.random.randn(200, 300) * np.sqrt(2 / 300), np.random.randn(100, 200) * 0.1]
    for w, one in zip(net.weights, wanted, strict=True):
        np.testing.assert_allclose(w, one, rtol=1e-15)
    assert all(not b.any() and not np.signbit(b).any() for b in net.biases)
    # Its purpose: the mean square of the signals stays as it is.
    a = np.random.randn(300, 2000)
    z = net.weights[0] @ a
    assert np.mean(np.maximum(z, 0) ** 2) == pytest.approx(np.mean(a**2), rel=0.1)


def test_he_weights_in_float32():
    net = network2.Network([7, 5, 2], dtype=np.float32)
    net.he_weight_initializer()
    assert {array.dtype for array in net.weights + net.biases} == {np.dtype(np.float32)}
