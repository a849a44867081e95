"""Compiled code in files that processes share, and that can be trusted.

Invariant: nothing that goes wrong here ends a training; the code is then compiled anew.
"""

import functools
import glob
import hashlib
import os
import pathlib
import pickle
import warnings

import llvmlite
import numba
from numba import config
from numba.core.caching import FunctionCache, IndexDataCacheFile

uncached = []  # the names of functions whose code could not be kept


@functools.cache
def stamp():
    """Return a hash of every file of this folder: a kernel calls what others define.

    Numba's own stamp covers the file of one function only.
    """
    files = sorted(pathlib.Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def keep(compiled, function, on_load=lambda code: None):
    """Have Numba's dispatcher or C function keep its code in files, if there is a place for them.

    on_load(code) is called with the bytes of a file before the code in it is linked.

    Numba's own cache trusts what it finds: what is damaged raises or, worse, runs; a full disk
    ends the training; and of processes that compile at once, one may get the code of another
    function's types.
    """
    if not config.DISABLE_JIT:
        try:
            compiled._cache = CodeCache(function, on_load)
        except RuntimeError as error:  # Numba found no folder that can be written
            _note(function, error)
    return compiled


def _note(function, error):
    uncached.append(function.__name__)
    if len(uncached) == 1:
        warnings.warn(
            f"fastbp: no writable directory for compiled code ({error}), so every process compiles "
            "anew; set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=3,
        )


class CodeCache(FunctionCache):
    """Numba's cache of a function, with CodeFiles: what cannot be written is only not kept."""

    def __init__(self, function, on_load):
        super().__init__(function)
        self._cache_file = CodeFiles(self._cache_path, self._impl.filename_base, stamp(), on_load)

    def save_overload(self, signature, code):
        try:
            super().save_overload(signature, code)
        except OSError as error:
            _note(self._py_func, error)


class CodeFiles(IndexDataCacheFile):
    """A file for each key, and no index: processes that write at once write the same.

    A file begins with a checksum over the rest, the key and all else that the code depends on.
    Unless it fits, nothing of the file is believed: the code is compiled anew, and written over it.
    """

    def __init__(self, folder, name, stamp, on_load):
        super().__init__(folder, name, stamp)
        self._start, self._on_load = os.path.join(folder, name), on_load

    def load(self, key):
        try:
            with open(self._path(key), "rb") as file:
                checksum, code = file.read(hashlib.sha256().digest_size), file.read()
        except OSError:
            return None
        if checksum != self._checksum(key, code):
            return None
        self._on_load(code)
        return pickle.loads(code)

    def save(self, key, code):
        code = self._dump(code)
        with self._open_for_write(self._path(key)) as file:
            file.write(self._checksum(key, code) + code)

    def flush(self):
        for path in glob.glob(glob.escape(self._start) + ".*.nbc"):
            os.remove(path)

    def _path(self, key):
        return f"{self._start}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _checksum(self, key, code):
        versions = numba.__version__, llvmlite.__version__, config.BOUNDSCHECK
        made_from = *versions, self._source_stamp, key
        return hashlib.sha256(repr(made_from).encode() + code).digest()
