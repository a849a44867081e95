"""Files that are written completely or not at all; limits on what a file may expand to."""

import contextlib
import os
import pathlib
import secrets
import stat
import zlib

from fastbp.data import arguments

# A file may expand to MAX_RATIO times its size plus SLACK bytes; more is a decompression bomb.
# Deflate reaches a ratio of 1,030, images of digits one of 50 at most; SLACK is for small files of
# labels, which compress better.
MAX_RATIO, SLACK = 64, 1 << 20
CHUNK = 1 << 20  # bytes read at once
OPEN_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextlib.contextmanager
def write_atomically(path, backup_suffix=None):
    """Open a binary file that replaces `path` when the block ends without an error.

    The bytes are written to a temporary file in the same folder, flushed to the disk, and renamed
    to `path`, which therefore always holds the old content or the new, never a part. The
    permissions of an existing file are kept, a symbolic link is followed. backup_suffix: the old
    file is kept under its name with this suffix. Raises OSError that names `path`.
    """
    path, temporary, handle = _create_temporary(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        if backup_suffix is not None and path.exists():
            _link_or_rename(path, f"{path}{backup_suffix}")
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(error.errno, f"cannot write {path}: {reason}; it is unchanged") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _link_or_rename(path, name):
    """Give the file at `path` a second name; on file systems without links, rename it."""
    link = _unused_name(path)
    try:
        os.link(path, link)
    except OSError:
        os.replace(path, name)
        return
    try:
        os.replace(link, name)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(link)


def _sync_folder(folder):
    """Flush a folder to the disk: a renamed file may have its old name after a crash otherwise."""
    if hasattr(os, "O_DIRECTORY"):
        with contextlib.suppress(OSError):  # not all file systems support it
            handle = os.open(folder, os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _prefix(path):
    """Return the first part of the names of a file's temporary files, of fixed length."""
    return f".fastbp-{zlib.crc32(os.fsencode(path.name)):08x}-"


def _unused_name(path):
    """Return a name in the folder of a file that no other file has."""
    return f"{path.parent / _prefix(path)}{secrets.token_hex(4)}"


def remove_temporary_files(path):
    """Remove the temporary files that killed processes left beside `path`."""
    real = pathlib.Path(os.path.realpath(path))
    for temporary in real.parent.glob(_prefix(real) + "*"):
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(path):
    """Raise OSError if `path` cannot be written: a check to make before hours of work."""
    _, temporary, handle = _create_temporary(path)
    os.close(handle)
    os.unlink(temporary)


def _create_temporary(path):
    """Return (the real path, a new file beside it, its handle), or raise OSError naming `path`."""
    path = arguments.check_path("path", path)
    if not path or path.endswith(os.sep) or os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a folder, expected the name of a file to write")
    real = pathlib.Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {real.parent} does not exist")
    try:
        with contextlib.suppress(FileNotFoundError):  # a name that is too long fails here
            if not stat.S_ISREG(os.stat(real).st_mode):
                raise FileExistsError(None, "it is not a regular file")
        temporary = _unused_name(real)
        # Not mkstemp, whose files only their owner may read: 0o666 is subject to the umask.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | OPEN_FLAGS, 0o666)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None
    return real, temporary, handle


def check_expanded_size(size, stored_size, compressed):
    """Raise ValueError unless `stored_size` bytes may expand to `size` bytes.

    compressed: whether they are compressed by deflate.
    """
    if not compressed and size != stored_size:
        raise ValueError(f"it promises {size:,} bytes, {stored_size:,} are there")
    if size > MAX_RATIO * stored_size + SLACK:
        raise ValueError(
            f"it unpacks from {stored_size:,} bytes to {size:,}: no data set or model does"
        )


def read_into(array, file):
    """Fill an array of bytes from an open file, chunk by chunk; return how many were read."""
    view, n_read, n = memoryview(array), 0, 1
    while n and n_read < len(view):
        n = file.readinto(view[n_read : n_read + CHUNK])
        n_read += n
    return n_read
