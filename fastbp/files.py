"""Files written whole or not at all, and read no further than they may be long."""

import contextlib
import lzma
import os
import pathlib
import stat
import tempfile
import zipfile
import zlib

import numpy as np

MOST_BYTES = 1 << 32  # no array in a file is larger
DAMAGED = (EOFError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError,
           zipfile.BadZipFile)  # fmt: skip


@contextlib.contextmanager
def written_atomically(path, keep=None):
    """Open a binary file that takes the place of `path` when the block ends without an error.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and then renamed
    over `path`: whatever happens, `path` holds the old content or the new one, never a part. The
    permissions of an existing file are kept, a symbolic link is followed. keep: what to add to the
    name of the old file, which is kept then.
    Raises OSError that names `path`.
    """
    path, temporary, handle = _temporary(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        if keep is not None and path.exists():
            os.replace(path, f"{path}{keep}")
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        why = error.strerror or error
        raise type(error)(error.errno, f"cannot write {path}: {why}; it is as it was") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _sync_folder(folder):
    """Have the disk keep the new names, too: a file is not renamed for good before."""
    if hasattr(os, "O_DIRECTORY"):
        with contextlib.suppress(OSError):  # some file systems can't
            handle = os.open(folder, os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _prefix(path):
    """Return how the names of a file's temporary files begin: short, however long its own is."""
    return f".fastbp-{zlib.crc32(os.fsencode(path.name)):08x}-"


def remove_leftovers(path):
    """Remove the temporary files of writers of `path` that were killed."""
    real = pathlib.Path(os.path.realpath(path))
    for temporary in real.parent.glob(_prefix(real) + "*"):
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(path):
    """Raise OSError if `path` could not be written: to ask before hours of work, not after."""
    _, temporary, handle = _temporary(path)
    os.close(handle)
    os.unlink(temporary)


def _temporary(path):
    """Return (the real path, a new file beside it, its handle), or raise OSError naming `path`."""
    if not str(path) or str(path).endswith(os.sep) or os.path.isdir(path):
        raise IsADirectoryError(f"{str(path)!r} is a folder, expected the name of a file to write")
    real = pathlib.Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {real.parent} does not exist")
    try:
        with contextlib.suppress(FileNotFoundError):  # a name that is too long fails here
            if not stat.S_ISREG(os.stat(real).st_mode):
                raise FileExistsError(None, "it is not a regular file")
        handle, temporary = tempfile.mkstemp(dir=real.parent, prefix=_prefix(real))
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None
    return real, temporary, handle


def _mode(path):
    """Return the permissions of an existing file, or those that a new one gets."""
    with contextlib.suppress(OSError):
        return stat.S_IMODE(os.stat(path).st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


class Npz:
    """The arrays of an .npz file, by name: numbers only, nothing is unpickled.

    A header is believed only if as many bytes are there. Raises OSError if the file cannot be
    read, KeyError for a name that it lacks, ValueError, with the reason, if it is not sound.
    """

    def __init__(self, path):
        self._file = open(path, "rb")  # noqa: SIM115  (closed by __exit__)

    def __enter__(self):
        try:
            self._zip = zipfile.ZipFile(self._file)
        except DAMAGED as error:
            self._file.close()
            raise ValueError(str(error)) from None
        return self

    def __exit__(self, *error):
        self._file.close()

    def names(self):
        """Return the names of all arrays in it."""
        names = self._zip.namelist()
        return [name.removesuffix(".npy") for name in names]

    def __getitem__(self, name):
        try:
            info = self._zip.getinfo(f"{name}.npy")
        except KeyError:
            raise KeyError(f"it holds no {name}") from None
        try:
            with self._zip.open(info) as member:
                return read_npy(member, info.file_size)
        except DAMAGED as error:
            raise ValueError(f"{name}: {error or 'cut off'}") from None


def read_npy(file, length):
    """Return the array of numbers in an open .npy file of `length` bytes.

    Raises ValueError where the header does not fit the length, or for anything but numbers and
    strings.
    """
    if np.lib.format.read_magic(file) == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    size = dtype.itemsize
    for n in shape:
        size *= n
    there = length - file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, expected numbers")
    if size != there or size > MOST_BYTES:
        raise ValueError(f"its header promises {size:,} bytes, {max(there, 0):,} are there")
    array = np.frombuffer(file.read(size), dtype)
    return array.reshape(shape, order="F" if fortran else "C")
