"""Readers of MNIST's files: IDX, the book's mnist.pkl.gz, Keras's mnist.npz.

Law: a file is believed only after its header, its length and its labels have been checked, and
nothing in it is ever executed.
"""

import os
import pathlib
import zlib

import numpy as np

from fastbp import download, files, mnist_pickle, npz

IMAGES, LABELS = 2051, 2049  # the magic numbers of IDX files of images and of labels
MOST_BYTES = 1 << 30  # no file of digits unpacks to more
KNOWN = (
    "expected a folder with the four IDX files (train-images-idx3-ubyte.gz and so on) or a "
    "mnist.pkl.gz or mnist.npz, or one of these files"
)


def load(path):
    """Return (training, validation, test) from a folder or file, as mnist_loader.load_data does.

    Raises ValueError for content that is not what it should be, OSError if it can't be read.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {KNOWN}")
    if path.is_dir():
        idx = _idx_files(path)
        if idx:
            return _load_idx(*idx)
        for name in ("mnist.pkl.gz", "mnist.npz"):
            if (path / name).is_file():
                return load(path / name)
        raise FileNotFoundError(f"{path} holds no MNIST; {KNOWN}")
    if path.suffix == ".npz":
        return _load_npz(path)
    if path.name.endswith((".pkl.gz", ".pkl")):
        return _load_pickle(path)
    if _idx_files(path.parent) and path in _idx_files(path.parent):
        return load(path.parent)
    raise ValueError(f"{path} is not a known kind of file; {KNOWN}")


def as_set(images, labels):
    """Return bytes 0..255 as (images (n, 784) float32 = pixel/256, labels int64)."""
    images = images.reshape(len(images), 784).astype(np.float32)
    images /= 256
    return images, np.asarray(labels, np.int64)


def _split(train_images, train_labels, test_images, test_labels):
    n = len(train_images) - len(train_images) // 6
    return (
        as_set(train_images[:n], train_labels[:n]),
        as_set(train_images[n:], train_labels[n:]),
        as_set(test_images, test_labels),
    )


class _Content:
    """The bytes of a file, unpacked if it is gzip, read piece by piece: no more than asked for.

    Python's own gzip reads names, padding and empty parts byte by byte; here zlib does. A file is
    one gzip stream and nothing after it. Raises ValueError where it is damaged or cut off, or
    where more comes out than digits can pack to.
    """

    def __init__(self, path):
        self.path, self.taken = path, 0
        self._file = open(path, "rb")  # noqa: SIM115  (closed by __exit__)
        self.stored = os.fstat(self._file.fileno()).st_size
        self._unpacker, self.packed = None, False
        if self._file.peek(2)[:2] == b"\x1f\x8b":
            self._unpacker, self.packed = zlib.decompressobj(16 + zlib.MAX_WBITS), True
        self._piece, self._at = b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def most(self):
        """Return how many bytes may come out: digits pack up to 25 times, deflate 1,030 times."""
        return min(MOST_BYTES, files.MOST_RATIO * self.stored + files.SLACK)

    def readinto(self, view):
        """Fill a part of `view`, as files do; 0 only at the end, after the checksum."""
        piece = self._take(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def read(self, n):
        """Return the next n bytes, or raise EOFError."""
        pieces = [self._take(n)]
        left = n - len(pieces[0])
        while left:
            if not pieces[-1]:
                raise EOFError("it ends too early")
            pieces.append(self._take(left))
            left -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self):
        """Return the bytes up to and with the next line feed, or raise EOFError."""
        pieces = [b""]
        while not pieces[-1].endswith(b"\n"):
            pieces.append(self._take(files.PIECE, b"\n"))
            if not pieces[-1]:
                raise EOFError("it ends too early")
        return b"".join(pieces)

    def _take(self, most, until=b""):
        """Return some of the next bytes, no more than `most`, up to a byte; none at the end."""
        if self._at == len(self._piece) and most:
            self._piece, self._at = self._next_piece(), 0
        start, self._at = self._at, min(self._at + most, len(self._piece))
        if until:
            self._at = self._piece.find(until, start, self._at) + 1 or self._at
        return self._piece[start : self._at]

    def _next_piece(self):
        piece = self._file.read(files.PIECE) if not self.packed else self._unpack()
        self.taken += len(piece)
        most = self.most()
        if self.taken > most:
            verb = "unpacks to" if self.packed else "has"
            raise _Damaged(f"{self.path} {verb} more than {most:,} bytes, it can't be MNIST")
        return piece

    def _unpack(self):
        try:
            while not self._unpacker.eof:
                packed = self._unpacker.unconsumed_tail or self._file.read(1 << 16)
                if not packed:
                    raise _Damaged(f"{self.path} is damaged or cut off: its end is missing")
                piece = self._unpacker.decompress(packed, files.PIECE)
                if piece:
                    return piece
        except zlib.error as error:
            raise _Damaged(f"{self.path} is damaged or cut off: {files.brief(error)}") from None
        if self._unpacker.unused_data or self._file.read(1):
            raise _Damaged(f"{self.path} is damaged: it goes on after its end")
        return b""


class _Damaged(ValueError):
    """A file that cannot be unpacked; the message names it."""


# ------------------------------------------------ IDX


def _idx_files(folder):
    """Return the paths of the four IDX files in a folder, or None if one is missing."""
    found = []
    for name in download.FILES:
        candidates = (name, name[:-3], name[:-3].replace("-idx", ".idx"))
        there = [folder / c for c in candidates if (folder / c).is_file()]
        if not there:
            return None
        found.append(there[0])
    return found


def is_whole(folder):
    """Tell whether a folder holds the four IDX files and all of them can be read."""
    files = _idx_files(folder)
    try:
        return files is not None and bool(_load_idx(*files))
    except (OSError, ValueError):
        return False


def _load_idx(train_images, train_labels, test_images, test_labels):
    return _split(*_idx_pair(train_images, train_labels), *_idx_pair(test_images, test_labels))


def _idx_pair(images_path, labels_path):
    images, labels = _read_idx(images_path, IMAGES), _read_idx(labels_path, LABELS)
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels, "
            f"expected as many"
        )
    _check_labels(labels, labels_path)
    return images, labels


def _read_idx(path, magic):
    """Return the array of bytes in an IDX file with this magic number."""
    dimensions = magic % 256
    header = 4 + 4 * dimensions
    with _Content(path) as content:
        try:
            start = content.read(header)
        except EOFError:
            n = content.taken
            raise ValueError(f"{path} is {n} bytes long, too short for an IDX header") from None
        seen, *shape = (int(v) for v in np.frombuffer(start, ">u4"))
        if seen != magic:
            raise ValueError(f"{path} begins with the magic number {seen}, expected {magic}")
        if dimensions == 3 and shape[1:] != [28, 28]:
            raise ValueError(f"{path} holds images of {shape[1]} x {shape[2]}, expected 28 x 28")
        if not shape[0]:
            raise ValueError(f"{path} is empty: its header says 0 items")
        size = shape[0] * (784 if dimensions == 3 else 1)
        expected, got = header + size, content.stored
        if expected > content.most() or (not content.packed and expected != got):
            raise ValueError(
                f"{path} has {got:,} bytes{' packed' * content.packed}, its header promises "
                f"{expected:,}: it is cut off or damaged"
            )
        array = np.empty(size, np.uint8)
        got = header + files.read_into(array, content)
        if got == expected:
            got += content.readinto(bytearray(1))  # none: but now the checksum is compared
        if got != expected:
            raise ValueError(
                f"{path} has {got:,} bytes{' or more' * (got > expected)}, its header promises "
                f"{expected:,}: it is cut off or damaged"
            )
    return array.reshape(shape)


def _check_labels(labels, path):
    if len(labels) and not (labels.min() >= 0 and labels.max() <= 9):
        raise ValueError(f"{path}: labels go from {labels.min()} to {labels.max()}, expected 0..9")


# ------------------------------------------------ Keras's mnist.npz


def _load_npz(path):
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with npz.Npz(path) as content:
            headers = [content.header(name) for name in names]  # what does not fit is not read
            for images, labels in ((0, 1), (2, 3)):
                shape, dtype = headers[images]
                if dtype != np.uint8 or shape[1:] != (28, 28) or not shape[0]:
                    raise ValueError(
                        _misfit(names[images], *headers[images], "(n, 28, 28) and uint8")
                    )
                wanted = shape[:1]
                shape, dtype = headers[labels]
                if dtype.kind not in "iu" or shape != wanted:
                    raise ValueError(
                        _misfit(names[labels], *headers[labels], f"{wanted} and integers")
                    )
            sets = [content[name] for name in names]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not Keras's mnist.npz with {', '.join(names)}: {files.brief(error)}"
        ) from None
    for name, labels in zip(names[1::2], sets[1::2]):
        _check_labels(labels, f"{path}: {name}")
    return _split(*sets)


def _misfit(name, shape, dtype, wanted):
    return f"{name} has shape {files.brief(shape, 60)} and dtype {dtype}, expected {wanted}"


# ------------------------------------------------ the book's mnist.pkl.gz


def _load_pickle(path):
    with _Content(path) as content:
        try:
            data = mnist_pickle.Unpickler(content).load()
        except _Damaged:
            raise
        except mnist_pickle.Refused as error:
            raise ValueError(f"{path}: {files.brief(error, 300)}") from None
        except Exception as error:  # a damaged pickle can raise anything at all
            reason = files.brief(error, 300)
            raise ValueError(f"{path} is not the book's mnist.pkl.gz: {reason}") from None
        if content.readinto(bytearray(1)):  # at the end the checksum is compared
            raise ValueError(f"{path} is not the book's mnist.pkl.gz: it goes on after its end")
    try:
        sets = [(images.array, labels.array) for images, labels in data]
    except (AttributeError, TypeError, ValueError):
        sets = ()
    if len(sets) != 3:
        raise ValueError(f"{path} does not hold three pairs (images, labels)")
    for images, labels in sets:
        if (
            images.ndim != 2
            or images.shape[1] != 784
            or images.dtype.kind != "f"
            or not len(images)
        ):
            raise ValueError(
                f"{path}: images of shape {images.shape} and dtype {images.dtype}, expected "
                f"(n, 784) floats"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: labels of shape {labels.shape} and dtype {labels.dtype}, expected "
                f"{images.shape[:1]} integers"
            )
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                f"{path}: pixels go from {images.min()} to {images.max()}, expected 0..1"
            )
        _check_labels(labels, path)
    return tuple((x.astype(np.float32), y.astype(np.int64)) for x, y in sets)
