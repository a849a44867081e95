"""The files in which compiled code is kept; most tests store text instead of code."""

import concurrent.futures
import pathlib
import threading
import types

import pytest

from fastbp.kernels import cache, jit

THREADS = 8


def files_in(folder, stamp="stamp", on_load=lambda code: None):
    return cache.CodeFiles(str(folder), "f", stamp, on_load)


@pytest.fixture
def with_jit(monkeypatch):
    """Whatever NUMBA_DISABLE_JIT says, functions decorated from now on are compiled."""
    monkeypatch.setattr(jit.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(cache, "uncached", [])


def test_what_threads_save_at_once_is_not_mixed_up(tmp_path):
    """Keys are the types of one function: none may get the code of another."""
    gate = threading.Barrier(THREADS)

    def save(key):
        gate.wait()
        files = files_in(tmp_path)
        files.save(key, f"code for {key}")
        return files.load(key)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for turn in range(20):
            keys = [(turn, k) for k in range(THREADS)]
            assert list(pool.map(save, keys)) == [f"code for {key}" for key in keys]


def test_files_of_another_version_are_not_read(tmp_path, monkeypatch):
    files = files_in(tmp_path)
    files.save("key", "code")
    assert files.load("key") == "code"
    assert files.load("another key") is None
    assert files_in(tmp_path, "another stamp").load("key") is None
    for module in (cache.numba, cache.llvmlite):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "another")
            assert files.load("key") is None
    files.flush()
    assert files.load("key") is None
    assert list(tmp_path.glob("*.nbc")) == []


def test_what_code_needs_is_loaded_before_it_and_only_if_it_is_whole(tmp_path):
    seen = []
    files = files_in(tmp_path, on_load=seen.append)
    files.save("key", "code")
    assert files.load("key") == "code"
    assert len(seen) == 1
    assert b"code" in seen[0]
    (path,) = tmp_path.glob("*.nbc")
    path.write_bytes(path.read_bytes() + b"\0")
    assert files.load("key") is None
    assert len(seen) == 1


def test_the_stamp_is_one_of_every_file_of_the_kernels(tmp_path, monkeypatch):
    files = sorted(pathlib.Path(cache.__file__).parent.glob("*.py"))
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    before = cache.stamp.__wrapped__()
    assert before == cache.stamp()
    for file in files:
        path = tmp_path / file.name
        path.write_bytes(file.read_bytes() + b"#")
        assert cache.stamp.__wrapped__() != before, file
        path.write_bytes(file.read_bytes())


def double(x):
    return x + x


def test_code_is_kept(tmp_path, monkeypatch, with_jit):
    """One function is compiled, and read from its file by the next that is the same."""
    monkeypatch.setattr(cache.config, "CACHE_DIR", str(tmp_path))
    first, second = jit.driver(double), jit.driver(double)
    assert (first(2), second(3)) == (4, 6)
    assert len(list(tmp_path.rglob("*.nbc"))) == 1
    for function, hits in ((first, 0), (second, 1)):
        assert sum(function.stats.cache_hits.values()) == hits
    assert cache.uncached == []


def test_an_unwritable_cache_costs_one_warning(monkeypatch, with_jit):
    def no_place(function, on_load):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(cache, "CodeCache", no_place)
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        first = jit.driver(double)
    second = jit.driver(double)  # a second warning would be an error here
    assert (first(2), second(3)) == (4, 6)
    assert cache.uncached == ["double"] * 2


def test_a_full_disk_costs_one_warning(monkeypatch, with_jit):
    def full(*arguments):
        raise OSError("No space left on device")

    compiled = cache.keep(types.SimpleNamespace(), double)
    monkeypatch.setattr(cache.FunctionCache, "save_overload", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        compiled._cache.save_overload("signature", "code")
    compiled._cache.save_overload("signature", "code")
    assert cache.uncached == ["double"] * 2


def test_without_the_jit_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(cache.config, "DISABLE_JIT", 1)
    assert cache.keep(double, double) is double
    assert not hasattr(double, "_cache")
