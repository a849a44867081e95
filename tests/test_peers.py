"""The bench's contestants, from its own table, held to the oracle before anyone times them.

Those with packages of their own run in a worker process, as in the bench: what such a package does
at import, to threads, warnings or forks, stays there.
"""

import itertools

import numpy as np
import pytest

from bench import peers
from bench.work import Work, write_data
from bench.worker import Worker

SIZES, N, M, EPOCHS = (20, 7, 5, 3), 40, 8, 2
RTOL = {"float64": 1e-8, "float32": 1e-3}
FORMS = [
    pytest.param(peer, arguments, dtype, id=f"{peer.name}-{variant}-{dtype}")
    for peer in peers.PEERS.values()
    for dtype in peer.dtypes
    for variant, arguments, _ in peers.forms(peer, dtype, (1,), quick=True)
]


@pytest.fixture
def folder(rng, tmp_path):
    X = rng.random((N, SIZES[0])) * (rng.random((N, SIZES[0])) < 0.4)
    write_data(tmp_path, X, rng.integers(SIZES[-1], size=N), SIZES[-1])
    return str(tmp_path)


def trained_here(peer, work, arguments):
    contestant = peer(work, 1, **arguments)
    contestant.train(work.orders(N, EPOCHS))
    return contestant.parameters()


@pytest.fixture(scope="module")
def trained_apart():
    """Train in a worker; one for each environment, so that a package is imported once."""
    workers = {}

    def train(peer, work, arguments):
        environment = peer.environment(1, arguments)
        key = peer.needs, tuple(environment.items())
        if key not in workers:
            workers[key] = Worker(environment)
        workers[key]("prepare", "it", peer.name, work, 1, arguments)
        workers[key]("repeat", "it", N, EPOCHS)
        return workers[key]("parameters", "it")

    yield train
    for worker in workers.values():
        worker.close()


@pytest.mark.parametrize(("peer", "arguments", "dtype"), FORMS)
def test_every_contestant_trains_as_the_oracle_does(peer, arguments, dtype, folder, trained_apart):
    if peer.missing():
        pytest.skip(f"{peer.name} is not here: {peer.missing()}")
    work = Work(SIZES, M, 1.5, dtype, folder)
    trained = (trained_apart if peer.needs else trained_here)(peer, work, arguments)
    expected = trained_here(peers.BookOracle, Work(SIZES, M, 1.5, "float64", folder), {})
    for ours, theirs in zip(itertools.chain(*trained), itertools.chain(*expected), strict=True):
        assert ours.shape == theirs.shape
        assert np.isfinite(ours).all()
        if not peer.nearest:
            np.testing.assert_allclose(ours, theirs, rtol=RTOL[dtype], atol=RTOL[dtype] / 100)


def test_the_table_is_whole():
    first, *_, last = peers.PEERS
    assert (first, last) == ("oracle", "fastbp")
    assert all(peer.__doc__ for peer in peers.PEERS.values())
