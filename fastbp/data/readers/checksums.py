"""Checksums of data sets, whatever file they come from: those of MNIST are known.

Invariant: the bytes are those that four IDX files of the data set would hold, headers included.
"""

import hashlib
import math
import struct

import numpy as np

from fastbp.data import download
from fastbp.data.pixels import Pixels

IMAGES, LABELS = 0x803, 0x801  # the first number of IDX files of bytes with 3 axes, with 1


def digests(sets):
    """Return the SHA-256 of the four IDX files of (training, validation, test), or None.

    In the order of download.FILES; None for images or labels that are not bytes.
    """
    training, validation, test = sets
    for images, labels in sets:
        if not isinstance(images, Pixels) or labels.max(initial=0) > 255:
            return None
    found = []
    for parts in ((training, validation), (test,)):
        found.append(_digest_of_images([images.array for images, _ in parts]))
        found.append(_digest_of_labels([labels for _, labels in parts]))
    return found


def is_mnist(found):
    """Tell whether digests are those of MNIST."""
    return found is not None and found == [digest for digest, _ in download.FILES.values()]


def _digest_of_images(arrays):
    n_in = arrays[0].shape[1]
    side = math.isqrt(n_in)
    shape = (side, side) if side * side == n_in else (1, n_in)
    hashed = hashlib.sha256(struct.pack(">IIII", IMAGES, sum(map(len, arrays)), *shape))
    for array in arrays:
        hashed.update(np.ascontiguousarray(array))
    return hashed.hexdigest()


def _digest_of_labels(arrays):
    labels = np.concatenate(arrays).astype(np.uint8)
    return hashlib.sha256(struct.pack(">II", LABELS, len(labels)) + labels.tobytes()).hexdigest()
