"""The bench's peers, from its own table, validated as the bench does before it times them.

They run in worker processes, as in the bench: what a package does at import, to threads, warnings
or forks, stays there.
"""

import numpy as np
import pytest

from bench import epochs, peers, processes, tables, validation
from bench.processes import Worker, Workers
from bench.workload import Settings, Workload, write_data
from fastbp.training.compute import engine, threads

pytestmark = pytest.mark.slow
SIZES, N, M = (20, 7, 5, 3), 48, 8
VARIANTS = [
    pytest.param(peer, arguments, dtype, id=f"{peer.name}-{variant}-{dtype}")
    for peer in peers.PEERS.values()
    for dtype in peer.dtypes
    for variant, arguments, _ in peer.variants_for(dtype, (1,), quick=True)
]


@pytest.fixture
def folder(rng, tmp_path):
    X = rng.random((N, SIZES[0])) * (rng.random((N, SIZES[0])) < 0.4)
    write_data(tmp_path, X, rng.integers(SIZES[-1], size=N), SIZES[-1])
    return str(tmp_path)


@pytest.fixture(scope="module")
def first_steps():
    """Train in a worker; one for each environment, so that a package is imported once."""
    workers = {}

    def train(peer, workload, arguments):
        environment = peer.environment(1, arguments)
        key = peer.needs, tuple(environment.items())
        if key not in workers:
            workers[key] = Worker(environment)
        workers[key](processes.prepare, "it", peer, workload, 1, arguments)
        return workers[key](processes.first_steps, "it", N, N // M)

    yield train
    for worker in workers.values():
        worker.close()


@pytest.mark.parametrize(("peer", "arguments", "dtype"), VARIANTS)
def test_every_peer_is_valid(peer, arguments, dtype, folder, first_steps):
    if peer.missing():
        pytest.skip(f"{peer.name} is not here: {peer.missing()}")
    workload = Workload(SIZES, M, 1.5, dtype, folder)
    validation.check(first_steps(peer, workload, arguments), workload, N, peer.log_loss)


def test_the_reference_of_the_validation_is_the_oracle_s(folder):
    workload = Workload(SIZES, M, 1.5, "float64", folder)
    trained = peers.BookOracle(workload, 1).first_steps(N, N // M)
    assert validation.error_of(trained, workload, N) < 1e-12


class Wrong(peers.MatrixNumPy):
    """A peer whose gradient is too long by one hundredth."""

    name = "wrong"

    def _step(self, batch, rate):
        super()._step(batch, rate * self.X.dtype.type(1.01))


class Broken(peers.MatrixNumPy):
    """A peer whose weights become NaN in the end."""

    name = "broken"

    def train(self, orders):
        super().train(orders)
        self.weights[-1][0, 0] = np.nan


class Failing(peers.MatrixNumPy):
    name = "failing"

    def train(self, orders):
        raise RuntimeError("no memory")


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_a_peer_that_trains_differently_is_not_timed_and_the_reason_is_said(
    dtype, folder, monkeypatch, capsys
):
    all_peers = {peer.name: peer for peer in (peers.MatrixNumPy, Wrong, Broken, Failing)}
    monkeypatch.setattr(peers, "PEERS", all_peers)
    case = epochs.Case(SIZES, M, 1.5, tuple(all_peers), parallel=False)
    test = np.zeros((1, SIZES[0])), np.zeros(1)
    settings = Settings(folder, N, test, "random", 1, tuple(all_peers), quick=True)
    with Workers() as workers:
        result = epochs.compare(case, dtype, settings, workers)
    assert [peer["name"] for peer in result["peers"]] == ["matrix NumPy"]
    assert result["peers"][0]["first_calls"][0] > 0
    wrong, broken, failing = result["failed"]
    assert "wrong, , 1 threads: not timed: after 6 mini-batches the weights differ" in wrong
    assert "nan of what training changed" in broken
    assert "RuntimeError: no memory" in failing
    assert capsys.readouterr().err.splitlines() == result["failed"]


def test_fastbp_is_validated_on_the_call_that_is_timed(folder, monkeypatch):
    """All images are there, and the first epoch's order; only the steps are fewer."""
    fastbp = peers.Fastbp(Workload(SIZES, M, 1.5, "float64", folder), 2)
    seen = []

    class Spy(engine.Descent):
        def __init__(self, params, plan, samples, order, *arguments):
            seen.append((len(samples), order.tolist(), threads.mode))
            super().__init__(params, plan, samples, order, *arguments)

    monkeypatch.setattr(engine, "Descent", Spy)
    fastbp.first_steps(N, 2)
    first = fastbp.workload.orders(N, 1)[0][: 2 * M].tolist()
    assert seen == [(N, first, "never"), (N, first, "always")]


def test_the_table_is_whole():
    first, *_, last = peers.PEERS
    assert (first, last) == ("oracle", "fastbp")
    assert all(peer.__doc__ for peer in peers.PEERS.values())


def test_a_section_is_replaced_between_its_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- bench -->\nold\n<!-- bench -->\nafter\n")
    tables.replace_section(path, "bench", "new\n")
    tables.replace_section(path, "other", tables.table(["a", "b"], [(1, 2)]))
    assert path.read_text() == (
        "before\n<!-- bench -->\nnew\n<!-- bench -->\nafter\n"
        "<!-- other -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- other -->\n"
    )
