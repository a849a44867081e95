"""Fixtures: small data sets, and an environment without the tester's own data and caches."""

import os
import signal

# More threads than cores, so that results can be compared over 1, 2, 3 and 4 of them; they must not
# spin while they wait for each other. Must be set before Numba is imported.
os.environ.setdefault("NUMBA_NUM_THREADS", "4")
os.environ.pop("OMP_NUM_THREADS", None)  # the tests use several threads
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest

pytest.register_assert_rewrite("helpers", "formats")

# Tests that want the tester's own data ask for `real_mnist`; pytest-xdist's workers inherit this.
if "FASTBP_DATA" in os.environ:
    os.environ["FASTBP_REAL_DATA"] = os.environ.pop("FASTBP_DATA")
REAL_DATA = os.environ.get("FASTBP_REAL_DATA")
JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
needs_threads = pytest.mark.skipif(
    int(os.environ["NUMBA_NUM_THREADS"]) < 4, reason="NUMBA_NUM_THREADS is less than 4"
)


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Give each test its own cache folder, its own working folder, and no address to load from."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FASTBP_MNIST_URL", "http://127.0.0.1:9/")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    # A shell that starts the tests in the background may have set Ctrl-C to be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_mnist():
    """Return the real MNIST as arrays, from the folder that FASTBP_DATA names."""
    if not REAL_DATA:
        pytest.skip("set FASTBP_DATA to a folder with MNIST to run the tests on real data")
    from fastbp import mnist_loader

    return mnist_loader.load_data(REAL_DATA)


@pytest.fixture
def rng():
    return np.random.default_rng(12345)


@pytest.fixture
def raw(rng):
    """Return 60 training and 20 test images with their labels, in bytes as MNIST has them."""
    return (
        rng.integers(0, 256, (60, 28, 28), np.uint8),
        rng.integers(0, 10, 60).astype(np.uint8),
        rng.integers(0, 256, (20, 28, 28), np.uint8),
        rng.integers(0, 10, 20).astype(np.uint8),
    )


@pytest.fixture
def mnist_folder(tmp_path, raw):
    """Return a folder with these images in IDX files."""
    from formats import write_idx

    return write_idx(tmp_path / "data", raw)


def make_pairs(n, sizes, rng, labelled=False):
    """Return the book's list of n random pairs for a network of these sizes; most of x is zero."""
    pairs = []
    for _ in range(n):
        x = rng.random((sizes[0], 1)) * (rng.random((sizes[0], 1)) < 0.4)
        label = int(rng.integers(sizes[-1]))
        pairs.append((x, label if labelled else np.eye(sizes[-1])[:, [label]]))
    return pairs


def pytest_collection_modifyitems(items):
    """Begin with the test that takes minutes, so that no worker of pytest-xdist ends with it."""
    items.sort(key=lambda item: "runs_without_the_jit" not in item.name)
