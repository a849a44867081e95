"""Ctrl-C and SIGTERM end a run between mini-batches, with whole lines and a checkpoint."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import JIT
from formats import digits, write_idx
from helpers import seed_both

from fastbp import network, network2
from fastbp.training import checkpoint, signals

needs_jit = pytest.mark.skipif(not JIT, reason="a process of its own compiles")


# ------------------------------------------------ signals that wait


def test_a_signal_waits_until_it_is_delivered():
    with signals.DeferredSignals() as held:
        signal.raise_signal(signal.SIGINT)
        assert held.pending
        with pytest.raises(KeyboardInterrupt):
            held.deliver()
        assert held.delivered
        assert not held.pending
        held.deliver()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_pending_signal_is_delivered_when_the_block_ends():
    with pytest.raises(KeyboardInterrupt), signals.DeferredSignals():
        signal.raise_signal(signal.SIGINT)


def test_a_second_signal_is_delivered_at_once():
    with signals.DeferredSignals() as held:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert not held.pending


def test_signals_are_delivered_at_once_where_they_are_allowed():
    with signals.DeferredSignals() as held:
        with pytest.raises(KeyboardInterrupt), signals.allow_signals():
            signal.raise_signal(signal.SIGINT)
        assert held.delivered
        with signals.allow_signals(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not held.delivered  # the exception was caught
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), signals.allow_signals():
            pytest.fail("it waited")
        signal.raise_signal(signal.SIGINT)  # and afterwards it waits again
        with pytest.raises(KeyboardInterrupt):
            held.deliver()
    with signals.allow_signals():  # without an outer block it does nothing
        pass


def test_the_users_own_handler_is_called(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with signals.DeferredSignals() as held:
            signal.raise_signal(signal.SIGINT)
            assert not seen
            held.deliver()
            assert seen == [signal.SIGINT]
            assert not held.delivered  # it raised nothing
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_signals_are_both_delivered_and_new_handlers_stay():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with signals.DeferredSignals() as held:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                held.deliver()
            assert seen == [signal.SIGTERM]
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_only_the_signals_that_are_meant_are_delivered():
    with signals.DeferredSignals() as held:
        signal.raise_signal(signal.SIGINT)
        held.deliver([signal.SIGTERM])
        assert list(held.pending) == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            held.deliver([signal.SIGINT])
        assert not held.pending


def test_no_signal_is_delivered_where_they_are_blocked():
    with signals.DeferredSignals() as held:
        with held.blocked(), signals.allow_signals():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            held.deliver()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_its_signals_back():
    with signals.DeferredSignals():
        child = os.fork()
        if child == 0:
            os._exit(0 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_sigterm_is_deferred_only_if_it_has_a_handler():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with signals.DeferredSignals():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_inner_block_leaves_signals_to_the_outer_one():
    with signals.DeferredSignals() as outer:
        with signals.DeferredSignals() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner.pending
            inner.deliver()
            assert outer.pending
        with pytest.raises(KeyboardInterrupt):
            outer.deliver()


def test_threads_other_than_the_main_one_defer_no_signals():
    def work():
        with signals.DeferredSignals() as held, signals.allow_signals():
            seen.append((held.pending, signal.getsignal(signal.SIGINT)))

    seen = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [({}, signal.default_int_handler)]


# ------------------------------------------------ training


@pytest.mark.parametrize("module", [network, network2])
def test_ctrl_c_in_the_middle_of_an_epoch(module, monkeypatch, tmp_path, capsys):
    """The weights are those after so many whole mini-batches as the checkpoint says."""
    images, labels = digits(20_000, seed=0)
    training = X, labels = images.reshape(-1, 784) / np.float32(256), labels.astype(int)
    path = tmp_path / "run.npz"

    def new():
        seed_both(1)
        return module.Network([784, 30, 10])

    net = new()
    net.SGD(training, 1, 10, 1.0)  # compiled
    net = new()
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.SGD(training, 10_000, 10, 1.0, checkpoint=path)
    about, content = checkpoint.read(path)
    epoch, position = about["state"]["epoch"], about["state"]["position"]
    assert position % 10 == 0
    for l, w in enumerate(net.weights):
        np.testing.assert_array_equal(w, content[f"weights_{l}"])
    assert "".join(line + "\n" for line in about["state"]["lines"]) in capsys.readouterr().out
    # The same again, step by step.
    other = new()
    if epoch:
        other.SGD(training, epoch, 10, 1.0)
    order = content["order"][:position]
    for k in range(0, position, 10):
        batch = X[order[k : k + 10]], labels[order[k : k + 10]]
        step = (1.0,) if module is network else (1.0, 0.0, len(X))
        other.update_mini_batch(batch, *step)
    for ours, theirs in zip(net.weights, other.weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@needs_jit
@pytest.mark.parametrize(
    ("number", "status", "word", "with_checkpoint"),
    [
        (signal.SIGINT, 130, "interrupted", True),
        (signal.SIGTERM, 143, "terminated", True),
        (signal.SIGINT, 130, "interrupted", False),
    ],
)
def test_the_command_line(number, status, word, with_checkpoint, tmp_path):
    path, model = tmp_path / "run.npz", tmp_path / "model.npz"
    folder = write_idx(tmp_path / "data", (*digits(6000, 1), *digits(1000, 2)), packed=False)
    command = ["train", "--data", folder, "--epochs", "100000", "--seed", "1", "--save", model]
    command += ["--checkpoint", path] if with_checkpoint else []
    process = subprocess.Popen(
        [sys.executable, "-m", "fastbp", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(3)]
    time.sleep(0.1)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == status
    printed = "".join(lines) + out
    assert printed.endswith("\n")
    assert all(line.startswith("Epoch ") for line in printed.splitlines())
    advice = f"; the same with --checkpoint {path} --resume goes on" if with_checkpoint else ""
    assert error.splitlines()[-1] == f"fastbp: {word}{advice}"
    assert "saved to" in error
    assert "Traceback" not in error
    net = network.load(model)
    if with_checkpoint:
        about, content = checkpoint.read(path)
        assert about["state"]["lines"] == printed.splitlines()
        np.testing.assert_array_equal(net.weights[0], content["weights_0"])
