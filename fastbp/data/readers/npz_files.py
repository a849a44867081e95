"""Reading images and labels from .npz files: Keras's mnist.npz, and KMNIST's and Kuzushiji-49's.

Invariant: shapes and types are checked before an array is read.
"""

import re

import numpy as np

from fastbp.data import messages, npz
from fastbp.data.readers.image_sets import check_labels, check_pair

KERAS = ("x_train", "y_train", "x_test", "y_test")
ROLES = ("train-imgs", "train-labels", "test-imgs", "test-labels")
_NAME = re.compile(r"(?P<prefix>.*?)(?P<role>(train|test)-(imgs|labels))\.npz")


def parse_name(name):
    """Return (name of the data set, role, preference) of a name, or None; as idx_files does.

    E.g. of kmnist-train-imgs.npz, for which the name of the data set is "kmnist-".
    """
    found = _NAME.fullmatch(name)
    return (found["prefix"], found["role"], ()) if found else None


def read(path):
    """Return (images, labels) for training and for testing from a file like Keras's mnist.npz.

    Images are uint8 (n, 28, 28). Raises ValueError for wrong content, OSError if the file cannot
    be read.
    """
    try:
        with npz.NpzReader(path) as content:
            for images, labels in (KERAS[:2], KERAS[2:]):
                _check_labels(content, labels, _check_images(content, images)[:1])
            sets = [content[name] for name in KERAS]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not Keras's mnist.npz with {', '.join(KERAS)}: {messages.shorten(error)}"
        ) from None
    for name, labels in zip(KERAS[1::2], sets[1::2]):
        check_labels(labels, f"{path}: {name}")
    return sets[:2], sets[2:]


def read_four(*paths):
    """Return what `read` does, from four files in the order of ROLES, each with an array arr_0."""
    return _read_pair(*paths[:2]), _read_pair(*paths[2:])


def _read_pair(images_path, labels_path):
    """Return (images, labels) of two files, or raise ValueError if they do not fit together."""
    images = _read_array(images_path, "images", _check_images)
    labels = _read_array(labels_path, "labels", _check_labels)
    check_pair(images, images_path, labels, labels_path)
    return images, labels


def _read_array(path, kind, check):
    """Return the array arr_0 of a file; check(content, name) raises if its header is wrong."""
    try:
        with npz.NpzReader(path) as content:
            check(content, "arr_0")
            return content["arr_0"]
    except (KeyError, ValueError) as error:
        reason = messages.shorten(error)
        raise ValueError(f"{path} is not an .npz file of {kind}: {reason}") from None


def _check_images(content, name):
    """Return the shape of an array of images, or raise ValueError."""
    shape, dtype = content.header(name)
    if dtype != np.uint8 or shape[1:] != (28, 28) or not shape[0]:
        raise _shape_error(name, shape, dtype, "(n, 28, 28) and uint8")
    return shape


def _check_labels(content, name, wanted=None):
    """Raise ValueError unless an array holds labels, of the wanted shape if one is given."""
    shape, dtype = content.header(name)
    if dtype.kind not in "iu" or len(shape) != 1 or (wanted and shape != wanted):
        raise _shape_error(name, shape, dtype, f"{wanted or '(n,)'} and integers")


def _shape_error(name, shape, dtype, wanted):
    """Return the error that reports the header of an array."""
    seen = messages.shorten(shape, 60)
    return ValueError(f"{name} has shape {seen} and dtype {dtype}, expected {wanted}")
