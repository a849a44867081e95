"""Readers of MNIST's files: IDX, the book's mnist.pkl.gz, Keras's mnist.npz.

Law: a file is believed only after its header, its length and its labels have been checked, and
nothing in it is ever executed.
"""

import gzip
import io
import pathlib
import pickle
import zlib

import numpy as np

from fastbp import download, files

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


def _unpacked(path):
    """Return the bytes of a file, unpacked if it is gzip, at most MOST_BYTES of them."""
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} unpacks to more than {MOST_BYTES:,} bytes, it can't be MNIST")
    return content


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
    content = _unpacked(path)
    dimensions = magic % 256
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise ValueError(f"{path} is {len(content)} bytes long, too short for an IDX header")
    seen, *shape = (int(v) for v in np.frombuffer(content, ">u4", 1 + dimensions))
    if seen != magic:
        raise ValueError(f"{path} begins with the magic number {seen}, expected {magic}")
    if dimensions == 3 and shape[1:] != [28, 28]:
        raise ValueError(f"{path} holds images of {shape[1]} x {shape[2]}, expected 28 x 28")
    if not shape[0]:
        raise ValueError(f"{path} is empty: its header says 0 items")
    expected = header + shape[0] * (784 if dimensions == 3 else 1)
    if len(content) != expected:
        raise ValueError(
            f"{path} has {len(content):,} bytes, its header promises {expected:,}: it is cut off "
            f"or damaged"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _check_labels(labels, path):
    if len(labels) and not (labels.min() >= 0 and labels.max() <= 9):
        raise ValueError(f"{path}: labels go from {labels.min()} to {labels.max()}, expected 0..9")


# ------------------------------------------------ Keras's mnist.npz


def _load_npz(path):
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with files.Npz(path) as content:
            sets = [content[name] for name in names]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not Keras's mnist.npz with {', '.join(names)}: {error}"
        ) from None
    for (x, y), (x_name, y_name) in zip((sets[:2], sets[2:]), (names[:2], names[2:])):
        if x.dtype != np.uint8 or x.shape[1:] != (28, 28) or not len(x):
            raise ValueError(
                f"{path}: {x_name} has shape {x.shape} and dtype {x.dtype}, expected "
                f"(n, 28, 28) and uint8"
            )
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
            raise ValueError(
                f"{path}: {y_name} has shape {y.shape} and dtype {y.dtype}, expected "
                f"{x.shape[:1]} and integers"
            )
        _check_labels(y, f"{path}: {y_name}")
    return _split(*sets)


# ------------------------------------------------ the book's mnist.pkl.gz


def _load_pickle(path):
    content = _unpacked(path)
    try:
        data = _Unpickler(content).load()
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything at all
        raise ValueError(f"{path} is not the book's mnist.pkl.gz: {error}") from None
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


class _Refused(Exception):
    """A pickle names something that is not on the allow-list."""


def _stand_ins():
    """Return what a pickle of arrays may name, and our own classes that it gets instead.

    Made anew for each file: a pickle can write to whatever it is given.
    """

    class Dtype:
        def __init__(self, name, *flags):
            self.name, self.order = str(name), "="

        def __setstate__(self, state):
            self.order = state[1]

    class Array:
        """Takes numbers only, and only as many as there are bytes for."""

        def __setstate__(self, state):
            _, shape, dtype, fortran, raw = state
            numbers = np.dtype(dtype.name).newbyteorder(dtype.order)
            if numbers.kind not in "fiu":
                raise _Refused(f"it holds an array of {dtype.name}, expected numbers")
            raw = raw.encode("latin1") if isinstance(raw, str) else raw
            array = np.frombuffer(raw, numbers).reshape(shape, order="F" if fortran else "C")
            self.array = array.astype(numbers.newbyteorder("="), copy=False)

    def new_array(*arguments):
        return Array()

    def array_from_buffer(raw, dtype, shape, order):
        array = Array()
        array.__setstate__((1, shape, dtype, order == "F", raw))
        return array

    def encode(text, encoding):
        return text.encode("latin1")

    allowed = {("numpy", "ndarray"): Array, ("numpy", "dtype"): Dtype}
    allowed["_codecs", "encode"] = encode
    for core in ("numpy.core", "numpy._core"):  # before and after NumPy 2
        allowed[f"{core}.multiarray", "_reconstruct"] = new_array
        allowed[f"{core}.numeric", "_frombuffer"] = array_from_buffer
    return allowed


class _Unpickler(pickle._Unpickler):
    """Reads pickled arrays without a single class of the pickle's own choice.

    The one in Python, not the one in C: the latter allocates a table as large as the largest
    number that a pickle uses for its memo, which a file of ten bytes can set to gigabytes.
    """

    def __init__(self, content):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.allowed = _stand_ins()

    def find_class(self, module, name):
        try:
            return self.allowed[module, name]
        except KeyError:
            raise _Refused(
                f"refused: it wants to use {module}.{name}, which no data set needs"
            ) from None
