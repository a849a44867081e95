"""Generated images, written block by block to an IDX pair of any length; a killed call goes on.

Invariants: until all images are there they stand in files named .part, and the pair does not exist;
the record says how many images are safely on the disk, and is written after these.
"""

import contextlib
import json
import os
import shutil

import numpy as np

from fastbp.data import digits, files, idx_writer, messages

BLOCK = 4096  # images made at a time
SYNC_BYTES = 1 << 26  # written between two records: so much is made again after a kill
PIXELS = idx_writer.SIDE**2


def write_generated(path, count, make_block, about, on_images=None):
    """Write `count` generated images and their labels to an IDX pair.

    Parameters
    ----------
    path : path
        That of the images, e.g. train-images-idx3-ubyte; the labels stand beside it. Not .gz.
    count : int
        At least 1.
    make_block : callable
        make_block(start, n) returns the images (n, 784), uint8, and the labels (n,), 0..255, of the
        samples from `start` on. It must depend on nothing else: it is not called anew for what a
        killed call has written.
    about : dict
        What make_block depends on, as JSON can hold it: a call goes on only with what has the same.
    on_images : callable, optional
        on_images(n) is called after each n images, also for those that are already there.

    Raises
    ------
    ValueError
        If the unfinished files beside path are of another call, or path has another kind of name.
    OSError
        If there is too little room, or a file cannot be written. What is written stays, and the
        same call goes on with it.
    """
    paths = idx_writer.pair_of_paths(path)
    if paths[0].name.endswith(".gz"):
        raise ValueError(f"path is {str(path)!r}, expected a name without .gz")
    parts = [path.with_name(f"{path.name}.part") for path in paths]
    headers = idx_writer.header(count, idx_writer.SIDE, idx_writer.SIDE), idx_writer.header(count)
    record = _Record(path, count, about)
    done = record.read()
    try:
        _check_room(paths[0].parent, (count - done) * (PIXELS + 1))
        if done and on_images is not None:
            on_images(done)
        if done < count:
            with (
                _open_part(parts[0], headers[0], done * PIXELS) as x,
                _open_part(parts[1], headers[1], done) as y,
            ):
                _write_blocks(x, y, done, count, make_block, record, on_images)
        for part, path in zip(parts, paths):
            if part.exists():  # not so, if a call was killed between the two
                os.replace(part, path)
        os.unlink(record.path)
        files.remove_temporary_files(record.path)  # of calls that were killed
    except OSError as error:
        raise OSError(
            f"{paths[0]} cannot be written: {error.strerror or error}; {record.read():,} of "
            f"{count:,} images are kept in {parts[0].name}: the same call goes on there"
        ) from None


def begin(path, count, about):
    """Write the record of a pair, if there is none yet: from now on the pair is unfinished.

    path, count, about: as for write_generated, and the same errors.
    """
    idx_writer.header(count)  # raises for too many
    record = _Record(path, count, about)
    if not record.read():
        try:
            _check_room(record.path.parent, count * (PIXELS + 1))
        except OSError as error:
            raise OSError(f"{path} cannot be written: {error}") from None
        record.write(0)


def is_unfinished(path):
    """Tell whether a killed call has left files of a pair, with which the same call goes on."""
    return _record_path(path).exists()


def digit_blocks(seed, stream):
    """Return make_block of synthetic digits; stream: 0, 1 ...: other images of the seed."""

    def make_block(start, n):
        labels = np.random.default_rng([seed, stream, start, 0]).integers(0, 10, n)
        return digits.draw(labels, [seed, stream, start, 1]), labels

    return make_block


def _record_path(path):
    images, _ = idx_writer.pair_of_paths(path)
    return images.with_name(f"{images.name}.part.json")


def _write_blocks(x, y, done, count, make_block, record, on_images):
    """Append all blocks that are missing to the two open files."""
    recorded = done
    try:
        while done < count:
            n = min(BLOCK - done % BLOCK, count - done)
            images, labels = make_block(done, n)
            x.write(np.ascontiguousarray(images, np.uint8).reshape(n, PIXELS))
            y.write(np.asarray(labels).astype(np.uint8).tobytes())
            done += n
            if (done - recorded) * PIXELS >= SYNC_BYTES:
                record.write(done, x, y)
                recorded = done
            if on_images is not None:
                on_images(n)
        record.write(done, x, y)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk, perhaps; then the last record counts
            record.write(done, x, y)
        raise


class _Record:
    """How many images of which call are in the unfinished files: a small JSON file.

    path, count, about: as for write_generated.
    """

    def __init__(self, path, count, about):
        self.path, self.about = _record_path(path), {**about, "count": count}

    def read(self):
        """Return how many images are there; raise ValueError if there are some of another call."""
        try:
            content = json.loads(self.path.read_text())
            done, about = int(content["done"]), dict(content["about"])
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{self.path} is damaged; remove it to begin anew") from None
        if done and about != self.about:
            names = (*about, *self.about)
            name = next(name for name in names if about.get(name) != self.about.get(name))
            theirs, ours = (messages.shorten(of.get(name)) for of in (about, self.about))
            raise ValueError(
                f"{self.path} is of another call, with {name} {theirs}, this one has {ours}; call "
                f"with the same, or remove the files of that call to begin anew"
            )
        return done

    def write(self, done, *data):
        """Write the record, after the open files of data have been flushed to the disk."""
        for file in data:
            file.flush()
            os.fsync(file.fileno())
        with files.write_atomically(self.path) as file:
            file.write(json.dumps({"done": done, "about": self.about}).encode())


def _open_part(path, header, size):
    """Open an unfinished file behind its header and `size` bytes; raise ValueError if it has less.

    What comes behind them is cut off: it was written after the record. Raises OSError while another
    call writes the file.
    """
    file = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | files.OPEN_FLAGS, 0o666), "r+b")
    _lock(file)
    if size and os.path.getsize(path) < len(header) + size:
        file.close()
        raise ValueError(f"{path} is shorter than its record says; remove both to begin anew")
    file.truncate(len(header) + size)
    file.write(header)
    file.seek(0, os.SEEK_END)
    return file


def _lock(file):
    """Lock an open file until it is closed; raise OSError if another call has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OSError("another call is writing it") from None
    except OSError:  # a file system without locks
        return


def _check_room(folder, size):
    """Raise OSError if the disk has less room than `size` bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(f"{size:,} bytes more are needed, {free:,} are free on the disk")
