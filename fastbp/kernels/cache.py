"""Compiled code and other processes: files that can be trusted, forks and exits that do not hang.

Invariant: nothing that goes wrong here ends a training; the code is then compiled anew.
"""

import atexit
import functools
import glob
import hashlib
import os
import pathlib
import pickle
import threading
import warnings

import llvmlite
import numba
from llvmlite.binding import ffi
from numba import config
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

# ------------------------------------------------ files

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


# ------------------------------------------------ forks

# A lock that another thread holds during a fork is never released in the child, whose first
# compilation would wait for ever. So a fork waits until nobody compiles: the last lock first.
if hasattr(os, "register_at_fork"):
    for _lock in (ffi.lib._lock, global_compiler_lock):
        _release = functools.partial(_lock.__exit__, None, None, None)
        os.register_at_fork(
            before=_lock.__enter__, after_in_parent=_release, after_in_child=_release
        )


# ------------------------------------------------ exits


class CompilingThread(threading.Thread):
    """A daemon thread that compiles: the interpreter's exit does not wait for the end of it."""

    def __init__(self, target=None, args=()):
        super().__init__(target=target, args=args, daemon=True)


@atexit.register
def _stop_compiling():
    """Take LLVM's lock for good, so that no thread is in LLVM while its library is taken down.

    That crashes the process. A call into LLVM that is under way is waited for, some 0.1 s; before
    its next one the thread waits for this lock, and ends with the process.
    """
    if any(isinstance(thread, CompilingThread) for thread in threading.enumerate()):
        ffi.lib._lock.__enter__()
