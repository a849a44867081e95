"""Reading the book's mnist.pkl.gz, and the mnist_expanded.pkl.gz of its expand_mnist.py.

Invariants: the pickle is read by pickled_arrays, which executes nothing in it; lists of images are
emptied while they are copied into one array, so that the images are in memory once.
"""

import numpy as np

from fastbp.data import messages
from fastbp.data.readers.bounded_reader import BoundedReader, DamagedFileError
from fastbp.data.readers.image_sets import check_labels
from fastbp.data.readers.pickled_arrays import ArrayUnpickler, DisallowedError

MAX_BYTES = 1 << 32  # the book's expanded training set takes 3 GB as Python 2 writes it


def read(path):
    """Return the three sets in a file like the book's mnist.pkl.gz or mnist_expanded.pkl.gz.

    Parameters
    ----------
    path : path
        A pickle, compressed by gzip or not, of three pairs (images, labels): arrays, or lists of
        arrays (784,) and of integers, which the book's expand_mnist.py writes.

    Returns
    -------
    list of three tuples (ndarray (n, 784) of floats 0..1, ndarray (n,) of integers)

    Raises
    ------
    ValueError
        The file holds something else, or a pickle that names anything but arrays.
    """
    with BoundedReader(path, MAX_BYTES) as content:
        sets = _three_pairs(_unpickle(content, path), path)
        for k, name in enumerate(("training", "validation", "test")):
            images, labels = sets[k]
            if isinstance(images, list) and any(pair[0] is images for pair in sets[k + 1 :]):
                images = images.copy()  # _stack empties the list
            images, labels = _as_arrays(images, labels, content.n_read, path, name)
            _check_set(images, labels, path)
            sets[k] = images, labels
    return sets


def _three_pairs(data, path):
    """Return unpickled data as a list of three pairs, or raise ValueError."""
    try:
        sets = [(images, labels) for images, labels in data]
    except (TypeError, ValueError):
        sets = []
    if len(sets) != 3:
        raise ValueError(f"{path} does not hold three pairs (images, labels)")
    return sets


def _unpickle(content, path):
    """Return the pickled objects, with pickled_arrays.Array in place of arrays, or raise."""
    try:
        data = ArrayUnpickler(content).load()
    except DamagedFileError:
        raise
    except DisallowedError as error:
        raise ValueError(f"{path}: {messages.shorten(error, 300)}") from None
    except Exception as error:  # a damaged pickle can raise any exception
        reason = messages.shorten(error, 300)
        raise ValueError(f"{path} is not the book's mnist.pkl.gz: {reason}") from None
    if content.readinto(bytearray(1)):  # reading to the end verifies the checksum
        raise ValueError(f"{path} is not the book's mnist.pkl.gz: it goes on after its end")
    return data


def _as_arrays(images, labels, max_bytes, path, name):
    """Return images and labels as arrays, or raise ValueError; a list of images is emptied.

    max_bytes: the limit of the sum over the images of a list, the number of bytes that were read.
    Without it a small pickle that holds one array many times would take much memory.
    """
    if isinstance(images, list):
        images = _stack(images, max_bytes, path, name)
    else:
        images = getattr(images, "array", None)
    if isinstance(labels, list):
        labels = _labels_array(labels, path, name)
    else:
        labels = getattr(labels, "array", None)
    if images is None or labels is None:
        raise ValueError(f"{path} does not hold three pairs (images, labels)")
    return images, labels


def _stack(images, max_bytes, path, name):
    """Return a list of images as an array (n, 784) of float32, and empty the list; or raise."""
    for i, image in enumerate(images):
        array = getattr(image, "array", None)
        if array is None or array.shape != (784,) or array.dtype.kind != "f":
            seen = "no array" if array is None else f"of shape {array.shape} and {array.dtype}"
            raise ValueError(
                f"{path}: image {i} of the {name} set is {seen}, expected an array (784,) of floats"
            )
        max_bytes -= array.nbytes
        if max_bytes < 0:
            raise ValueError(f"{path}: refused: it holds the same images again and again")
    stacked = np.empty((len(images), 784), np.float32)
    images.reverse()
    with np.errstate(all="ignore"):  # _check_set reports numbers beyond float32
        for row in stacked:
            row[:] = images.pop().array
    return stacked


def _labels_array(labels, path, name):
    """Return a list of labels as an array of int64, or raise ValueError."""
    for i, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < 2**63:
            seen = messages.shorten(label, 40) if type(label) is int else "no integer"
            raise ValueError(
                f"{path}: label {i} of the {name} set is {seen}, expected an integer of at least 0"
            )
    return np.array(labels, np.int64)


def _check_set(images, labels, path):
    """Raise ValueError unless images are (n, 784) floats 0..1 and labels (n,) integers 0..999."""
    if images.ndim != 2 or images.shape[1] != 784 or images.dtype.kind != "f" or not len(images):
        raise ValueError(
            f"{path}: images of shape {images.shape} and dtype {images.dtype}, expected "
            f"(n, 784) floats"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: labels of shape {labels.shape} and dtype {labels.dtype}, expected "
            f"{images.shape[:1]} integers"
        )
    with np.errstate(invalid="ignore"):  # signalling NaNs make NumPy warn
        smallest, largest = images.min(), images.max()
    if not (smallest >= 0 and largest <= 1):
        raise ValueError(f"{path}: pixels go from {smallest} to {largest}, expected 0..1")
    check_labels(labels, path)
