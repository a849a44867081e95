"""Threads, processes and forks that train at once, and the cache of compiled code that they share.

Each test trains in fresh processes and expects the bits of a process that trains alone.
"""
# ruff: noqa: F401  (the code of the processes uses what is imported here)

import concurrent.futures
import hashlib
import itertools
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from conftest import JIT, needs_threads

import fastbp
from fastbp.kernels import cache as code_cache
from fastbp.kernels import deform, drivers, jit, shuffle
from fastbp.kernels.cache import CodeCache
from fastbp.training import signals
from fastbp.training.compute import calls, engine, threads
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.samples import Samples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not JIT, reason="without compiled code there is nothing to share"),
]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

HERE = pathlib.Path(__file__).parent
PATH = os.pathsep.join([str(pathlib.Path(fastbp.__file__).parent.parent), str(HERE)])
LIMIT = 120  # seconds, for a process that takes a few
AT_ONCE = 8  # threads and networks
COMPILING = 4  # processes that compile at once, two for each type; each takes 8 s of a processor
# Where pip puts the library of the package tbb, which no linker looks for there.
LIBRARIES = os.pathsep.join([f"{sys.prefix}/lib", os.environ.get("LD_LIBRARY_PATH", "")])


# ------------------------------------------------ what the processes do


def trained(seed, dtype="float64"):
    """Return a checksum over the bits of a small network, trained on all threads."""
    threads.mode, calls.PARALLEL_FLOPS = "always", 0
    rng, plan = np.random.default_rng(seed), plan_of((20, 30, 5))
    params = rng.standard_normal(plan.n_params).astype(dtype)
    X, Y = rng.random((300, 20)).astype(dtype), rng.random((300, 5)).astype(dtype)
    samples = Samples(X, Y)
    for _ in range(3):
        engine.train(params, plan, samples, rng.permutation(300), 100, 0.5)
    return hashlib.sha256(params.tobytes()).hexdigest()


def all_trained(apply):
    """Print the checksums of some networks; apply: a function like map."""
    print(*apply(trained, range(AT_ONCE)))


def multiply_until(done):
    """Keep NumPy's threads busy."""
    A = np.ones((300, 300))
    while not done.is_set():
        A @ A


def forked(limit=30):
    """Fork, train in the child, and return the checksum, or what went wrong."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, trained(0).encode())
        os._exit(0)
    os.close(write)
    end = time.monotonic() + limit
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.01)
    with os.fdopen(read) as pipe:
        return pipe.read()


def start(code, cache, **environment):
    """Start a process that runs code, in a session of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": PATH,
        "NUMBA_CACHE_DIR": str(cache),
        **environment,
    }
    code = "from test_processes import *\n" + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process):
    """Return what a process and those that it started have printed; none of them outlives this."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"no end after {LIMIT} s: {out} {err}")
    assert process.returncode == 0, (process.returncode, out, err)
    return out.split(), err


def run(code, *where, **environment):
    """Run code in a fresh process, and return the words that it prints."""
    return end(start(code, *where, **environment))[0]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a folder with the compiled code of `trained`, in float64."""
    cache = tmp_path_factory.mktemp("cache")
    run("trained(0)", cache)
    return cache


@pytest.fixture(scope="module")
def wanted(warm):
    """Return the checksums that one process computes, one for each seed."""
    return run("all_trained(map)", warm)


# ------------------------------------------------ threads

LAYERS = ["omp", "tbb", "workqueue"]


def test_python_threads_train_at_once(warm, wanted):
    code = """
        done = threading.Event()
        others = [threading.Thread(target=multiply_until, args=(done,)) for _ in range(2)]
        for other in others:
            other.start()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            all_trained(pool.map)
        done.set()
    """
    assert run(code, warm) == wanted


@needs_threads
@pytest.mark.parametrize("layer", LAYERS)
def test_every_threading_layer_launches_for_threads_and_forks(warm, wanted, layer):
    code = """
        import numba
        try:
            trained(0)
        except ValueError as error:  # Numba's, with a long explanation
            print("none")
        else:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                all_trained(pool.map)
            if hasattr(os, "fork"):
                assert forked() == forked() == trained(0)
            print(numba.threading_layer())
    """
    layers = dict(NUMBA_THREADING_LAYER=layer, LD_LIBRARY_PATH=LIBRARIES)
    *checksums, found = run(code, warm, **layers)
    if found == "none":
        pytest.skip(f"Numba cannot load the threading layer {layer} here")
    assert (checksums, found) == (wanted, layer)


@needs_threads
@pytest.mark.parametrize("layer", LAYERS)
def test_ctrl_c_ends_parallel_training_at_a_mini_batch(warm, wanted, layer):
    code = """
        import numba
        try:
            trained(0)
        except ValueError as error:
            print("none")
            sys.exit()
        seen, rng, plan = [], np.random.default_rng(0), plan_of((20, 30, 5))
        samples = Samples(rng.random((300, 20)), rng.random((300, 5)))
        params = rng.standard_normal(plan.n_params)
        copy, order = params.copy(), rng.permutation(300).repeat(20_000)
        ctrl_c = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
        ctrl_c.start()
        try:
            with signals.DeferredSignals() as held:
                ends = lambda count: seen.append(count) or bool(held.pending)
                engine.train(params, plan, samples, order, 100, 0.5, on_samples=ends)
        except KeyboardInterrupt:
            order, threads.mode = order[: sum(seen)], "never"
            engine.train(copy, plan, samples, order, 100, 0.5)
            print(0 < len(order) < 6_000_000, len(order) % 100, np.array_equal(copy, params))
        print(numba.get_num_threads(), trained(0), numba.threading_layer())
    """
    layers = dict(NUMBA_THREADING_LAYER=layer, LD_LIBRARY_PATH=LIBRARIES)
    found = run(code, warm, **layers)
    if found == ["none"]:
        pytest.skip(f"Numba cannot load the threading layer {layer} here")
    assert found == ["True", "0", "True", "4", wanted[0], layer]


# ------------------------------------------------ exits

ENDS = {  # the end of a script, and its exit status
    "pass": 0,
    "sys.exit(3)": 3,
    "raise SystemExit('an error')": 1,
}


@pytest.fixture(scope="module")
def serial_only(warm, tmp_path_factory):
    """A folder with compiled code, but for parallel drivers."""
    folder = tmp_path_factory.mktemp("serial") / "cache"
    shutil.copytree(warm, folder)
    for path in folder.rglob("*_parallel*.nbc"):
        path.unlink()
    return folder


@pytest.mark.parametrize(
    ("ends", "wait"),
    [(ends, wait) for ends in ENDS for wait in (0.0, 0.2, 0.5, 0.8, 1.1)],
)
def test_an_exit_does_not_wait_for_the_compile_thread(tmp_path, serial_only, ends, wait):
    """And it does not crash, whatever the thread is doing."""
    code = f"""
        calls.PARALLEL_FLOPS = 0
        rng, plan = np.random.default_rng(0), plan_of((20, 30, 5))
        samples = Samples(rng.random((300, 20)), rng.random((300, 5)))
        params = rng.standard_normal(plan.n_params)
        for _ in range(3):
            engine.train(params, plan, samples, rng.permutation(300), 100, 0.5)
        (compiling,) = calls._compiling.values()
        time.sleep({wait})
        print(compiling.is_alive(), time.time(), flush=True)
        {ends}
    """
    cache = shutil.copytree(serial_only, tmp_path / "cache")
    process = start(code, cache)
    out, err = process.communicate(timeout=LIMIT)
    ended = time.time()
    was_alive, last_line = out.split()
    assert process.returncode == ENDS[ends]
    assert err == ("an error\n" if "an error" in ends else "")
    assert was_alive == "True" or wait > 0
    if was_alive == "True":
        assert ended - float(last_line) < 1
        assert not list(cache.rglob("sgd_steps_parallel*.nbc"))  # it did not wait


# ------------------------------------------------ processes


POOLS = {
    "multiprocessing": "context.Pool(2)",
    "futures": "concurrent.futures.ProcessPoolExecutor(2, context)",
}


@pytest.mark.parametrize(
    ("method", "pool"),
    [
        ("fork", "multiprocessing"),
        ("fork", "futures"),
        ("spawn", "futures"),
        ("forkserver", "multiprocessing"),
    ],
)
def test_processes_train_whose_parent_has_trained(warm, wanted, method, pool):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    code = f"""
        trained(0)
        context = multiprocessing.get_context("{method}")
        with {POOLS[pool]} as pool:
            all_trained(pool.map)
    """
    assert run(code, warm) == wanted


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(warm, wanted, backend):
    pytest.importorskip("joblib")
    code = f"""
        import joblib
        parallel = joblib.Parallel(2, backend="{backend}")
        all_trained(lambda f, seeds: parallel(joblib.delayed(f)(seed) for seed in seeds))
    """
    assert run(code, warm) == wanted


@needs_fork
def test_forked_children_of_a_parent_that_has_trained_in_parallel(warm, wanted):
    assert run("print(trained(0), forked(), forked())", warm) == wanted[:1] * 3


@needs_fork
def test_a_fork_while_another_thread_compiles(warm, wanted):
    """Locks that are held during a fork are never released in the child."""
    code = """
        from numba import njit

        def compile_until(done):
            while not done.is_set():
                njit(lambda x: x + 1)(1)

        done = threading.Event()
        other = threading.Thread(target=compile_until, args=(done,))
        other.start()
        for _ in range(4):
            print(forked())
        done.set()
    """
    assert run(code, warm) == wanted[:1] * 4


# ------------------------------------------------ the cache: where it cannot be written

NOWHERE_ELSE = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
REPORT = """
print(trained(0), *sorted(code_cache.uncached))
"""


def functions_of(paths):
    """Return the names of the functions whose code is in these files: module.function-line..."""
    return {path.name.split(".")[1].rpartition("-")[0] for path in paths}


def test_no_folder_for_the_cache(tmp_path, warm, wanted):
    (tmp_path / "file").touch()
    found, err = end(start(REPORT, tmp_path / "file" / "cache", **NOWHERE_ELSE))
    checksum, *uncached = found
    assert checksum == wanted[0]
    # Drivers look for a place when fastbp is imported, routines when they are compiled.
    functions = {**vars(deform), **vars(drivers), **vars(shuffle)}.items()
    kept = {name for name, f in functions if isinstance(getattr(f, "_cache", 0), CodeCache)}
    assert uncached == sorted(kept | functions_of(warm.rglob("*.nbc")))
    assert err.count("no writable directory for compiled code") == 1


NO_MORE = {
    "taken away": """
folder = pathlib.Path(drivers.sgd_steps.stats.cache_path)
shutil.rmtree(folder)
folder.touch()
""",
    "read-only": """
import errno, tempfile

def refuse(*arguments, **options):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

tempfile.TemporaryFile = refuse
""",
    "full": """
import errno, numba.core.caching
from fastbp.training.compute import calls
from fastbp.training.compute.plans import plan_of

class Full:
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def open_full(path, mode):
    return Full(open(path, mode)) if mode == "wb" else open(path, mode)

numba.core.caching.open = open_full
""",
}


@pytest.mark.parametrize(
    "happens",
    ["taken away", "read-only", "full"],
)
def test_a_cache_that_can_no_longer_be_written(tmp_path, warm, wanted, happens):
    cache = shutil.copytree(warm, tmp_path / "cache")
    everything, removed = set(cache.rglob("*.nbc")), set(cache.rglob("layers.*.nbc"))
    for path in removed:  # some of the code is to be compiled
        path.unlink()
    left = set(cache.rglob("*.nbc"))
    found, err = end(start(NO_MORE[happens] + REPORT, cache, **NOWHERE_ELSE))
    checksum, *uncached = found
    assert checksum == wanted[0]
    not_kept = {
        "taken away": everything,
        # Routines look for a place when they are first used; Numba wants one that can be written.
        "read-only": everything - set(cache.rglob("drivers.*.nbc")),
        "full": removed,
    }
    assert uncached == sorted(functions_of(not_kept[happens]))
    assert {"multiply", "multiply_slope", "transpose_weights"} == functions_of(removed)
    assert err.count("no writable directory for compiled code") == 1
    if happens != "taken away":  # and no halves of files either
        assert {path for path in cache.rglob("*") if path.is_file()} == left


def test_a_cache_deleted_meanwhile_is_made_anew(tmp_path, wanted):
    code = "shutil.rmtree(os.environ['NUMBA_CACHE_DIR'])" + REPORT
    assert run(code, tmp_path / "cache") == [wanted[0]]
    assert len(list(tmp_path.rglob("*.nbc"))) > 5


# ------------------------------------------------ the cache: what is in it


def misses():
    """Return how many functions this process has compiled, and how many it uses."""
    used = [drivers.sgd_steps, drivers.sgd_steps_parallel, *jit._compiled.values()]
    found = [hits for function in used for hits in function.stats.cache_hits.values()]
    count = sum(len(function.signatures) for function in used)
    return count - sum(found), count


def complete(cache, dtype):
    """Return the checksum of a process that finds all its code in the cache."""
    checksum, compiled, used = run(f"print(trained(0, '{dtype}'), *misses())", cache)
    assert compiled == "0"
    assert int(used) > 5
    return checksum


def test_processes_that_fill_an_empty_cache_at_once(tmp_path, wanted):
    """Half of them have other types: the same functions, but not the same code."""
    cache, dtypes = tmp_path / "cache", ["float64", "float32"] * (COMPILING // 2)
    started = [start(f"print(trained(0, '{dtype}'))", cache) for dtype in dtypes]
    checksums = [end(process)[0] for process in started]
    assert checksums[::2] == [wanted[:1]] * (COMPILING // 2)
    assert checksums[1::2] == [checksums[1]] * (COMPILING // 2)
    for k, dtype in enumerate(("float64", "float32")):
        assert [complete(cache, dtype)] == checksums[k]


def damages(content, other, rng, flips=10):
    """Yield damaged forms of a file's content; other: the content of another file."""
    for _ in range(flips):
        at, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        yield content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
    for _ in range(4):
        at = rng.randrange(len(content))
        yield content[:at]
        yield content[:at] + bytes(len(content) - at)  # as a crash of the system leaves it
    yield from (b"", content[:32], content + b"\0", other, bytes(len(content)))


def test_training_on_damaged_files(tmp_path, warm, wanted):
    """Every file is damaged, each in another way; afterwards the cache is whole again."""
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    paths, rng = sorted(tmp_path.rglob("*.nbc")), random.Random(1)
    contents = [path.read_bytes() for path in paths]
    for k, path in enumerate(paths):
        path.write_bytes(list(damages(contents[k], contents[k - 1], rng))[-1 - k % 16])
    assert run("print(trained(0))", tmp_path) == wanted[:1]
    assert complete(tmp_path, "float64") == wanted[0]


def test_no_damaged_file_is_loaded(warm):
    """Each file is damaged in many ways; undamaged, it is loaded."""
    code = """
        found = []
        real = code_cache.CodeFiles.load

        def load(files, key):
            found.append((files, key))
            return real(files, key)

        code_cache.CodeFiles.load = load
        trained(0)
        code_cache.CodeFiles.load = real
        rng, tried = random.Random(2), 0
        places = [(files, key, pathlib.Path(files._path(key))) for files, key in found]
        for (_, _, other), (files, key, path) in itertools.pairwise([places[-1], *places]):
            content = path.read_bytes()
            for damaged in damages(content, other.read_bytes(), rng, 150):
                path.write_bytes(damaged)
                assert files.load(key) is None, (path, len(damaged))
                tried += 1
            path.write_bytes(content)
            assert files.load(key) is not None
        print(tried)
    """
    (tried,) = run(code, warm)
    assert int(tried) > 1000
