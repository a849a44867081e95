"""Files written whole or not at all, and read no further than they may be long."""

import contextlib
import os
import pathlib
import secrets
import stat
import zlib

MOST_RATIO, SLACK = 64, 1 << 20  # beyond them, what unpacks is a bomb (a few labels pack well)
PIECE = 1 << 20  # bytes read at once
BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


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
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        if keep is not None and path.exists():
            _keep(path, f"{path}{keep}")
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        why = error.strerror or error
        raise type(error)(error.errno, f"cannot write {path}: {why}; it is as it was") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _keep(path, name):
    """Give the file at `path` a second name; where there are no links, it loses the first."""
    link = _new_name(path)
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


def _new_name(path):
    """Return a name beside a file that nothing has."""
    return f"{path.parent / _prefix(path)}{secrets.token_hex(4)}"


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
        temporary = _new_name(real)
        # Not mkstemp: a new file has the permissions that any new file gets.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | BINARY, 0o666)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None
    return real, temporary, handle


def check_length(length, stored, packed):
    """Raise ValueError unless `stored` bytes can be an honest form of `length` bytes.

    packed: they were packed by deflate. It packs nothing 1,100 times, digits up to 25 times.
    """
    if not packed and length != stored:
        raise ValueError(f"it promises {length:,} bytes, {stored:,} are there")
    if length > MOST_RATIO * stored + SLACK:
        raise ValueError(
            f"it unpacks from {stored:,} bytes to {length:,}: no data set or model does"
        )


def read_into(array, file):
    """Fill an array of bytes from an open file, piece by piece; return how many were there."""
    view, at, n = memoryview(array), 0, 1
    while n and at < len(view):
        n = file.readinto(view[at : at + PIECE])
        at += n
    return at


def brief(value, most=200):
    """Return what a file says, or an error about it, as a part of a message: short, on one line.

    A file may hold anything: what moves a cursor or has no encoding becomes a question mark.
    """
    text = str(value)[: 4 * most]
    if not text and isinstance(value, Exception):
        text = type(value).__name__
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return text if len(text) <= most else text[: most - 3] + "..."
