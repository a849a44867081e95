"""The full state of a run in a file: written whole, checked when read, the one before it kept.

Invariants: numbers and JSON only, never pickle. A state is used only if its checksum fits, and only
by a run with the same data and the same settings.
"""

import contextlib
import functools
import hashlib
import json
import math
import numbers
import os
import random
import time
import warnings
from typing import NamedTuple

import numpy as np

from fastbp.data import arguments, file_rows, files, messages, npz

FORMAT_VERSION = 1
WHOLE = 1 << 28  # bytes of a memory map up to which its fingerprint is of all of them
SAMPLED, SAMPLED_BYTES = 64, 1 << 14  # else: so many blocks of it, of so many bytes
BLOCK = 1 << 24  # bytes in memory at a time, for a fingerprint
IN_OLDER_FILES = {"shuffle": "book"}  # what files mean in which these names are missing
PREVIOUS = ".previous"  # what a checkpoint is called when the next one has taken its place
DAMAGED = (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError)


class Position(NamedTuple):
    """Where a run stands: the epoch, whether it has begun, and the seed of deformed images.

    shuffle: "book" or "blocks", the order of its samples; None for a new run.
    """

    epoch: int = 0
    epoch_started: bool = False
    deform_seed: int | None = None
    shuffle: str | None = None


class Checkpointer:
    """Writes the state of one run to `path` from time to time; None: never.

    every: a float, seconds; an int, epochs. config: what must be the same when the run is resumed,
    beyond what the run itself knows; what only the file says of that is kept.
    """

    @classmethod
    def of(cls, checkpoint, every, resume):
        """Return the Checkpointer for these arguments of SGD; checkpoint may be one already."""
        return checkpoint if isinstance(checkpoint, cls) else cls(checkpoint, every, resume)

    def __init__(self, path, every=30.0, resume=False, config=None):
        self.config = {} if config is None else config
        self.path, self.resume = path, resume
        self.seconds = self.epochs = None
        if path is None:
            if resume:
                raise ValueError("resume goes with a checkpoint, which is None: say where it is")
            return
        path = arguments.check_path("checkpoint", path)
        if isinstance(every, numbers.Integral):
            self.epochs = arguments.check_count("checkpoint_every", every, 1)
        else:
            self.seconds = arguments.check_range("checkpoint_every", every, np.dtype(np.float64), 0)
        if any(mark in path for mark in "\n\r"):
            raise ValueError(
                f"checkpoint is {messages.describe(path)}, expected a name on one line"
            )
        files.check_writable(path)
        self.path = os.path.realpath(path)  # links and folders may change meanwhile
        files.check_writable(self.path + PREVIOUS)
        self._last = time.monotonic()

    def is_due(self, epochs=None):
        """Tell whether it is time to write; epochs: so many are complete, just now."""
        if self.seconds is not None:
            return time.monotonic() - self._last >= self.seconds
        return bool(self.epochs and epochs and epochs % self.epochs == 0)

    def write(self, config, state, content):
        """Write config and state (dictionaries that JSON can hold) and content (arrays by name)."""
        if self.path is not None:
            try:
                write(self.path, {"facts": self.config | config, "state": state}, content)
            finally:  # written or not: a full disk is not asked all the time
                self._last = time.monotonic()

    @functools.cached_property
    def _found(self):
        """Return (config, state, content) of the file, read once, or None if there is none."""
        if not self.resume:
            return None
        files.remove_temporary_files(self.path)
        found = read(self.path)
        if found is None:
            return None
        about, content = found
        try:
            return dict(about["facts"]), dict(about["state"]), content
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self.path} is not a checkpoint of fastbp") from None

    def peek(self):
        """Return the Position of the run that read() returns; if there is none, of a new one."""
        if self._found is None:
            return Position()
        config, state, _ = self._found
        shuffle = str(config.get("shuffle", IN_OLDER_FILES["shuffle"])).split()
        with as_errors_of(self.path):
            seed = state.get("deform_seed")
            seed = None if seed is None else arguments.check_count("deform_seed", seed, 0)
            return Position(
                arguments.check_count("epoch", state["epoch"], 0), bool(state["begun"]), seed,
                arguments.check_choice("shuffle", shuffle[0], "book", "blocks"),
            )  # fmt: skip

    def read(self, config):
        """Return (state, content) as they were written, or None if there is nothing to resume.

        Raises ValueError if there is something that is damaged, or not of a run like this.
        """
        if self._found is None:
            return None
        written, state, content = self._found
        del self._found  # its arrays are large
        for name, value in json.loads(_as_json(config)).items():
            before = written.get(name, IN_OLDER_FILES.get(name))
            if before != value:
                how = f"{name} {_as_text(before)}, this one has {_as_text(value)}"
                if name.endswith("_data"):
                    how = f"other {name}"
                more = " (the epochs are part of a schedule)" if name == "schedule" else ""
                raise ValueError(
                    f"{self.path} was written by a run with {how}; resume with what it began with"
                    f"{more}, or use another path"
                )
        self.config = written  # with what this call leaves open, a seed perhaps
        return state, content


# ------------------------------------------------ the file


def write(path, about, content):
    """Write a dictionary and arrays to `path`, whole or not at all; what was there is kept.

    Raises OSError that names `path`.
    """
    text = _as_json({"format_version": FORMAT_VERSION, **about})
    content = {"about": np.frombuffer(text.encode(), np.uint8), **content}
    content["checksum"] = np.frombuffer(_checksum(content), np.uint8)
    with files.write_atomically(path, backup_suffix=PREVIOUS) as file:
        np.savez(file, **content)


def read(path):
    """Return (dictionary, arrays) as written to `path`, or None if there is no such file.

    If it is damaged, or its writer was killed between two renames, the one before it counts, and
    gets its name back. Raises ValueError, or OSError, if both are.
    """
    previous, trouble = os.fspath(path) + PREVIOUS, None
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except DAMAGED as error:
        if isinstance(error, OSError):  # that says nothing about what is in the file
            raise
        trouble = error
    try:
        found = _read(previous)
        os.replace(previous, path)  # what is written next would have put the damage in its place
        if trouble:
            why = messages.shorten(trouble, 200)
            warnings.warn(
                f"{path} is damaged ({why}): the one before it is used",
                RuntimeWarning,
                stacklevel=2,
            )
        return found
    except DAMAGED as error:
        if trouble is None and isinstance(error, FileNotFoundError):
            return None
        trouble = trouble or error
    if isinstance(trouble, OSError):
        raise trouble
    raise ValueError(f"{path} is not a whole checkpoint: {messages.shorten(trouble, 300)}")


def _read(path):
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is not a regular file")
    with npz.NpzReader(path) as file:
        if "about" not in file.names():
            raise ValueError("it is another kind of file, a model perhaps")
        content = {name: file[name] for name in file.names()}
    checksum = content.pop("checksum", np.empty(0, np.uint8))
    if checksum.dtype != np.uint8 or checksum.tobytes() != _checksum(content):
        raise ValueError("its checksum does not fit: it is damaged")
    about = json.loads(content.pop("about").tobytes())
    if not isinstance(about, dict) or about.pop("format_version", None) != FORMAT_VERSION:
        raise ValueError(f"it is not in format {FORMAT_VERSION}; another fastbp may read it")
    return about, content


def _checksum(content):
    return _digest((f"{name} ", content[name]) for name in sorted(content)).digest()


def _digest(labelled):
    """Return the SHA-256 over pairs (label, array): types, shapes and bytes."""
    digest = hashlib.sha256()
    for label, array in labelled:
        array = np.ascontiguousarray(array)
        digest.update(f"{label}{array.dtype.str} {array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest


def _as_json(about):
    return json.dumps(about, default=_plain)


def _plain(value):
    """Return a NumPy number as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(
        f"a checkpoint cannot hold {messages.describe(value)}: have evaluate, accuracy and "
        f"total_cost return plain numbers"
    )


def _as_text(value):
    return messages.shorten(json.dumps(value), 150)


# ------------------------------------------------ what else a run depends on


def fingerprint(*parts):
    """Return what tells these arrays (or None) from others, as a text.

    Pixels have the fingerprint of their values in float32: a run may be resumed with either. Of a
    memory map larger than WHOLE bytes it is that of the file's size, its time of change, and
    SAMPLED blocks of its bytes.
    """
    digest = hashlib.sha256()
    for part in parts:
        if part is not None:
            _add_rows(digest, part)
    return digest.hexdigest()[:32]


def _add_rows(digest, rows):
    """Add an array, Pixels or FileRows to a digest, block by block."""
    is_large = math.prod(rows.shape) * rows.dtype.itemsize > WHOLE
    if is_large and (mapped := file_rows.mapped_rows(rows)) is not None:
        _add_sampled(digest, mapped)
        return
    is_pixels = getattr(rows, "scale", None) is not None
    dtype = np.dtype(np.float32) if is_pixels else rows.dtype
    digest.update(f"{dtype.str} {rows.shape};".encode())
    count = max(1, BLOCK // max(1, dtype.itemsize * math.prod(rows.shape[1:])))
    for start in range(0, len(rows), count):
        block = file_rows.read_rows(rows, slice(start, start + count))
        block = block.values(dtype) if is_pixels else np.ascontiguousarray(block)
        digest.update(block.reshape(-1).view(np.uint8))


def _add_sampled(digest, rows):
    """Add what tells a file from others to a digest, without reading all of it."""
    file = rows.file
    about = [file.size, file.status.st_mtime_ns, rows.position, rows.dtype.str, rows.shape]
    digest.update(json.dumps([*about, rows.scale]).encode())
    count = max(1, SAMPLED_BYTES // max(1, rows.row_bytes))
    for start in np.linspace(0, max(0, len(rows) - count), SAMPLED).astype(int).tolist():
        block = np.empty((min(count, len(rows)), *rows.shape[1:]), rows.dtype)
        rows[start : start + count].read_into(block)
        digest.update(block.reshape(-1).view(np.uint8))


def random_states():
    """Return the states of both global generators: (for JSON, arrays by name)."""
    version, words, gauss = random.getstate()
    state = numpy_state()
    if isinstance(state, dict):
        raise ValueError("numpy.random has another generator than the usual: no checkpoint of that")
    kind, keys, position, has_gauss, cached = state
    about = {"random": [version, gauss], "numpy": [kind, position, has_gauss, cached]}
    return about, {"random": np.array(words, np.int64), "numpy_random": keys}


def numpy_state():
    """Return numpy.random's state: a tuple, or a dictionary if another generator is set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.random.get_state()


def set_random_states(about, content):
    """Undo random_states. Raises ValueError or TypeError for what is no state."""
    (version, gauss), (kind, position, *rest) = about["random"], about["numpy"]
    keys = content["numpy_random"]
    if kind == "MT19937" and not (
        keys.shape == (624,) and keys.dtype == np.uint32 and type(position) is int
        and 0 <= position <= 624
    ):  # fmt: skip
        raise ValueError("its random state is none")  # NumPy would take any position
    before = random.getstate()
    random.setstate((version, tuple(content["random"].tolist()), gauss))
    try:
        np.random.set_state((kind, keys, position, *rest))
    except BaseException:
        random.setstate(before)
        raise


@contextlib.contextmanager
def as_errors_of(path):
    """Turn what a file with a right checksum and wrong content raises into one ValueError."""
    try:
        yield
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError) as error:
        why = messages.shorten(error, 300)
        raise ValueError(f"{path} is not a checkpoint of such a run: {why}") from None
