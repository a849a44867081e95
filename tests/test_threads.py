"""How many threads, which way is faster, and teams that never wait for ever."""

import os
import threading
import time

import numpy as np
import pytest
from conftest import JIT

from fastbp import engine, kernels, threads, vectors

pytestmark = pytest.mark.skipif(not JIT, reason="teams run compiled code")


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
    monkeypatch.setattr(kernels.config, "NUMBA_NUM_THREADS", 6)
    monkeypatch.setattr(threads, "_quota", lambda: 3)
    assert [threads.usable(n) for n in (None, 1, 2, 5)] == [3, 1, 2, 3]
    monkeypatch.setattr(threads, "_quota", lambda: float("inf"))
    assert threads.usable() == 6


# ------------------------------------------------ one or all


def test_both_ways_take_turns_and_the_faster_stays():
    for slow in (False, True):
        choice, taken = threads.Choice(), []
        for _ in range(2 * threads.TRIALS):
            assert choice.undecided
            taken.append(choice.parallel)
            choice.note(choice.parallel, 1.2 if choice.parallel is slow else 1.0, 10)
        assert taken == [False, True] * threads.TRIALS
        assert not choice.undecided
        assert choice.parallel is not slow
        choice.note(not slow, 100.0, 1)  # decided is decided
        assert choice.parallel is not slow


def test_what_is_clear_needs_no_second_trial():
    for slow in (False, True):
        choice = threads.Choice()
        choice.note(False, 1.6 if slow else 1.0, 10)
        assert choice.undecided
        choice.note(True, 1.0 if slow else 1.6, 10)
        assert not choice.undecided
        assert choice.parallel is slow


def test_a_choice_belongs_to_its_work():
    assert threads.choice("a", 1) is threads.choice("a", 1)
    assert threads.choice("a", 1) is not threads.choice("a", 2)


def test_training_tries_both_ways_and_small_work_neither(monkeypatch, rng):
    monkeypatch.setattr(threads, "usable", lambda limit: 2)
    monkeypatch.setattr(threads, "_choices", {})
    teams = []
    real = threads.in_team
    monkeypatch.setattr(threads, "in_team", lambda n, *rest: (teams.append(n), real(n, *rest)))
    X, Y = rng.random((3000, 20)), rng.random((3000, 5))
    for sizes, m, tried in (((20, 300, 5), 100, True), ((20, 7, 5), 10, False)):
        teams.clear()
        plan = engine.plan_of(sizes)
        samples = engine.Samples(X, Y)
        for _ in range(8):
            engine.train(np.zeros(plan.n_params), plan, samples, np.arange(3000), m, 0.1)
        assert (2 in teams) is tried
        if tried:
            assert teams[:2] == [1, 2]


# ------------------------------------------------ teams


@pytest.mark.parametrize("shares", [1, 2, 3, 8])  # more than there are processors, too
def test_a_team_meets(shares):
    seen = []

    def work(team, share, count):
        vectors.meet_often(team, share, count, 300)
        seen.append(share)

    threads.in_team(shares, work)
    assert sorted(seen) == list(range(shares))


def test_nobody_passes_a_meeting_before_the_last_has_come():
    arrived, passed = [], []

    def work(team, share, shares):
        time.sleep(0.02 * share)
        arrived.append(share)
        vectors.meet_often(team, share, shares, 1)
        passed.append(len(arrived))

    threads.in_team(3, work)
    assert passed == [3, 3, 3]


def test_where_no_thread_can_be_started_one_does_it_all(monkeypatch):
    started = []
    real = threading.Thread.start

    def start(self):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    seen = []

    def work(team, share, shares):
        vectors.meet_often(team, share, shares, 10)
        seen.append((share, shares))

    threads.in_team(4, work)
    assert seen == [(0, 1)]
    assert not started[0].is_alive() or started[0].join(5) is None


def test_an_interrupt_before_the_start_leaves_nobody_waiting(rng, monkeypatch):
    """Ctrl-C in the main thread between the gate and the kernel: the others give up unchanged."""
    plan = engine.plan_of((20, 30, 5))
    params = rng.random(plan.n_params)
    X, Y = rng.random((300, 20)), rng.random((300, 5))
    samples = engine.Samples(X, Y)
    engine.train(params.copy(), plan, samples, np.arange(300), 100, 0.1)  # compiled
    before, n_threads = params.copy(), threading.active_count()
    real = vectors.run_program

    def interrupted(team, share, *rest):
        if share == 0:
            raise KeyboardInterrupt
        real(team, share, *rest)

    interrupted.signatures = real.signatures
    monkeypatch.setattr(vectors, "run_program", interrupted)
    monkeypatch.setattr(threads, "mode", "always")
    monkeypatch.setattr(threads, "usable", lambda limit: 3)
    monkeypatch.setattr(engine, "SHARED_FLOPS", 0)
    with pytest.raises(KeyboardInterrupt):
        engine.train(params, plan, samples, np.arange(300), 100, 0.1)
    assert threading.active_count() == n_threads
    np.testing.assert_array_equal(params, before)


def test_an_interrupt_while_it_waits_for_the_others_comes_afterwards(monkeypatch):
    real, interrupts, alive = threading.Thread.join, [KeyboardInterrupt()], []

    def join(self, timeout=None):
        if interrupts:
            raise interrupts.pop()
        real(self, timeout)

    def work(team, share, shares):
        time.sleep(0.1 * share)
        alive.append(share)

    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        threads.in_team(3, work)
    assert sorted(alive) == [0, 1, 2]


def test_an_interrupt_while_threads_start_leaves_none_behind(monkeypatch):
    real, before = threading.Thread.start, threading.active_count()

    def start(self):
        real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        threads.in_team(3, lambda team, share, shares: None)
    monkeypatch.undo()
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.05)
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_member_that_fails_keeps_nobody_waiting():
    def work(team, share, shares):
        if share == 1:
            raise MemoryError
        vectors.meet_often(team, share, shares, 1)

    with pytest.raises(RuntimeError, match="a thread of the team failed"):
        threads.in_team(3, work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_trains_on_a_team(monkeypatch, rng):
    monkeypatch.setattr(threads, "usable", lambda limit: 2)
    monkeypatch.setattr(threads, "mode", "always")
    monkeypatch.setattr(engine, "SHARED_FLOPS", 0)
    plan = engine.plan_of((20, 30, 5))
    samples = engine.Samples(rng.random((300, 20)), rng.random((300, 5)))

    def trained():
        params = np.ones(plan.n_params)
        engine.train(params, plan, samples, np.arange(300), 100, 0.1)
        return params

    wanted = trained()
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(trained(), wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0
