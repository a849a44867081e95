"""The number of threads, the choice between serial and parallel, and one launch at a time."""

import threading

import numpy as np
import pytest
from conftest import JIT

from fastbp.kernels import drivers, jit
from fastbp.training.compute import calls, engine, threads
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.samples import Samples

pytestmark = pytest.mark.skipif(not JIT, reason="only compiled code runs on threads")


def folder_with(path, **files):
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


# ------------------------------------------------ how many


@pytest.mark.parametrize(
    ("text", "processors"),
    [("max 100000", None), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)],
)
def test_the_quota_of_a_control_group(tmp_path, text, processors):
    own = folder_with(tmp_path, own="0::/a/b\n") / "own"
    folder_with(tmp_path / "a" / "b", cpu__max=text + "\n")
    assert threads._quota.__wrapped__(tmp_path, own) == (processors or float("inf"))


def test_a_limit_of_a_group_above_holds_too(tmp_path):
    own = folder_with(tmp_path, own="0::/a/b\n") / "own"
    folder_with(tmp_path / "a", cpu__max="300000 100000")
    folder_with(tmp_path / "a" / "b", cpu__max="max 100000")
    assert threads._quota.__wrapped__(tmp_path, own) == 3


@pytest.mark.parametrize(("quota", "processors"), [("-1", None), ("250000", 3)])
def test_the_quota_of_the_first_version(tmp_path, quota, processors):
    own = folder_with(tmp_path, own="4:memory:/x\n3:cpu,cpuacct:/job\n") / "own"
    folder_with(
        tmp_path / "cpu,cpuacct" / "job", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000"
    )
    assert threads._quota.__wrapped__(tmp_path, own) == (processors or float("inf"))


def test_no_control_groups_no_quota(tmp_path):
    assert threads._quota.__wrapped__(tmp_path, tmp_path / "none") == float("inf")


def test_usable_is_the_least_of_all_limits(monkeypatch):
    monkeypatch.setattr(threads, "_affinity", lambda: 8)
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 6)
    monkeypatch.setattr(threads, "_quota", lambda: 3)
    assert [threads.usable(n) for n in (None, 1, 2, 5)] == [3, 1, 2, 3]
    monkeypatch.setattr(threads, "_quota", lambda: float("inf"))
    assert threads.usable() == 6


@pytest.mark.parametrize(("text", "count"), [
    ("2", 2), (" 3,1", 3), ("0", 8), ("many", 8), ("", 8), ("16", 8),
])  # fmt: skip
def test_the_environment_says_how_many_unless_the_caller_does(text, count, monkeypatch):
    monkeypatch.setattr(threads, "_affinity", lambda: 8)
    monkeypatch.setattr(threads, "_quota", lambda: 8)
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", 8)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads.usable() == count
    assert threads.usable(5) == 5


# ------------------------------------------------ one or all


@pytest.mark.parametrize("slow", [False, True])
def test_both_ways_take_turns_and_the_faster_stays(slow):
    tuner, taken = threads.Tuner(), []
    for _ in range(2 * threads.TRIALS):
        assert tuner.probing
        taken.append(tuner.parallel)
        tuner.note(tuner.parallel, 1.2 if tuner.parallel is slow else 1.0, 10)
    assert taken == [False, True] * threads.TRIALS
    assert tuner.decided
    assert tuner.parallel is not slow


@pytest.mark.parametrize("slow", [False, True])
def test_a_clear_difference_needs_no_second_trial(slow):
    tuner = threads.Tuner()
    tuner.note(False, 1.6 if slow else 1.0, 10)
    assert tuner.probing
    tuner.note(True, 1.0 if slow else 1.6, 10)
    assert tuner.decided
    assert tuner.parallel is slow


@pytest.mark.parametrize("slowdown", [1.05, 1.5, 20.0])
def test_a_wrong_first_guess_does_not_last_and_trials_are_cheap(slowdown):
    """The first calls fell into a moment in which all threads were slow; the truth is otherwise."""
    tuner, wasted, total, calls = threads.Tuner(), 0.0, 0.0, 0
    for _ in range(2):
        tuner.note(tuner.parallel, 10.0 if tuner.parallel else 2.0, 100)
    assert tuner.parallel is False
    while not tuner.faster:  # the parallel way now takes 0.01 s a sample, the serial one more
        calls += 1
        assert calls < 10_000
        way, samples = tuner.parallel, 2 if tuner.probing else 10
        tuner.note(way, samples * 0.01 * (1.0 if way else slowdown), samples)
    for _ in range(10_000):
        way, probing = tuner.parallel, tuner.probing
        samples = 10
        if probing:
            samples = threads.PROBE_SECONDS / (0.01 * (1.0 if way else slowdown))
        seconds = samples * 0.01 * (1.0 if way else slowdown)
        tuner.note(way, seconds, samples)
        total += seconds
        wasted += seconds - samples * 0.01
    assert tuner.parallel or tuner.probing
    assert 0 < wasted < 0.01 * total


def test_each_kind_of_work_has_its_own_tuner():
    assert threads.tuner("a", 1) is threads.tuner("a", 1)
    assert threads.tuner("a", 1) is not threads.tuner("a", 2)


def test_training_tries_both_ways_and_small_work_neither(monkeypatch, rng):
    monkeypatch.setattr(threads, "usable", lambda limit: 2)
    monkeypatch.setattr(threads, "_tuners", {})
    taken = []
    note = threads.Tuner.note

    def noted(tuner, way, *rest):
        taken.append(way)
        note(tuner, way, *rest)

    monkeypatch.setattr(threads.Tuner, "note", noted)
    X, Y = rng.random((3000, 20)), rng.random((3000, 5))
    for sizes, m, tried in (((20, 300, 5), 100, True), ((20, 7, 5), 10, False)):
        taken.clear()
        plan = plan_of(sizes)
        samples = Samples(X, Y)
        for _ in range(100):
            engine.train(np.zeros(plan.n_params), plan, samples, np.arange(3000), m, 0.1)
            for compiling in list(calls._compiling.values()):
                compiling.join()
            if True in taken:
                break
        assert (True in taken) is tried


# ------------------------------------------------ launches


def test_one_launch_at_a_time_the_others_are_serial():
    """Numba's workqueue ends a process in which two threads launch at once."""
    seen = []

    def other():
        with threads.launching(2) as is_parallel:
            seen.append(is_parallel)

    with threads.launching(2) as is_parallel:
        worker = threading.Thread(target=other)
        worker.start()
        worker.join()
        other()  # nested
    assert is_parallel
    assert seen == [False, False]
    other()
    assert seen[-1]
    with threads.launching(1) as is_parallel:
        assert not is_parallel


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_launch_that_fails_leaves_all_as_it_was(error):
    before = jit.get_num_threads()
    with pytest.raises(error), threads.launching(2):
        raise error
    assert jit.get_num_threads() == before
    with threads.launching(2) as is_parallel:
        assert is_parallel


@pytest.mark.parametrize("always", [True, False], ids=["always", "auto"])
def test_the_parallel_driver_is_compiled_while_the_serial_one_trains(always, monkeypatch, rng):
    waited, go_on = [], threading.Event()

    def prepare(driver, *arguments):
        if driver is drivers.sgd_steps_parallel:
            waited.append(go_on.wait(10))

    plan = plan_of((20, 300, 5))
    X, Y = rng.random((300, 20)), rng.random((300, 5))
    samples, params = Samples(X, Y), rng.random(plan.n_params)
    engine.train(params.copy(), plan, samples, np.arange(300), 100, 0.1, n_threads=1)
    monkeypatch.setattr(threads, "usable", lambda limit: 2)
    monkeypatch.setattr(threads, "_tuners", {})
    monkeypatch.setattr(calls, "_compiling", {})
    monkeypatch.setattr(calls, "PARALLEL_FLOPS", 0)
    monkeypatch.setattr(jit, "prepare", prepare)
    if always:
        monkeypatch.setattr(threads, "mode", "always")
        go_on.set()
    for _ in range(3):
        engine.train(params, plan, samples, np.arange(300), 100, 0.1)
    go_on.set()
    for thread in calls._compiling.values():
        thread.join()
    assert waited == [True]  # False: training has waited for the compiler


def test_a_parallel_driver_that_cannot_be_compiled_leaves_the_serial_one(rng, monkeypatch):
    plan = plan_of((5, 4, 3))
    X, Y, start = rng.random((40, 5)), rng.random((40, 3)), rng.random(plan.n_params)
    monkeypatch.setattr(threads, "usable", lambda limit: 2)
    monkeypatch.setattr(calls, "_compiling", {})
    results, real = [], jit.prepare

    def fails(function, *arguments):
        if function is drivers.sgd_steps_parallel:
            raise ValueError("no parallel code")
        real(function, *arguments)

    for mode in ("never", "always"):
        monkeypatch.setattr(threads, "mode", mode)
        monkeypatch.setattr(jit, "prepare", fails)
        params = start.copy()
        engine.train(params, plan, Samples(X, Y), np.arange(40), 5, 1.0)
        results.append(params)
    np.testing.assert_array_equal(*results)
