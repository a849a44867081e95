"""MNIST from the network into the user's cache, by pooch.

Law: nothing enters the cache before the SHA-256 of its unpacked bytes has been checked, and a
network that does not answer is given up after PATIENCE seconds in all.
"""

import gzip
import hashlib
import os
import pathlib
import sys
import tempfile
import threading
import time
import zlib

from fastbp.data import files

# file -> SHA-256 of the unpacked bytes, and how many of them
FILES = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_008,
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_008,
    ),
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
PATIENCE = 15.0  # seconds without a byte, all mirrors together
TIMEOUTS = (4.0, PATIENCE)  # of one request: to connect, between two bytes


class DownloadError(OSError):
    """No mirror gave the files."""


def cached_or_fetched(is_whole):
    """Return the folder in the user's cache that holds the four files, downloading them if needed.

    is_whole(folder) tells whether a folder holds them all, readable. Raises DownloadError.
    """
    import pooch

    folder = pathlib.Path(pooch.os_cache("fastbp")) / "mnist"
    if not is_whole(folder):
        _fetch(folder)
    return folder


def _fetch(folder):
    mirrors = MIRRORS
    if os.environ.get("FASTBP_MNIST_URL"):
        mirrors = (os.environ["FASTBP_MNIST_URL"].rstrip("/") + "/",)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"the cache {folder} can't be made: {error.strerror}") from None
    # A name server that does not answer, or a host with many dead addresses, outlasts every
    # time-out that can be set on a request. So the work is done by a thread, and this one watches
    # for signs of life.
    pulse = _Pulse()
    failures = []

    def work():
        for mirror in mirrors:
            try:
                for name in FILES:
                    _fetch_file(mirror, name, folder, pulse)
            except Exception as error:  # whatever it was, the next mirror may do better
                failures.append(f"{mirror}: {_reason(error)}")
            else:
                return
        pulse.failed = True

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.05)
        if time.monotonic() - pulse.last > PATIENCE:
            raise DownloadError(
                "; ".join([*failures, f"no answer for {PATIENCE:.0f} seconds, gave up"])
            )
    if pulse.failed:
        raise DownloadError("; ".join(failures))


class _Pulse:
    """Remembers when the last byte came; the shape of a progress bar, for pooch to feed.

    Shows a bar of its own where standard error is a terminal.
    """

    total = 0

    def __init__(self):
        self.last = time.monotonic()
        self.failed = False
        self.bar = None

    def begin(self, name):
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(unit="B", unit_scale=True, desc=name, leave=False)

    def update(self, count):
        self.last = time.monotonic()
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.update(count)

    def reset(self):
        """pooch resets a bar before it fills it once more; there is nothing to take back."""

    def close(self):
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _fetch_file(mirror, name, folder, pulse):
    """Download one file, check its unpacked bytes, and only then let it into the cache."""
    import pooch

    digest, size = FILES[name]
    if _digest(folder / name, size) == digest:
        return
    pooch.get_logger().setLevel("ERROR")  # it would print hashes; what matters is raised
    pulse.begin(name)
    downloader = pooch.HTTPDownloader(progressbar=pulse, timeout=TIMEOUTS)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            got = pooch.retrieve(
                mirror + name, known_hash=None, fname=name, path=scratch, downloader=downloader
            )
        finally:
            pulse.close()
        seen = _digest(got, size)
        if seen != digest:
            raise DownloadError(
                f"{name} is damaged or not MNIST: SHA-256 of its unpacked bytes is "
                f"{seen or 'not to be had'}, expected {digest}"
            )
        with files.written_atomically(folder / name) as file:
            file.write(pathlib.Path(got).read_bytes())


def _digest(path, size):
    """Return the SHA-256 of the bytes in a gzip file, or None if it is not one of `size` bytes."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return hashlib.sha256(content).hexdigest() if len(content) == size else None


def _reason(error):
    """Return what went wrong in a few words: the network's own errors are a paragraph long."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
