"""Files written whole or not at all, and read no further than they may be long."""

import contextlib
import os
import pathlib
import tempfile
import zipfile
import zlib

import numpy as np


@contextlib.contextmanager
def written_atomically(path):
    """Open a binary file that takes the place of `path` when the block ends without an error.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and then renamed
    over `path`: whatever happens, `path` holds the old content or the new one, never a part.
    Raises OSError that names `path`.
    """
    path = pathlib.Path(path)
    check_writable(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def check_writable(path):
    """Raise OSError if `path` could not be written: to ask before hours of work, not after."""
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write {path}: no permission in the folder {path.parent}")


def read_npz(path):
    """Return the arrays of an .npz file as a dictionary; objects are refused, nothing is executed.

    Raises OSError if the file cannot be read, ValueError, with the reason, if it is not sound.
    """
    with open(path, "rb") as file:  # numpy.load would leave a damaged file open
        try:
            with np.load(file, allow_pickle=False) as content:
                return {name: content[name] for name in content.files}
        except AttributeError:
            raise ValueError("it is not an .npz file") from None
        except (KeyError, TypeError, EOFError, NotImplementedError, zlib.error,
                zipfile.BadZipFile) as error:  # fmt: skip
            raise ValueError(str(error) or "it is cut off") from None


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask
