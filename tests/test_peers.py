"""The programs that the bench compares are validated as it does before it times them.

They run in worker processes, as in the bench: what a package does at import, to threads, warnings
or forks, stays there.
"""

import numpy as np
import pytest

from bench import contest, peers, validation
from bench.work import Work, write_data
from bench.worker import Worker

SIZES, N, M = (20, 7, 5, 3), 48, 8
FORMS = [
    pytest.param(peer, arguments, dtype, id=f"{peer.name}-{variant}-{dtype}")
    for peer in peers.PEERS.values()
    for dtype in peer.dtypes
    for variant, arguments, _ in peers.forms(peer, dtype, (1,), quick=True)
]
ROW = contest.Row(SIZES, M, 1.5, parallel=False)


@pytest.fixture
def folder(rng, tmp_path):
    X = rng.random((N, SIZES[0])) * (rng.random((N, SIZES[0])) < 0.4)
    write_data(tmp_path, X, rng.integers(SIZES[-1], size=N), SIZES[-1])
    return str(tmp_path)


@pytest.fixture(scope="module")
def first_steps():
    """Train in a worker; one for each environment, so that a package is imported once."""
    workers = {}

    def train(peer, work, arguments):
        environment = peer.environment(1, arguments)
        key = peer.needs, tuple(environment.items())
        if key not in workers:
            workers[key] = Worker(environment)
        workers[key]("prepare", "it", peer, work, 1, arguments)
        return workers[key]("first_steps", "it", N, N // M)

    yield train
    for worker in workers.values():
        worker.close()


@pytest.mark.parametrize(("peer", "arguments", "dtype"), FORMS)
def test_every_contestant_is_valid(peer, arguments, dtype, folder, first_steps):
    if peer.missing():
        pytest.skip(f"{peer.name} is not here: {peer.missing()}")
    work = Work(SIZES, M, 1.5, dtype, folder)
    validation.check(first_steps(peer, work, arguments), work, N, peer.log_loss)


def test_the_reference_of_the_validation_is_the_oracle_s(folder):
    work = Work(SIZES, M, 1.5, "float64", folder)
    trained = peers.BookOracle(work, 1).first_steps(N, N // M)
    assert validation.error_of(trained, work, N) < 1e-12


class Wrong(peers.MatrixNumPy):
    """A contestant whose gradient is too long by one hundredth."""

    name = "wrong"

    def _step(self, batch, rate):
        super()._step(batch, rate * self.X.dtype.type(1.01))


class Broken(peers.MatrixNumPy):
    """A contestant whose weights become NaN in the end."""

    name = "broken"

    def train(self, orders):
        super().train(orders)
        self.weights[-1][0, 0] = np.nan


class Failing(peers.MatrixNumPy):
    name = "failing"

    def train(self, orders):
        raise RuntimeError("no memory")


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_what_trains_otherwise_is_not_timed_and_says_why(dtype, folder, monkeypatch):
    contestants = peers.MatrixNumPy, Wrong, Broken, Failing
    monkeypatch.setattr(peers, "PEERS", {peer.name: peer for peer in contestants})
    said, test = [], (np.zeros((1, SIZES[0])), np.zeros(1))
    with contest.Workers() as workers:
        event = contest.Contest(ROW, dtype, folder, N, test, workers, say=said.append)
        result = event.run(list(peers.PEERS), (1,), rounds=1)
    assert [c["name"] for c in result["contestants"]] == ["matrix NumPy"]
    assert result["contestants"][0]["first_calls"][0] > 0
    reasons = {refused["name"]: refused["why"] for refused in result["refused"]}
    assert list(reasons) == ["wrong", "broken", "failing"]
    assert "after 6 mini-batches the weights differ" in reasons["wrong"]
    assert "nan of what training changed" in reasons["broken"]
    assert reasons["failing"] == "RuntimeError: no memory"
    assert len(said) == 3


def test_fastbp_is_validated_on_the_call_that_is_timed(folder, monkeypatch):
    """All images are there, and the first epoch's order; only the steps are fewer."""
    fastbp = peers.Fastbp(Work(SIZES, M, 1.5, "float64", folder), 2)
    seen = []

    def train(params, plan, samples, order, *arguments, **more):
        seen.append((len(samples), order.tolist(), peers.threads.mode))

    monkeypatch.setattr("fastbp.training.engine.train", train)
    fastbp.first_steps(N, 2)
    first = fastbp.work.orders(N, 1)[0][: 2 * M].tolist()
    assert seen == [(N, first, "never"), (N, first, "always")]


def test_the_table_is_whole():
    first, *_, last = peers.PEERS
    assert (first, last) == ("oracle", "fastbp")
    assert all(peer.__doc__ for peer in peers.PEERS.values())
