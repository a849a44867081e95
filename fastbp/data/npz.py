"""Readers of .npz and .npy files: numbers and strings only, no further than they may be long.

Law: a size is believed only if as many bytes are there, and known before anything is allocated.
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

from fastbp.data import files

MOST_BYTES = 1 << 32  # no array in a file is larger
MOST_DIRECTORY = 1 << 20  # of an .npz file: some 15,000 arrays
MOST_HEADER = 10_000  # of an .npy file, as NumPy has it


class Npz:
    """The arrays of an .npz file, by name: numbers and strings only, nothing is unpickled.

    A size is believed only if as many bytes are there, or, packed, a number from which an array
    may well come; so it is known before anything is read. Raises OSError if the file cannot be
    read, KeyError for a name that it lacks, ValueError, with the reason, if it is not sound.
    """

    def __init__(self, path):
        self._path = path
        self._file = _Archive(open(path, "rb", buffering=0))  # noqa: SIM115  (see __exit__)

    def __enter__(self):
        try:
            with self._no_surprises():
                self._zip = zipfile.ZipFile(self._file)
                self._file.most = None
                self._check_directory()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *error):
        self._file.close()

    def names(self):
        """Return the names of all arrays in it."""
        names = self._zip.namelist()
        return [name.removesuffix(".npy") for name in names]

    def __len__(self):
        return len(self._zip.infolist())

    def __getitem__(self, name):
        with self._open(name) as (member, length):
            return read_npy(member, length)

    def header(self, name):
        """Return (shape, dtype) of an array, without reading it."""
        with self._open(name) as (member, length):
            return npy_header(member, length)[:2]

    @contextlib.contextmanager
    def _open(self, name):
        """Open a member; yield it and its length."""
        try:
            info = self._zip.getinfo(f"{name}.npy")
        except KeyError:
            raise KeyError(f"it holds no {name}") from None
        with self._no_surprises(f"{name}: "):
            packed = info.compress_type == zipfile.ZIP_DEFLATED
            if not packed and info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"it is packed by method {info.compress_type}, expected deflate")
            files.check_length(info.file_size, info.compress_size, packed)
            with self._zip.open(info) as member:
                yield member, info.file_size

    def _check_directory(self):
        """Raise ValueError where two members have one name or share bytes."""
        end, seen = 0, set()
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.filename in seen:
                raise ValueError(f"it holds {info.filename} twice")
            if info.header_offset < end:
                raise ValueError(f"{info.filename} overlaps with what is before it")
            seen.add(info.filename)
            end = info.header_offset + info.compress_size
        if end > os.fstat(self._file.fileno()).st_size:
            raise ValueError("it is cut off")

    @contextlib.contextmanager
    def _no_surprises(self, where=""):
        """Turn all that a damaged archive can raise into ValueError; what a disk says remains."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EINVAL:  # it was told to seek to nowhere
                raise ValueError(f"{where}it points out of itself") from None
            error.filename = str(self._path)
            raise
        except Exception as error:
            raise ValueError(f"{where}{files.brief(error)}") from None


class _Archive(io.BufferedReader):
    """An open .zip file, of which at most `most` bytes are read in one piece: its directory."""

    most = MOST_DIRECTORY

    def read(self, n=-1):
        if self.most is None or 0 <= n <= self.most:
            return super().read(n)
        content = super().read(self.most + 1)
        if len(content) > self.most:
            raise ValueError(f"its directory is longer than {self.most:,} bytes")
        return content


def read_npy(file, length):
    """Return the array of numbers in an open .npy file of `length` bytes.

    Raises ValueError where the header does not fit the length, or for anything but numbers and
    strings.
    """
    shape, dtype, fortran, size = npy_header(file, length)
    content = np.empty(size, np.uint8)
    if files.read_into(content, file) < size:
        raise ValueError("it is cut off")
    if dtype.kind == "U" and (content.view(dtype.str[0] + "u4") > sys.maxunicode).any():
        raise ValueError("it holds a text that is none")  # Python would fail with a SystemError
    return content.view(dtype).reshape(shape, order="F" if fortran else "C")


def npy_header(file, length):
    """Return (shape, dtype, is in Fortran's order, bytes) as the header of an .npy file has them.

    Not NumPy's own reader: that one reads headers of any length, evaluates them as Python, and
    may warn. Raises as read_npy does; no more than the header is read.
    """
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3) or magic[7]:
        raise ValueError("it does not begin as an .npy file does")
    n = int.from_bytes(file.read(2 if magic[6] == 1 else 4), "little")
    if n > MOST_HEADER:
        raise ValueError(f"its header is {n:,} bytes long, expected at most {MOST_HEADER:,}")
    text = file.read(n).decode("latin1")
    found = _HEADER.fullmatch(text)
    entries = dict(zip(found.groups()[::2], found.groups()[1::2])) if found else {}
    if len(entries) < 3:
        raise ValueError(
            f"its header is {files.brief(text)!r}, expected that of an array of numbers"
        )
    descr, fortran = entries["descr"][1:-1], entries["fortran_order"]
    if _OBJECTS.fullmatch(descr):
        raise ValueError("it holds Python objects, expected numbers")
    if not _DESCR.fullmatch(descr) or not _SHAPE.fullmatch(entries["shape"]):
        raise ValueError(
            f"its header is {files.brief(text)!r}, expected that of an array of numbers"
        )
    if fortran not in ("True", "False"):
        raise ValueError(f"its fortran_order is {files.brief(fortran)}, expected True or False")
    try:
        dtype = np.dtype(descr)
    except TypeError:
        raise ValueError(f"it holds {descr!r}, expected numbers") from None
    shape = tuple(int(n) for n in re.findall(r"\d+", entries["shape"]))
    size = math.prod(shape) * dtype.itemsize
    there = length - file.tell()
    if size != there or max(size, *shape, 0) > MOST_BYTES or not dtype.itemsize:
        raise ValueError(f"its header promises {size:,} bytes, {max(there, 0):,} are there")
    return shape, dtype, fortran == "True", size


_ENTRY = r"""\s*['"](descr|fortran_order|shape)['"]\s*:\s*('[^'\\]*'|"[^"\\]*"|\w+|\([^()]*\))\s*"""
_HEADER = re.compile(rf"\s*\{{{_ENTRY},{_ENTRY},{_ENTRY},?\s*\}}\s*")
_DESCR = re.compile(r"[<>|=]?[biufcSU][0-9]{1,4}")
_OBJECTS = re.compile(r"[<>|=]?O8?")
# A tuple of up to 32 integers; Python 2 wrote long ones with an L.
_SHAPE = re.compile(
    r"\(\s*(?:[0-9]{1,40}L?\s*,\s*){0,32}\)|\((?:[0-9]{1,40}L?, ?){1,31}[0-9]{1,40}L?\)"
)
