"""Models in files: they are written whole or not at all, and checked when they are read."""

import io
import os
import pathlib
import random
import stat
import zipfile

import numpy as np
import pytest
from conftest import make_pairs

from fastbp import network
from fastbp.data import files
from fastbp.network import Network


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_save_and_load(dtype, tmp_path, rng):
    net = Network([6, 5, 4], dtype=dtype)
    net.update_mini_batch(make_pairs(5, [6, 4], rng), 1.0)
    path = tmp_path / "model.npz"
    net.save(path)
    states = random.getstate(), np.random.get_state()[1].tolist()
    other = network.load(path, threads=2)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert (other.sizes, other.num_layers, other.dtype, other.threads) == ([6, 5, 4], 3, dtype, 2)
    for ours, theirs in zip(other.weights + other.biases, net.weights + net.biases):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)
    data = make_pairs(10, [6, 4], rng)
    net.update_mini_batch(data, 1.0)
    other.update_mini_batch(data, 1.0)
    np.testing.assert_array_equal(net.weights[0], other.weights[0])


def test_the_name_is_kept_and_the_permissions_follow_the_umask(tmp_path):
    Network([2, 2]).save(str(tmp_path / "model"))
    assert "model" in os.listdir(tmp_path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o666 & ~umask


def test_nothing_in_the_file_needs_pickle(tmp_path):
    Network([3, 2]).save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as content:
        assert sorted(content.files) == [
            "biases_0", "dtype", "format_version", "kind", "sizes", "weights_0"
        ]  # fmt: skip
        assert [content[name].dtype.kind for name in content.files].count("O") == 0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.npz"
    net = Network([2, 2])
    net.save(path)
    old = path.read_bytes()

    def fail_half_way():
        with files.write_atomically(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == old
    net.weights[0] = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"weights\[0\]"):
        net.save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_paths_that_cannot_be_written(tmp_path):
    net = Network([2, 2])
    with pytest.raises(IsADirectoryError, match=r"is a folder, expected the name"):
        net.save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        net.save(tmp_path / "nowhere" / "model.npz")


def test_a_link_is_followed_and_permissions_are_kept(tmp_path):
    net, target, link = Network([2, 2]), tmp_path / "model.npz", tmp_path / "latest"
    net.save(target)
    target.chmod(0o600)
    link.symlink_to(target)
    net.weights[0][:] = 7.0
    net.save(link)
    assert link.is_symlink()
    assert (network.load(target).weights[0] == 7).all()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["pipe", "", "new/", "x" * 300])
def test_names_that_are_refused_before_any_work(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for write in (files.check_writable, Network([2, 2]).save):
        with pytest.raises(OSError, match=r"not a regular file|is a folder|cannot write .*long"):
            write(name)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert sorted(os.listdir()) == ["pipe", "work"]


def rewritten(path, stored, name, content):
    """A model in which one member's bytes are exchanged."""
    np.savez(path, **stored)
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    members[f"{name}.npy"] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, data in members.items():
            new.writestr(member, data)


def read_npy_header(shape, descr="<f8"):
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def test_a_header_may_not_promise_more_bytes_than_the_file_has(tmp_path):
    path = tmp_path / "model.npz"
    Network([3, 2]).save(path)
    stored = dict(np.load(path))
    for shape in ((10**12,), (10**30,), (2, 10**18), (5, 3), (1,)):
        rewritten(path, stored, "weights_0", read_npy_header(shape) + bytes(48))
        with pytest.raises(ValueError, match=r"its header promises [\d,]+ bytes, 48 are there"):
            network.load(path)
    rewritten(path, stored, "weights_0", read_npy_header((6,), "|O") + bytes(48))
    with pytest.raises(ValueError, match="it holds Python objects"):
        network.load(path)
    for change in (
        {"sizes": [10**6, 10**7, 3]},
        {"sizes": [2**40] * 3},
        {"format_version": np.inf},
    ):
        np.savez(path, **(stored | change))
        with pytest.raises(ValueError, match=r"model.npz"):
            network.load(path)


def test_files_that_are_not_models(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(FileNotFoundError):
        network.load(path)
    Network([3, 2]).save(path)
    good = path.read_bytes()
    stored = dict(np.load(path))
    np.save(tmp_path / "array.npy", np.zeros(3))
    array = (tmp_path / "array.npy").read_bytes()
    for content in (b"", b"hello", good[: len(good) // 2], good[:-5], array):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model.npz is not a model written by Network.save"):
            network.load(path)
    cases = [
        ({"format_version": 2}, r"format 2, expected a 'network' in format 1"),
        ({"kind": "cat"}, r"holds a 'cat'"),
        ({"sizes": np.array([4, 2])}, r"not a whole model: weights\[0\] has shape \(2, 3\)"),
        ({"sizes": np.array([3, 0])}, r"sizes\[1\] is 0"),
        ({"sizes": np.array([3.5, 2])}, r"not a whole model: sizes is"),
        ({"sizes": np.array(3)}, "is not a model"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"weights_0": np.array([["a"] * 3] * 2)}, r"weights\[0\] has dtype <U1"),
        ({"weights_0": np.array([[{}]])}, "weights_0: it holds Python objects"),
    ]
    for change, message in cases:
        np.savez(path, **(stored | change))
        with pytest.raises(ValueError, match=message) as raised:
            network.load(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    del stored["biases_0"]
    np.savez(path, **stored)
    with pytest.raises(ValueError, match="biases_0"):
        network.load(path)


def test_models_are_written_to_the_disk_before_the_old_one_goes(tmp_path, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (order.append("fsync"), real_fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), real_replace(a, b)))
    Network([2, 2]).save(tmp_path / "m.npz")
    assert order == ["fsync", "replace", "fsync"]  # the file, its name, the folder with the name
    assert pathlib.Path(tmp_path / "m.npz").stat().st_size > 0
