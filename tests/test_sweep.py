"""A search over hyper-parameters by several processes, one of which is killed."""

import collections
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="sweeps need dask: pip install 'fastbp[sweep]'")
from bench import sweep
from bench.workload import load_data

EPOCHS = 300  # of few images: a few tenths of a second
ROOT = Path(sweep.__file__).parents[1]


def starts_in(folder):
    """Return {number of the task: [process, ...]} in the order of their starts."""
    starts = sorted((path.name.split("-") for path in folder.iterdir()), key=lambda s: int(s[2]))
    found = collections.defaultdict(list)
    for number, process, _ in starts:
        found[int(number)].append(int(process))
    return found


def kill_one(run, starts):
    """Kill the process of the last task that has started, once there are six; return its number."""
    patience = time.monotonic() + 300
    while len(starts_in(starts)) < 6:  # some are done, and two are under way
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < patience
        time.sleep(0.01)
    seen = starts_in(starts)
    os.kill(seen[max(seen)][0], signal.SIGKILL)
    return max(seen)


@pytest.mark.slow
def test_a_killed_worker_loses_its_own_task_only(mnist_folder, tmp_path, monkeypatch):
    starts, results = tmp_path / "starts", tmp_path / "results"
    starts.mkdir()
    command = [
        sys.executable, "-m", "bench.sweep", "--workers", 2, "--epochs", EPOCHS,
        "--results", results, "--starts", starts,
    ]  # fmt: skip
    environment = os.environ | {"FASTBP_DATA": str(mnist_folder)}
    with subprocess.Popen(
        [*map(str, command)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        try:
            killed = kill_one(run, starts)
            out, err = run.communicate(timeout=400)
        finally:
            run.kill()
    assert run.returncode == 0, err
    seen = starts_in(starts)
    again = [number for number, processes in seen.items() if len(processes) > 1]
    assert killed in again
    victim = seen[killed][0]
    for number in again:  # the task that it was at, and perhaps one whose result nobody had yet
        assert seen[number][0] == victim
        assert len(seen[number]) == 2
        assert seen[number][1] != victim
    assert len(again) <= 3
    found = json.loads((results / "sweep.json").read_text())
    combinations = sweep.combinations(sweep.GRID)
    assert [{name: r[name] for name in sweep.GRID} for r in found] == combinations
    assert out.count("\n| ") == len(found) + 2
    monkeypatch.setenv("FASTBP_DATA", str(mnist_folder))
    training, validation, *_ = load_data()
    for number in (0, killed):  # as by one process
        alone = sweep.score(number, combinations[number], EPOCHS, training, validation)
        assert alone["accuracy"] == found[number]["accuracy"]
    assert (results / "sweep.png").stat().st_size > 10_000


def test_tables_are_sorted_and_drawn(tmp_path):
    grid = sweep.combinations(sweep.GRID)
    results = [{**p, "accuracy": (7 * i % 24) / 24, "seconds": 1.0} for i, p in enumerate(grid)]
    lines = sweep.table(results).splitlines()
    accuracies = [float(line.split("|")[4].strip(" %")) for line in lines[2:]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(accuracies) == len(grid) == 24
    sweep.draw(results, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes()[1:4] == b"PNG"
