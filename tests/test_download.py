"""The download of MNIST from a server on the loopback interface, which works or fails."""

import functools
import gzip
import hashlib
import http.server
import pathlib
import socket
import threading
import time

import numpy as np
import pytest
from formats import as_sets, idx

from fastbp import mnist_loader
from fastbp.data import download


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `server.mode` says how badly."""

    def do_GET(self):
        self.server.requests.append(self.path)
        mode = self.server.mode
        if mode == "stall":
            self.server.release.wait(30)
            return
        if mode == "cut off":
            content = (pathlib.Path(self.directory) / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch, raw):
    """A mirror of small files, whose hashes replace the real ones for the test."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    table = {}
    for name, array in zip(download.FILES, raw):
        content = idx(array)
        (folder / name).write_bytes(gzip.compress(content))
        table[name] = hashlib.sha256(content).hexdigest(), len(content)
    monkeypatch.setattr(download, "FILES", table)
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.mode, httpd.requests, httpd.folder = "good", [], folder
        httpd.release = threading.Event()
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("FASTBP_MNIST_URL", f"http://127.0.0.1:{httpd.server_address[1]}")
        yield httpd
        httpd.release.set()
        httpd.shutdown()


def test_good(server, raw):
    for _ in range(2):
        sets = mnist_loader.load_data()
        np.testing.assert_array_equal(sets[0][0], as_sets(raw)[0][0])
    assert len(server.requests) == 4  # the second time, from the cache


def test_a_damaged_cache_is_mended(server):
    mnist_loader.load_data()
    import pooch

    cached = pathlib.Path(pooch.os_cache("fastbp")) / "mnist" / "t10k-images-idx3-ubyte.gz"
    cached.write_bytes(b"half a fi")
    mnist_loader.load_data()
    assert len(server.requests) == 5  # that one file again
    assert not [p for p in cached.parent.iterdir() if p.name not in download.FILES]


def test_wrong_hash(server, raw):
    labels = raw[1].copy()
    labels[7] = (labels[7] + 1) % 10
    (server.folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(
        mnist_loader.DataNotFoundError,
        match=r"train-labels.* is damaged or not MNIST: SHA-256 .* expected .*; give load_data",
    ):
        mnist_loader.load_data()
    import pooch

    cache = pathlib.Path(pooch.os_cache("fastbp")) / "mnist"
    assert not (cache / "train-labels-idx1-ubyte.gz").exists()


def test_not_gzip(server):
    (server.folder / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>please log in</html>")
    with pytest.raises(mnist_loader.DataNotFoundError, match="damaged or not MNIST"):
        mnist_loader.load_data()


def test_not_found(server):
    (server.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(mnist_loader.DataNotFoundError, match="404"):
        mnist_loader.load_data()


def test_cut_off(server):
    server.mode = "cut off"
    with pytest.raises(mnist_loader.DataNotFoundError, match=r"cannot be downloaded: http://127"):
        mnist_loader.load_data()
    import pooch

    assert not list((pathlib.Path(pooch.os_cache("fastbp")) / "mnist").iterdir())


def test_no_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(download, "MAX_SILENCE", 0.5)
    server.mode = "stall"
    began = time.monotonic()
    with pytest.raises(mnist_loader.DataNotFoundError, match="no answer"):
        mnist_loader.load_data()
    assert time.monotonic() - began < 10


def test_no_server(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FASTBP_MNIST_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/")
        with pytest.raises(mnist_loader.DataNotFoundError, match="no connection"):
            mnist_loader.load_data()


def test_the_next_mirror_is_asked(server, monkeypatch):
    monkeypatch.delenv("FASTBP_MNIST_URL")
    good = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setattr(download, "MIRRORS", ("http://127.0.0.1:9/", good))
    assert len(mnist_loader.load_data()) == 3


def test_a_cache_that_cannot_be_made(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(mnist_loader.DataNotFoundError, match=r"cache .* can't be made"):
        mnist_loader.load_data()
