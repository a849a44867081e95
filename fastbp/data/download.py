"""Download of MNIST into the user's cache, by pooch.

Invariants: the SHA-256 of a file's decompressed bytes is checked before it enters the cache; a
download ends with an error after MAX_SILENCE seconds without a byte from any mirror.
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

# File name -> SHA-256 and number of the decompressed bytes.
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
MAX_SILENCE = 15.0  # seconds without a byte, all mirrors together
TIMEOUTS = (4.0, MAX_SILENCE)  # of one request, in seconds: to connect, between two bytes


class DownloadError(OSError):
    """The files could not be downloaded from any mirror."""


def cached_or_downloaded(is_complete):
    """Return the folder in the user's cache that holds the four files, downloading them if needed.

    is_complete(folder) tells whether a folder holds all four, readable. Raises DownloadError.
    """
    folder = cache_folder()
    if not is_complete(folder):
        _download(folder)
    return folder


def cache_folder():
    """Return the path of the folder for MNIST in the user's cache."""
    import pooch

    return pathlib.Path(pooch.os_cache("fastbp")) / "mnist"


def mirrors():
    """Return the addresses that files are downloaded from."""
    address = os.environ.get("FASTBP_MNIST_URL")
    return (address.rstrip("/") + "/",) if address else MIRRORS


def _download(folder):
    """Download the missing files into a folder, or raise DownloadError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"the cache {folder} can't be made: {error.strerror}") from None
    # The time-outs of a request do not cover a name server that does not answer, or a host with
    # many dead addresses. So a thread downloads, and this one checks that bytes arrive.
    progress, addresses = _Progress(), mirrors()
    failures, complete = [], []

    def download():
        for mirror in addresses:
            try:
                for name in FILES:
                    _download_file(mirror, name, folder, progress)
            except Exception as error:  # of any kind: the next mirror is tried
                failures.append(f"{mirror}: {_reason(error)}")
            else:
                complete.append(mirror)
                return

    thread = threading.Thread(target=download, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)
        if time.monotonic() - progress.last_byte > MAX_SILENCE:
            failures.append(f"no answer for {MAX_SILENCE:.0f} seconds, gave up")
            raise DownloadError("; ".join(failures))
    if not complete:
        raise DownloadError("; ".join(failures))


class _Progress:
    """A progress bar with the interface that pooch wants, which records when bytes arrive.

    The bar is shown where standard error is a terminal.
    """

    total = 0

    def __init__(self):
        self.last_byte = time.monotonic()
        self.bar = None

    def begin(self, name):
        """Begin with the next file."""
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(unit="B", unit_scale=True, desc=name, leave=False)

    def update(self, count):
        self.last_byte = time.monotonic()
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.update(count)

    def reset(self):
        """Do nothing: at the end pooch resets the bar, and then adds all bytes once more."""

    def close(self):
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _download_file(mirror, name, folder, progress):
    """Download one file, check its decompressed bytes, and copy it into the cache."""
    import pooch

    digest, size = FILES[name]
    if _digest(folder / name, size) == digest:
        return
    pooch.get_logger().setLevel("ERROR")  # without known_hash it logs the hash of each file
    progress.begin(name)
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUTS)
    with tempfile.TemporaryDirectory() as temporary_folder:
        try:
            path = pooch.retrieve(
                mirror + name, known_hash=None, fname=name, path=temporary_folder,
                downloader=downloader,
            )  # fmt: skip
        finally:
            progress.close()
        seen = _digest(path, size)
        if seen != digest:
            raise DownloadError(
                f"{name} is damaged or not MNIST: SHA-256 of its unpacked bytes is "
                f"{seen or 'unknown'}, expected {digest}"
            )
        with files.write_atomically(folder / name) as file:
            file.write(pathlib.Path(path).read_bytes())


def _digest(path, size):
    """Return the SHA-256 of the content of a gzip file; None if it does not hold `size` bytes."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return hashlib.sha256(content).hexdigest() if len(content) == size else None


def _reason(error):
    """Return the cause of a failed download in a few words."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
