"""Readers of .npz and .npy files of numbers and strings; nothing is unpickled.

Invariant: a size in a header is checked against the number of bytes in the file before memory is
allocated for it.
"""

import contextlib
import errno
import io
import math
import os
import re
import sys
import zipfile

import numpy as np

from fastbp.data import files, messages

MAX_BYTES = 1 << 32  # of one array
MAX_DIRECTORY = 1 << 20  # bytes of the directory of an .npz file: some 15,000 arrays
MAX_HEADER = 10_000  # bytes of the header of an .npy file, NumPy's own limit


class NpzReader:
    """A context manager for the arrays of an .npz file, by name.

    Raises OSError if the file cannot be read, KeyError for a name that is not in it, ValueError,
    with the reason, if it is damaged or holds anything but numbers and strings.
    """

    def __init__(self, path):
        self._path = path
        self._file = _LimitedFile(open(path, "rb", buffering=0))  # noqa: SIM115  (see __exit__)

    def __enter__(self):
        try:
            with self._translate_errors():
                self._zip = zipfile.ZipFile(self._file)
                self._file.max_read = None
                self._check_directory()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *error):
        self._file.close()

    def names(self):
        """Return the names of all arrays in the file."""
        return [name.removesuffix(".npy") for name in self._zip.namelist()]

    def __len__(self):
        return len(self._zip.infolist())

    def __getitem__(self, name):
        with self._open(name) as (member, size):
            return read_npy(member, size)

    def header(self, name):
        """Return (shape, dtype) of an array, without reading it."""
        with self._open(name) as (member, size):
            return read_npy_header(member, size)[:2]

    @contextlib.contextmanager
    def _open(self, name):
        """Open a member; yield it and its size in bytes."""
        try:
            info = self._zip.getinfo(f"{name}.npy")
        except KeyError:
            raise KeyError(f"it holds no {name}") from None
        with self._translate_errors(f"{name}: "):
            compressed = info.compress_type == zipfile.ZIP_DEFLATED
            if not compressed and info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"it is packed by method {info.compress_type}, expected deflate")
            files.check_expanded_size(info.file_size, info.compress_size, compressed)
            with self._zip.open(info) as member:
                yield member, info.file_size

    def _check_directory(self):
        """Raise ValueError if two members have one name or share bytes, or the last is cut off."""
        end, seen = 0, set()
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.filename in seen:
                raise ValueError(f"it holds {info.filename} twice")
            if info.header_offset < end:
                raise ValueError(f"{info.filename} overlaps with the array before it")
            seen.add(info.filename)
            end = info.header_offset + info.compress_size
        if end > os.fstat(self._file.fileno()).st_size:
            raise ValueError("it is cut off")

    @contextlib.contextmanager
    def _translate_errors(self, where=""):
        """Raise ValueError for all errors of a damaged archive; leave those of the disk."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EINVAL:  # a seek to a negative offset
                raise ValueError(f"{where}an offset points outside the file") from None
            error.filename = str(self._path)
            raise
        except Exception as error:
            raise ValueError(f"{where}{messages.shorten(error)}") from None


class _LimitedFile(io.BufferedReader):
    """An open .zip file of which at most `max_read` bytes are read at once; None for any number.

    zipfile reads the whole directory at once, whose size is a number in the file.
    """

    max_read = MAX_DIRECTORY

    def read(self, n=-1):
        if self.max_read is None or 0 <= n <= self.max_read:
            return super().read(n)
        content = super().read(self.max_read + 1)
        if len(content) > self.max_read:
            raise ValueError(f"its directory is longer than {self.max_read:,} bytes")
        return content


def read_npy(file, file_size):
    """Return the array in an open .npy file of `file_size` bytes.

    Raises ValueError if the header does not fit the size, and for anything but numbers and strings.
    """
    shape, dtype, fortran_order, size = read_npy_header(file, file_size)
    content = np.empty(size, np.uint8)
    if files.read_into(content, file) < size:
        raise ValueError("it is cut off")
    if dtype.kind == "U" and (content.view(dtype.str[0] + "u4") > sys.maxunicode).any():
        # Python would raise a SystemError when it converts the string.
        raise ValueError("it holds a string with invalid code points")
    return content.view(dtype).reshape(shape, order="F" if fortran_order else "C")


def read_npy_header(file, file_size, max_bytes=MAX_BYTES):
    """Return (shape, dtype, whether in Fortran order, size in bytes) from the header of .npy.

    Not by NumPy, which reads headers of any length, evaluates them as Python, and may warn. Raises
    as read_npy does; only the header is read.
    """
    text = _read_header_text(file)
    not_numbers = f"its header is {messages.shorten(text)!r}, expected that of an array of numbers"
    found = _HEADER.fullmatch(text)
    entries = dict(zip(found.groups()[::2], found.groups()[1::2])) if found else {}
    if len(entries) < 3:
        raise ValueError(not_numbers)
    descr, fortran_order = entries["descr"][1:-1], entries["fortran_order"]
    if _OBJECTS.fullmatch(descr):
        raise ValueError("it holds Python objects, expected numbers")
    if not _DESCR.fullmatch(descr) or not _SHAPE.fullmatch(entries["shape"]):
        raise ValueError(not_numbers)
    if fortran_order not in ("True", "False"):
        seen = messages.shorten(fortran_order)
        raise ValueError(f"its fortran_order is {seen}, expected True or False")
    try:
        dtype = np.dtype(descr)
    except TypeError:
        raise ValueError(f"it holds {descr!r}, expected numbers") from None
    shape = tuple(int(n) for n in re.findall(r"\d+", entries["shape"]))
    size = math.prod(shape) * dtype.itemsize
    available = file_size - file.tell()
    if size != available or max(size, *shape, 0) > max_bytes or not dtype.itemsize:
        raise ValueError(f"its header promises {size:,} bytes, {max(available, 0):,} are there")
    return shape, dtype, fortran_order == "True", size


def _read_header_text(file):
    """Return the dictionary, as text, in the header of an open .npy file, or raise ValueError."""
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3) or magic[7]:
        raise ValueError("it does not begin as an .npy file does")
    n = int.from_bytes(file.read(2 if magic[6] == 1 else 4), "little")
    if n > MAX_HEADER:
        raise ValueError(f"its header is {n:,} bytes long, expected at most {MAX_HEADER:,}")
    return file.read(n).decode("latin1")


_ENTRY = r"""\s*['"](descr|fortran_order|shape)['"]\s*:\s*('[^'\\]*'|"[^"\\]*"|\w+|\([^()]*\))\s*"""
_HEADER = re.compile(rf"\s*\{{{_ENTRY},{_ENTRY},{_ENTRY},?\s*\}}\s*")
_DESCR = re.compile(r"[<>|=]?[biufcSU][0-9]{1,4}")
_OBJECTS = re.compile(r"[<>|=]?O8?")
# A tuple of up to 32 integers; Python 2 wrote long ones with an L.
_SHAPE = re.compile(
    r"\(\s*(?:[0-9]{1,40}L?\s*,\s*){0,32}\)|\((?:[0-9]{1,40}L?, ?){1,31}[0-9]{1,40}L?\)"
)
