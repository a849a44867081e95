"""Training data that are new in each epoch: functions of the epoch, and deformed images."""

import dataclasses
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import assert_equal_arrays, columns, seed_both
from reference2 import Oracle2

import fastbp
from fastbp import History, network, network2
from fastbp.training.compute import calls, engine, plans, threads
from fastbp.training.epoch_data import new_data, prefetcher
from fastbp.training.run import Run

SIZES, EPOCHS, N = [16, 6, 4], 4, 50
MODULES = {"chapter 1": network, "chapter 3": network2}


def samples(seed=5, n=N):
    rng = np.random.default_rng(seed)
    X = rng.random((n, SIZES[0])) * (rng.random((n, SIZES[0])) < 0.5)
    return X, np.eye(SIZES[-1])[rng.integers(SIZES[-1], size=n)]


def of_epoch(epoch):
    """Return other data in each epoch."""
    return samples(100 + epoch)


TEST = samples(6)


class OwnBackprop(network.Network):
    def backprop(self, x, y):
        return super().backprop(x, y)


class OwnCost(network2.QuadraticCost):
    """A cost of the user's own, so that the reference path runs."""


def new_1(cls=network.Network, **how):
    seed_both()
    return cls(SIZES, **how)


def new_3(cost=network2.CrossEntropyCost, **how):
    seed_both()
    return network2.Network(SIZES, cost, activation="tanh", **how)


KINDS = {
    "chapter 1": (new_1, {}),
    "chapter 1, float32": (lambda: new_1(dtype=np.float32), {}),
    "chapter 1, own backprop": (lambda: new_1(OwnBackprop), {}),
    "chapter 3": (new_3, dict(lmbda=0.5, momentum=0.5, nesterov=True)),
    "chapter 3, dropout": (new_3, dict(dropout=0.2, l1=0.1, max_norm=3.0)),
    "chapter 3, Adam": (new_3, dict(optimizer="adam")),
    "chapter 3, own cost": (lambda: new_3(OwnCost), dict(lmbda=0.5)),
}


def train(kind, data, epochs=EPOCHS, **how):
    """Return (the network, what SGD returns) of a run on data; verbose, so that lines compare."""
    make, rules = KINDS[kind]
    net = make()
    if isinstance(net, network.Network):
        net.SGD(data, epochs, 7, 0.5, TEST, **how)
        return net, net.history
    everything = dict.fromkeys((f"monitor_{name}" for name in network2.MONITORS), True)
    history = net.SGD(
        data, epochs, 7, 0.3, evaluation_data=TEST, **everything, **rules, **how
    )  # fmt: skip
    return net, history


def outcome(net, history, capsys):
    return *net.weights, *net.biases, history, capsys.readouterr().out, random.getstate()


def assert_same(one, other):
    assert_equal_arrays(one[:-3], other[:-3])
    assert one[-3:] == other[-3:]


# ------------------------------------------------ what a function of the epoch is equal to


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_data_in_each_epoch_are_data_that_are_passed(kind, capsys):
    data = samples()
    wanted = outcome(*train(kind, data), capsys)
    assert_same(outcome(*train(kind, lambda epoch: data), capsys), wanted)


FORMS = {
    "arrays": lambda X, Y: (X, Y),
    "labels": lambda X, Y: (X, Y.argmax(axis=1)),
    "pairs": columns,
    "iterator": lambda X, Y: iter(columns(X, Y)),
    "columns of Fortran": lambda X, Y: (np.asfortranarray(X), Y[:, ::1]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["chapter 1", "chapter 3", "chapter 3, own cost"])
def test_all_forms_of_data(kind, form, capsys):
    wanted = outcome(*train(kind, of_epoch), capsys)
    ours = outcome(*train(kind, lambda epoch: FORMS[form](*of_epoch(epoch))), capsys)
    assert_same(ours, wanted)


def test_pixels_and_a_list_that_is_not_shuffled(capsys):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (EPOCHS, N, SIZES[0]), np.uint8)
    labels = rng.integers(4, size=N)
    pixels = outcome(*train("chapter 1", lambda e: (fastbp.Pixels(images[e]), labels)), capsys)
    floats = outcome(*train("chapter 1", lambda e: (images[e] / 256, labels)), capsys)
    assert_same(pixels, floats)
    pairs = columns(*samples())
    before = list(pairs)
    train("chapter 1", lambda epoch: pairs)
    assert all(one is other for one, other in zip(pairs, before, strict=True))


@pytest.mark.parametrize("kind", ["chapter 1", "chapter 1, own backprop", "chapter 3, own cost"])
def test_an_epoch_of_each_call(kind):
    """Without momentum, one call is as many calls of one epoch, in the order that goes on."""
    net, _ = train(kind, of_epoch)
    make, rules = KINDS[kind]
    other, order = make(), list(range(N))
    for epoch in range(EPOCHS):
        X, Y = of_epoch(epoch)
        before = random.getstate()
        if isinstance(other, network.Network):
            other.SGD((X[order], Y[order]), 1, 7, 0.5, verbose=False)
        else:
            other.SGD((X[order], Y[order]), 1, 7, 0.3, verbose=False, **rules)
        random.setstate(before)
        random.shuffle(order)
    assert_equal_arrays(net.weights + net.biases, other.weights + other.biases)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_goes_on_as_the_oracles_does(nesterov):
    net = new_3()
    seed_both()
    oracle = Oracle2(SIZES, ["tanh", "sigmoid"])
    random.seed(1)
    rules = dict(lmbda=0.7, momentum=0.8, nesterov=nesterov)
    net.SGD(of_epoch, EPOCHS, 7, 0.3, schedule="linear", verbose=False, **rules)
    random.seed(1)
    order = list(range(N))
    for epoch in range(EPOCHS):
        random.shuffle(order)
        eta = 0.3 * (1 - epoch / EPOCHS)
        oracle.train(*of_epoch(epoch), np.array(order), 7, eta, **rules)
    for ours, theirs in zip(net.weights + net.biases, oracle.weights + oracle.biases, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_monitors_of_training_data_measure_those_of_the_epoch():
    history = History()
    nets = []

    def keep(figures):
        nets.append([w.copy() for w in net.weights + net.biases])

    net = new_3()
    everything = dict(monitor_training_cost=True, monitor_training_accuracy=True)
    costs = net.SGD(
        of_epoch, 3, 7, 0.3, 0.1, callback=[history, keep], verbose=False, **everything
    )[2]
    for epoch, parameters in enumerate(nets):
        net.weights, net.biases = parameters[:2], parameters[2:]
        assert net.total_cost(of_epoch(epoch), 0.1) == pytest.approx(costs[epoch], rel=1e-12)
        assert net.accuracy(of_epoch(epoch)) == history["training_accuracy"][epoch]


@pytest.mark.parametrize("form", ["arrays", "pixels", "pairs"])
@pytest.mark.parametrize("kind", ["chapter 1", "chapter 3", "chapter 3, own cost"])
def test_a_function_may_refill_its_arrays(kind, form, capsys):
    X = np.zeros((N, SIZES[0]), np.uint8 if form == "pixels" else float)
    Y = np.zeros((N, SIZES[-1]))

    def data(epoch, X=X, Y=Y):
        inputs, Y[...] = of_epoch(epoch)
        X[...] = inputs if X.dtype == float else 255 * inputs
        pixels = fastbp.Pixels(X) if form == "pixels" else X
        return columns(X, Y) if form == "pairs" else (pixels, Y)

    def new_arrays(epoch):
        return data(epoch, X.copy(), Y.copy())

    wanted = outcome(*train(kind, new_arrays), capsys)
    assert_same(outcome(*train(kind, data), capsys), wanted)


# ------------------------------------------------ when it is called


def test_it_is_called_ahead_on_a_thread_and_never_further():
    """Each call begins when the epoch before begins, and is over before its own epoch."""
    events, trained = [], threading.Event()

    def data(epoch):
        events.append(("begins", epoch, threading.current_thread() is threading.main_thread()))
        if epoch == 1:
            assert trained.wait(60)  # epoch 0 trains meanwhile, or this would never end
        return of_epoch(epoch)

    def callback(figures):
        events.append(("trained", figures["epoch"]))
        trained.set()

    new_1().SGD(data, 3, 7, 0.5, callback=callback, verbose=False)
    assert [event[2] for event in events if event[0] == "begins"] == [False] * 3
    for epoch in range(3):
        place = next(i for i, event in enumerate(events) if event[:2] == ("begins", epoch))
        assert all(("trained", e) in events[:place] for e in range(epoch - 1))
    assert [event[1] for event in events if event[0] == "begins"] == [0, 1, 2]


def test_one_call_at_a_time():
    under_way, most = [], []

    def data(epoch):
        under_way.append(epoch)
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.remove(epoch)
        return of_epoch(epoch)

    for _ in range(3):
        new_1().SGD(data, 5, 7, 0.5, verbose=False, callback=lambda f: f["epoch"] == 3)
        assert under_way == []  # the one that nobody needs has been waited for
    assert set(most) == {1}


def test_only_calls_of_the_users_are_left_at_exit(stand_in):
    """Compiled code that runs while the interpreter ends could crash it."""
    seen = []

    def data(epoch):
        seen.append(threading.current_thread().daemon)
        return of_epoch(epoch)

    new_1().SGD(data, 2, 7, 0.5, verbose=False)
    assert seen == [True, True]
    new_1().SGD(pixels(), 2, 7, 0.5, deform=NotesThread(seen), verbose=False)
    assert seen[2:] == [False, False]


def test_no_epochs():
    called = []
    new_1().SGD(lambda epoch: called.append(epoch) or of_epoch(epoch), 0, 7, 0.5)
    assert called == [0]  # for the checks of the data


def test_without_threads(monkeypatch, capsys):
    wanted = outcome(*train("chapter 1", of_epoch), capsys)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert_same(outcome(*train("chapter 1", of_epoch), capsys), wanted)


def test_errstate_is_the_callers():
    seen = []

    def data(epoch):
        seen.append(np.geterr()["divide"])
        return of_epoch(epoch)

    with np.errstate(divide="raise"):
        new_1().SGD(data, 2, 7, 0.5, verbose=False)
    assert seen == ["raise"] * 2


# ------------------------------------------------ errors


class Broken(Exception):
    pass


@pytest.mark.parametrize("kind", ["chapter 1", "chapter 3", "chapter 3, own cost"])
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_an_exception_surfaces_where_its_epoch_begins(kind, bad, capsys):
    def data(epoch):
        if epoch == bad:
            raise Broken(f"no data for {epoch}")
        return of_epoch(epoch)

    history = History()
    with pytest.raises(Broken, match=f"no data for {bad}") as error:
        train(kind, data, callback=history)
    assert error.traceback[-1].name == "data"
    assert error.value.__notes__ == [f"while the training data of epoch {bad} were made"]
    assert [figures["epoch"] for figures in history] == list(range(bad))


BAD_DATA = [
    (lambda X, Y: (X[:-1], Y[:-1]), ValueError, r"training_data\(2\) has 49 samples, expected 50"),
    (lambda X, Y: (X[:, :-1], Y), ValueError, r"training_data\(2\): X has shape \(50, 15\)"),
    (lambda X, Y: (X, Y[:, 1:]), ValueError, r"training_data\(2\): Y has shape \(50, 3\)"),
    (lambda X, Y: columns(X, Y)[:3] + [5], ValueError, r"training_data\(2\)\[3\] is 5"),
    (lambda X, Y: (X + np.nan, Y), ValueError, r"training_data\(2\)\[0\]: x is nan"),
    (lambda X, Y: [], ValueError, r"training_data\(2\) is empty"),
    (lambda X, Y: None, TypeError, r"training_data\(2\) is None"),
]


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize(("change", "error", "message"), BAD_DATA)
def test_bad_data_in_a_later_epoch(module, change, error, message):
    """Are refused before a weight of that epoch changes; what was learned before is kept."""
    weights = []
    seed_both()
    net = module.Network(SIZES)

    def data(epoch):
        return change(*of_epoch(epoch)) if epoch == 2 else of_epoch(epoch)

    with pytest.raises(error, match=message) as raised:
        net.SGD(
            data, EPOCHS, 7, 0.5, verbose=False,
            callback=lambda figures: weights.append([w.copy() for w in net.weights]),
        )  # fmt: skip
    assert "\n" not in str(raised.value)
    assert len(weights) == 2
    assert_equal_arrays(net.weights, weights[1])


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_bad_data_in_the_first_epoch_change_nothing(module):
    seed_both()
    net = module.Network(SIZES)
    before, state = [w.copy() for w in net.weights], random.getstate()
    with pytest.raises(ValueError, match=r"training_data\(0\): X has shape"):
        net.SGD(lambda epoch: (np.ones((5, 3)), np.ones(5)), 2, 7, 0.5)
    assert_equal_arrays(net.weights, before)
    assert random.getstate() == state


def test_a_class_or_a_data_set_that_can_be_called_is_no_function():
    class Pairs(list):
        def __call__(self):
            raise AssertionError

    train("chapter 1", Pairs(columns(*samples())))


def test_divergence_says_the_epoch():
    X, Y = samples()
    with pytest.raises(FloatingPointError, match="in epoch 2"):
        network2.Network(SIZES, network2.QuadraticCost, activation="linear", output="linear").SGD(
            lambda epoch: (X, Y * (1e200 if epoch == 2 else 1)), EPOCHS, 7, 0.1, verbose=False
        )


# ------------------------------------------------ signals


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_ctrl_c_while_the_data_are_awaited(module, tmp_path, capsys):
    """Comes at once, and the run goes on later from the end of the epoch before."""
    slow = threading.Event()

    def data(epoch):
        if epoch == 2 and not slow.is_set():
            threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
            slow.wait(60)
        return of_epoch(epoch)

    def run(**how):
        seed_both()
        net = module.Network(SIZES)
        net.SGD(data, EPOCHS, 7, 0.5, checkpoint=tmp_path / "run.npz", **how)
        return net

    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert time.perf_counter() - began < 30
    slow.set()
    capsys.readouterr()
    resumed, lines = run(resume=True), capsys.readouterr().out
    (tmp_path / "run.npz").unlink()
    assert_equal_arrays(resumed.weights, run().weights)
    assert capsys.readouterr().out == lines


def test_ctrl_c_ends_a_process_whose_data_never_come(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import time, numpy as np\n"
        "from fastbp import network\n"
        "def data(epoch):\n"
        "    if epoch:\n"
        "        print('waits', flush=True)\n"
        "        time.sleep(300)\n"
        "    return np.ones((9, 5)), np.zeros(9, int)\n"
        "network.Network([5, 3]).SGD(data, 2, 3, 0.1)\n"
    )
    command, pipe = [sys.executable, str(program)], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        while process.stdout.readline() != "waits\n":
            assert process.poll() is None, process.stderr.read()
        time.sleep(1.0)  # until epoch 0 is over
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert time.perf_counter() - began < 10
    assert "KeyboardInterrupt" in errors
    assert process.returncode in (-signal.SIGINT, 1, 130)


# ------------------------------------------------ checkpoints


def interrupt_at(monkeypatch, count):
    """Let Ctrl-C come between two mini-batches, when progress is noted for the count-th time."""
    real, left = Run._note_progress, [count]

    def note(self, samples):
        answer = real(self, samples)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)
            return True
        return answer

    monkeypatch.setattr(Run, "_note_progress", note)
    monkeypatch.setattr(calls, "KERNEL_SECONDS", 1e-6)


def interrupted(monkeypatch, count, kind, data, path, **how):
    """Train until Ctrl-C comes, which is the count-th time that progress is noted."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, count)
        with pytest.raises(KeyboardInterrupt):
            train(kind, data, checkpoint=path, **how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3, 6, 9])
def test_interrupted_and_resumed_to_the_bit(kind, count, tmp_path, monkeypatch, capsys):
    called = []
    if kind == "chapter 3":  # whose driver is called once in an epoch
        count = min(count, EPOCHS)

    def data(epoch):
        called.append(epoch)
        return of_epoch(epoch)

    path = tmp_path / "run.npz"
    wanted = outcome(*train(kind, data), capsys)
    interrupted(monkeypatch, count, kind, data, path)
    capsys.readouterr()
    called.clear()
    assert_same(outcome(*train(kind, data, checkpoint=path, resume=True), capsys), wanted)
    assert called == list(range(called[0], EPOCHS))
    if "own" in kind:  # there is one for each of 8 mini-batches of an epoch
        assert called[0] == (count - 1) // 8
    called.clear()  # of a run that is complete only the size of the data is needed
    assert_same(outcome(*train(kind, data, checkpoint=path, resume=True), capsys), wanted)
    assert called == [EPOCHS - 1]


def test_other_data_of_the_epoch_are_not_resumed(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    interrupted(monkeypatch, 3, "chapter 3", of_epoch, path)
    with pytest.raises(ValueError, match="by a run with other training_data"):
        train("chapter 3", lambda epoch: samples(epoch), checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="a run with samples 50, this one has 49"):
        train("chapter 3", lambda e: samples(100 + e, 49), checkpoint=path, resume=True)
    train("chapter 3", of_epoch, checkpoint=path, resume=True)


def test_fixed_data_are_not_resumed_with_a_function(tmp_path):
    path, data = tmp_path / "run.npz", samples()
    train("chapter 1", data, 2, checkpoint=path)
    with pytest.raises(ValueError, match="other training_data"):
        train("chapter 1", lambda epoch: data, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(epoch="x"), "epoch is 'x'"),
        (dict(epoch=-1), "epoch is -1"),
        (dict(begun=None, epoch=None), "epoch is None"),
        (dict(deform_seed="x"), "deform_seed is 'x'"),
    ],
)
def test_a_checkpoint_with_an_impossible_position(change, message, tmp_path):
    path = tmp_path / "run.npz"
    train("chapter 1", of_epoch, 2, checkpoint=path)
    about, arrays = fastbp.training.checkpoint.read(path)
    about["state"] |= change
    fastbp.training.checkpoint.write(path, about, arrays)
    with pytest.raises(ValueError, match=message) as error:
        train("chapter 1", of_epoch, checkpoint=path, resume=True)
    assert str(path) in str(error.value)


# ------------------------------------------------ deformed images


@dataclasses.dataclass(frozen=True)
class Deformation:
    """A stand-in: it multiplies images by numbers that follow from seed, epoch and image."""

    elastic: tuple | None = None
    rotation: float = 0.0

    def __post_init__(self):
        if self.rotation < 0:
            raise ValueError(f"rotation is {self.rotation}, expected at least 0")

    def apply(self, images, labels, seed, epoch, out=None, threads=None):
        assert images.shape == (len(labels), SIZES[0])
        assert labels.dtype.kind == "i"
        out = np.empty_like(images) if out is None else out
        if not self.rotation:
            out[:] = images
            return out
        for i, image in enumerate(images):
            factor = np.random.default_rng([seed, epoch, i]).random(SIZES[0])
            out[i] = image * (1 - factor / (1 + labels[i]))
        return out


@dataclasses.dataclass(frozen=True)
class NotesThread(Deformation):
    elastic: list = ()

    def apply(self, images, *how, **more):
        self.elastic.append(threading.current_thread().daemon)
        return images


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr("fastbp.training.epoch_data.deformation.Deformation", Deformation)


def pixels(n=N):
    rng = np.random.default_rng(8)
    return fastbp.Pixels(rng.integers(0, 256, (n, SIZES[0]), np.uint8)), rng.integers(4, size=n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["Pixels", "arrays", "pairs"])
def test_deformed_images_are_those_of_the_function(kind, form, stand_in, capsys):
    """The seed is the one that follows from random's state; nothing is drawn for it."""
    images, labels = pixels() if form == "Pixels" else samples()
    data = columns(images, labels) if form == "pairs" else (images, labels)
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)
    KINDS[kind][0]()  # for the state of random
    seed = new_data.seed_of_run()

    def deformed(epoch):
        array = images.array if form == "Pixels" else images
        array = Deformation(rotation=15).apply(array, labels, seed, epoch)
        return fastbp.Pixels(array) if form == "Pixels" else array, labels

    one = outcome(*train(kind, data, deform=dict(rotation=15)), capsys)
    assert_same(one, outcome(*train(kind, deformed), capsys))
    if form == "pairs":  # the caller's list is shuffled, as ever
        assert any(x is not y for (x, _), (y, _) in zip(data, columns(*samples()), strict=True))


def test_a_call_that_a_run_left_behind_ends_before_the_function_is_called_again():
    """It may fill the same arrays."""
    (X, Y), last, calls_now, most = samples(), threading.Event(), [], []

    def data(epoch):
        calls_now.append(epoch)
        most.append(len(calls_now))
        if epoch == 1:  # ahead, while the callback of epoch 0 ends the run
            last.wait(0.5)
        X[:] = epoch / 10
        calls_now.remove(epoch)
        return X, Y

    def stop(figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_1().SGD(data, 3, 7, 0.5, verbose=False, callback=stop)
    net = new_1()
    net.SGD(data, 1, 7, 0.5, verbose=False)
    again = new_1()
    again.SGD((np.zeros_like(X), Y), 1, 7, 0.5, verbose=False)
    assert len(most) > 2
    assert max(most) == 1
    assert_equal_arrays(net.weights, again.weights)


@pytest.mark.parametrize("busy", [False, True])
def test_images_are_deformed_between_epochs_where_training_uses_all_processors(
    busy, stand_in, monkeypatch, capsys
):
    wanted = outcome(*train("chapter 3", pixels(), deform=dict(rotation=15)), capsys)
    monkeypatch.setattr(engine, "uses_all_processors", lambda *arguments: busy)
    ahead, prefetch = [], prefetcher.EpochPrefetcher.prefetch

    def noted(self, epoch):
        ahead.append(epoch)
        prefetch(self, epoch)

    monkeypatch.setattr(prefetcher.EpochPrefetcher, "prefetch", noted)
    found = outcome(*train("chapter 3", pixels(), deform=dict(rotation=15)), capsys)
    assert_same(found, wanted)
    assert ahead == ([] if busy else [*range(1, EPOCHS + 1)])
    del ahead[:]
    train("chapter 3", of_epoch)  # a function of the user's may take long, whatever it uses
    assert ahead == [*range(1, EPOCHS + 1)]


def test_whether_all_processors_are_used(monkeypatch):
    monkeypatch.setattr(threads, "usable", lambda n=None: min(n or 2, 2))
    plan, tuner = plans.plan_of((784, 100, 10)), threads.Tuner()
    monkeypatch.setattr(threads, "tuner", lambda *work: tuner)
    assert not engine.uses_all_processors(plan, 10, np.float32)  # not known yet
    for _ in range(threads.TRIALS):
        tuner.note(False, 1.0, 10)
        tuner.note(True, 0.9, 10)
    assert engine.uses_all_processors(plan, 10, np.float32)
    assert not engine.uses_all_processors(plan, 10, np.float32, 1)
    tuner.note(False, 0.5, 10)
    assert not engine.uses_all_processors(plan, 10, np.float32)


def test_no_deformation_is_no_change(stand_in, capsys):
    wanted = outcome(*train("chapter 3", pixels()), capsys)
    assert_same(outcome(*train("chapter 3", pixels(), deform={}), capsys), wanted)
    assert_same(outcome(*train("chapter 3", pixels(), deform=Deformation()), capsys), wanted)


def test_a_function_whose_images_are_deformed(stand_in, capsys):
    how = dict(deform=dict(rotation=3))
    wanted = outcome(*train("chapter 3", pixels(), **how), capsys)
    assert_same(outcome(*train("chapter 3", lambda epoch: pixels(), **how), capsys), wanted)


def test_the_seed_follows_from_random(stand_in):
    state = random.getstate()
    assert new_data.seed_of_run() == new_data.seed_of_run()
    assert random.getstate() == state
    random.seed(1)
    one = new_data.seed_of_run()
    random.seed(2)
    assert new_data.seed_of_run() != one


@pytest.mark.parametrize("kind", ["chapter 1", "chapter 3", "chapter 3, own cost"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_deformed_images_are_resumed(kind, count, stand_in, tmp_path, monkeypatch, capsys):
    how, path = dict(deform=dict(rotation=9)), tmp_path / "run.npz"
    wanted = outcome(*train(kind, pixels(), **how), capsys)
    interrupted(monkeypatch, count, kind, pixels(), path, **how)
    capsys.readouterr()
    monkeypatch.setattr(new_data, "seed_of_run", lambda: 7)  # the file's counts
    again = dict(checkpoint=path, resume=True)
    assert_same(outcome(*train(kind, pixels(), **again, **how), capsys), wanted)
    message = r'with deform "Deformation\(elastic=None, rotation=9\)", this one has '
    with pytest.raises(ValueError, match=message + "null"):
        train(kind, pixels(), **again)
    with pytest.raises(ValueError, match=message + '"Deformation'):
        train(kind, pixels(), **again, deform=dict(rotation=8))


@pytest.mark.slow
def test_killed_and_resumed_to_the_bit(tmp_path):
    """A process is killed in the middle of an epoch on new data, with momentum and a schedule."""
    program = tmp_path / "program.py"
    program.write_text(
        "import random, sys, numpy as np\n"
        "from fastbp import network2\n"
        "def data(epoch):\n"
        "    rng = np.random.default_rng(epoch)\n"
        "    print(epoch, flush=True)\n"
        "    return rng.random((4000, 30)), rng.integers(10, size=4000)\n"
        "random.seed(1)\n"
        "np.random.seed(1)\n"
        "net = network2.Network([30, 40, 10], activation='relu')\n"
        "net.he_weight_initializer()\n"
        "net.SGD(data, 12, 10, 0.01, momentum=0.9, schedule='cosine', warmup=2, verbose=False,\n"
        "        checkpoint=sys.argv[1], checkpoint_every=0.0, resume=True)\n"
        "np.savez(sys.argv[2], *net.weights, *net.biases)\n"
    )

    def start(run):
        command = [sys.executable, program, tmp_path / f"{run}.npz", tmp_path / f"{run}-net.npz"]
        return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)

    with start("whole") as whole:
        assert whole.wait(timeout=120) == 0
    for stop in ("3", "7"):
        with start("killed") as process:
            while process.stdout.readline().strip() != stop:
                assert process.poll() is None
            time.sleep(0.02)
            process.kill()
    with start("killed") as last:
        assert last.wait(timeout=120) == 0
        assert 5 <= int(last.stdout.readline()) < 12  # it has gone on, and not begun anew
    with np.load(tmp_path / "whole-net.npz") as one, np.load(tmp_path / "killed-net.npz") as other:
        assert_equal_arrays(one.values(), other.values())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads, stand_in):
    seed_both()
    net = network2.Network([16, 200, 4], activation="relu", threads=threads)
    net.SGD(pixels(300), 2, 100, 0.1, momentum=0.9, deform=dict(rotation=5), verbose=False)
    _by_threads.append(net.weights)
    assert_equal_arrays(net.weights, _by_threads[0])


_by_threads = []


@pytest.mark.parametrize(
    ("deform", "error", "message"),
    [
        (5, TypeError, "deform is 5"),
        (dict(elastik=3), ValueError, "deform has 'elastik'.* expected some of elastic, rotation"),
        ({3: 4}, ValueError, "deform has 3"),
        (dict(rotation=-1), ValueError, "deform: rotation is -1, expected at least 0"),
        (dict(rotation="much"), TypeError, "deform: "),
    ],
)
def test_bad_deformations(deform, error, message, stand_in):
    with pytest.raises(error, match=message) as raised:
        network.Network(SIZES).SGD(pixels(), 1, 7, 0.5, deform=deform)
    assert "\n" not in str(raised.value)


def test_one_output_neuron_is_deformed_by_its_numbers(stand_in):
    X, labels = pixels()
    net = network2.Network([16, 3, 1])
    net.SGD((X, labels % 2), 2, 7, 0.5, deform=dict(rotation=1), verbose=False)
    assert np.isfinite(net.weights[0]).all()
