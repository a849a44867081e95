"""Reading the book's mnist.pkl.gz, and the mnist_expanded.pkl.gz of its expand_mnist.py.

Invariants: the pickle is read by pickled_arrays, which runs nothing of it; lists of images are
freed while they are copied into one array, so that the images are never held twice.
"""

import numpy as np

from fastbp.data import files
from fastbp.data.readers.bounded_reader import BoundedReader, Damaged
from fastbp.data.readers.image_sets import check_labels
from fastbp.data.readers.pickled_arrays import Refused, Unpickler

MOST_BYTES = 1 << 32  # the book's expanded training set takes 3 GB as Python 2 writes it


def read(path):
    """Return the three sets in a file like the book's mnist.pkl.gz or mnist_expanded.pkl.gz.

    Parameters
    ----------
    path : path
        A pickle, packed by gzip or not, of three pairs (images, labels): arrays, or lists of
        arrays (n_in,) and of integers, which the book's expand_mnist.py writes.

    Returns
    -------
    list of three tuples (ndarray (n, 784) of floats 0..1, ndarray (n,) of integers)

    Raises
    ------
    ValueError
        It holds something else, or wants something that no data set needs.
    """
    with BoundedReader(path, MOST_BYTES) as content:
        data = _load(content, path)
        sets = []
        try:
            for images, labels in data:
                sets.append([images, labels])
        except (TypeError, ValueError):
            sets = []
        if len(sets) != 3:
            raise ValueError(f"{path} does not hold three pairs (images, labels)")
        del data, images, labels  # lists of images are freed as they are copied
        for k, name in enumerate(("training", "validation", "test")):
            images = sets[k][0]
            if isinstance(images, list) and any(images is later for later, _ in sets[k + 1 :]):
                sets[k][0] = images.copy()  # for it will be emptied
            del images
            sets[k] = _checked(*_as_arrays(*sets[k], content.taken, path, name), path)
    return sets


def _load(content, path):
    """Return what is pickled, with our own classes for arrays."""
    try:
        data = Unpickler(content).load()
    except Damaged:
        raise
    except Refused as error:
        raise ValueError(f"{path}: {files.brief(error, 300)}") from None
    except Exception as error:  # a damaged pickle can raise anything at all
        reason = files.brief(error, 300)
        raise ValueError(f"{path} is not the book's mnist.pkl.gz: {reason}") from None
    if content.readinto(bytearray(1)):  # at the end the checksum is compared
        raise ValueError(f"{path} is not the book's mnist.pkl.gz: it goes on after its end")
    return data


def _as_arrays(images, labels, most, path, name):
    """Return images and labels as arrays; lists of images are emptied meanwhile.

    most: how many bytes the images of a list may have in all. It is those that were read: a pickle
    can put one array into a list again and again.
    """
    if isinstance(images, list):
        images = _stacked(images, most, path, name)
    else:
        images = getattr(images, "array", None)
    if isinstance(labels, list):
        labels = _integers(labels, path, name)
    else:
        labels = getattr(labels, "array", None)
    if images is None or labels is None:
        raise ValueError(f"{path} does not hold three pairs (images, labels)")
    return images, labels


def _stacked(images, most, path, name):
    for i, image in enumerate(images):
        array = getattr(image, "array", None)
        if array is None or array.shape != (784,) or array.dtype.kind != "f":
            seen = "no array" if array is None else f"of shape {array.shape} and {array.dtype}"
            raise ValueError(
                f"{path}: image {i} of the {name} set is {seen}, expected an array (784,) of floats"
            )
        most -= array.nbytes
        if most < 0:
            raise ValueError(f"{path}: refused: it holds the same images again and again")
    stacked = np.empty((len(images), 784), np.float32)
    images.reverse()
    with np.errstate(all="ignore"):  # what is beyond float32 becomes infinite: refused later
        for row in stacked:
            row[:] = images.pop().array
    return stacked


def _integers(labels, path, name):
    for i, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < 2**63:
            seen = files.brief(label, 40) if type(label) is int else "no integer"
            raise ValueError(
                f"{path}: label {i} of the {name} set is {seen}, expected an integer of at least 0"
            )
    return np.array(labels, np.int64)


def _checked(images, labels, path):
    """Return images and labels, or raise ValueError where they do not fit."""
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
    with np.errstate(invalid="ignore"):  # some NaNs make NumPy warn
        least, greatest = images.min(), images.max()
    if not (least >= 0 and greatest <= 1):
        raise ValueError(f"{path}: pixels go from {least} to {greatest}, expected 0..1")
    check_labels(labels, path)
    return images, labels
