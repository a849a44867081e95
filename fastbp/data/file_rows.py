"""Rows of numbers in a file that are read by calls, and not through a memory map.

Invariant: a file that is cut off, grows or cannot be read raises ReadError. To touch a map of such
a file would end the process with SIGBUS.
"""

import contextlib
import dataclasses
import math
import mmap
import os
import threading
import weakref

import numpy as np

from fastbp.data.free_memory import free_memory
from fastbp.data.pixels import Pixels
from fastbp.data.read_ahead import ReadAhead
from fastbp.kernels import layout

PART_BYTES = 1 << 26  # how much `parts` reads at a time


class ReadError(OSError):
    """A file of samples cannot be read, or is no longer what it was when it was opened."""


class OpenFile:
    """A file that stays open, and its length. A file that is removed meanwhile can still be read.

    Several threads may read from it, one at a time. Raises ReadError.
    """

    def __init__(self, path):
        self.path, self._lock = path, threading.Lock()
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (see finalize)
        except OSError as error:
            raise ReadError(f"{path} cannot be opened: {error.strerror}") from None
        weakref.finalize(self, self._file.close)
        self.status = os.fstat(self._file.fileno())
        self.size = self.status.st_size

    def read_into(self, view, position):
        """Fill a memoryview of bytes with those at a position of the file."""
        with self._lock:
            try:
                self._check_size()
                self._file.seek(position)
                done, n = 0, 1
                while n and done < len(view):
                    n = self._file.readinto(view[done:])
                    done += n
                self._check_size()
            except ReadError:
                raise
            except OSError as error:
                reason = error.strerror or error
                raise ReadError(
                    f"{self.path}: bytes {position:,} to {position + len(view):,} cannot be read: "
                    f"{reason}"
                ) from None
        if done < len(view):
            raise ReadError(f"{self.path} has no bytes {position + done:,} and more: it is cut off")

    def prefetch(self, position, size):
        """Have the system begin to read bytes that will soon be asked for."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # some file systems do not know it
                os.posix_fadvise(self._file.fileno(), position, size, os.POSIX_FADV_WILLNEED)

    def _check_size(self):
        size = os.fstat(self._file.fileno()).st_size
        if size != self.size:
            how = "cut off" if size < self.size else "written to"
            raise ReadError(
                f"{self.path} has {size:,} bytes, it had {self.size:,} when training or evaluating "
                f"began: it was {how} meanwhile; restore it, and call again"
            )


@dataclasses.dataclass(frozen=True)
class FileRows:
    """The rows (n, ...) of a C-contiguous array in an open file, from a position on.

    scale: that of Pixels, or None for numbers that mean what they say.
    """

    file: OpenFile
    position: int
    shape: tuple
    dtype: np.dtype
    scale: float | None = None

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def row_bytes(self):
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self):
        return len(self) * self.row_bytes

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """Return the rows of a slice, as FileRows: nothing is read."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError("rows in a file have slices of step 1")
        position = self.position + start * self.row_bytes
        shape = max(0, stop - start), *self.shape[1:]
        return dataclasses.replace(self, position=position, shape=shape)

    def read_into(self, array):
        """Fill a contiguous array of the same type with the first rows."""
        self.file.read_into(memoryview(array.reshape(-1).view(np.uint8)), self.position)

    def prefetch(self):
        """Have the system begin to read the rows from the disk."""
        self.file.prefetch(self.position, self.nbytes)

    def read(self):
        """Return all rows as an array, or as Pixels."""
        array = np.empty(self.shape, self.dtype)
        self.read_into(array)
        return array if self.scale is None else Pixels(array, self.scale)


# ------------------------------------------------ from arrays to rows


def streamed_rows(X, streams, name):
    """Return the FileRows of a memory map that is to be read in windows, else None.

    X: an array or Pixels; streams: None for never, "auto" for maps that are larger than the free
    memory, "always" for all. Raises ValueError for a map that has to be, and is not stored in a way
    that the kernels read.
    """
    stored = X.array if isinstance(X, Pixels) else X
    root = None if streams is None else _map_of(stored)
    if root is None:
        return None
    free = free_memory() if streams == "auto" else 0
    if streams == "auto" and stored.nbytes <= free:
        return None
    if stored.flags.c_contiguous and stored.dtype in layout.STORED:
        return _rows_of(stored, root, X.scale if isinstance(X, Pixels) else None)
    if streams == "always":  # it is copied into memory, as any other array
        return None
    seen = stored.dtype if stored.dtype not in layout.STORED else "rows that are not contiguous"
    raise ValueError(
        f"{name}: X is a memory map of {stored.nbytes:,} bytes, larger than the free memory "
        f"({free:,}), and holds {seen}, expected contiguous rows of uint8, float32 or float64 in "
        f"native byte order; write it to a new file so, block by block"
    )


def holds_map(data):
    """Tell whether data are a tuple (X, Y) whose X is in a memory map."""
    X = data[0] if isinstance(data, tuple) and len(data) == 2 else None
    return _map_of(X.array if isinstance(X, Pixels) else X) is not None


def mapped_rows(array):
    """Return the FileRows of an array or Pixels in a memory map, or None for other arrays."""
    if isinstance(array, FileRows):
        return array
    stored = array.array if isinstance(array, Pixels) else array
    root = _map_of(stored)
    if root is None or not stored.flags.c_contiguous:
        return None
    return _rows_of(stored, root, array.scale if isinstance(array, Pixels) else None)


def joined(one, other):
    """Return the memory map of which two maps are parts, one right behind the other, or None."""
    first, second = mapped_rows(one), mapped_rows(other)
    if first is None or second is None or one.dtype != other.dtype:
        return None
    end, shapes = first.position + first.nbytes, (first.shape[1:], second.shape[1:])
    if first.file.path != second.file.path or end != second.position or shapes[0] != shapes[1]:
        return None
    shape = len(first) + len(second), *shapes[0]
    return np.memmap(first.file.path, first.dtype, "r", first.position, shape)


def _map_of(array):
    """Return the np.memmap that an array is a view of, or None.

    A map of mode "c" may hold changes that are not in its file, and counts as memory.
    """
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array._mmap, mmap.mmap):
            return array if array.filename is not None and array.mode != "c" else None
        array = array.base
    return None


def _rows_of(array, root, scale):
    """Return the FileRows of an array that is a view of a memory map; raise ReadError."""
    file = OpenFile(root.filename)
    if file.size != root._mmap.size():
        raise ReadError(f"{root.filename} is not the file that was mapped: map it again")
    start = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY
    address = np.frombuffer(root._mmap, np.uint8, 1).ctypes.data
    position = start + array.ctypes.data - address  # `offset` of a slice is that of the whole
    rows = FileRows(file, position, array.shape, array.dtype, scale)
    if position + rows.nbytes > file.size:
        raise ReadError(
            f"{file.path} has {file.size:,} bytes, at least {position + rows.nbytes:,} were there "
            f"when it was mapped: it was cut off meanwhile; restore it, and call again"
        )
    return rows


# ------------------------------------------------ reading


def read_rows(array, rows):
    """Return the rows of a slice of an array, Pixels or FileRows, in memory."""
    part = array[rows]
    return part.read() if isinstance(part, FileRows) else part


def parts(X, part_bytes=None):
    """Yield (slice, rows in memory) until all rows of X are done.

    Arrays and Pixels are one part; FileRows are read in several, one ahead, by a thread.
    """
    if not isinstance(X, FileRows):
        yield slice(0, len(X)), X
        return
    count = max(1, (part_bytes or PART_BYTES) // max(1, X.row_bytes))
    slices = [slice(i, min(i + count, len(X))) for i in range(0, len(X), count)]
    with ReadAhead() as reader:
        coming = [reader.submit(read_rows, X, rows) for rows in slices[:1]]
        for i, rows in enumerate(slices):
            part = coming.pop().result()
            coming += [reader.submit(read_rows, X, ahead) for ahead in slices[i + 1 : i + 2]]
            yield rows, part
