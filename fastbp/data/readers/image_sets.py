"""What the readers of images and labels share: checks of labels, splits, conversions of pixels.

Invariant: images keep the type in which they are stored (uint8, or floats 0..1) until `as_set`.
"""

import math

import numpy as np

from fastbp.data.free_memory import free_memory
from fastbp.data.pixels import Pixels
from fastbp.data.warn import runtime_warning

MAX_CLASSES = 1000  # a larger label is a mistake or damage
MIN_OUTPUTS = 10  # of a network for digits, also where a small sample lacks some of them
BLOCK_ROWS = 4096  # images converted at a time
MAP_BYTES = 1 << 30  # files of more images than these are mapped, not read


def check_labels(labels, where):
    """Raise ValueError, naming `where` and the index, unless all labels are 0..MAX_CLASSES-1."""
    labels = np.asarray(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= MAX_CLASSES))
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"{where}: label {i} is {labels[i]}, expected an integer 0..{MAX_CLASSES - 1}"
        )


def check_pair(images, images_path, labels, labels_path):
    """Raise ValueError unless there is one label 0..MAX_CLASSES-1 for each image."""
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels, "
            f"expected as many"
        )
    check_labels(labels, labels_path)


def split(images, labels):
    """Return ((images, labels), (images, labels)): all but the last sixth, and the last sixth."""
    n = without_last_sixth(len(images))
    return (images[:n], labels[:n]), (images[n:], labels[n:])


def without_last_sixth(n):
    """Return how many of n images `split` leaves, of which the others are for validation."""
    return n - n // 6


def warn_about_black_images(images, where):
    """Warn if the largest pixel of images of uint8 is 1, which `as_set` reads as 1/256.

    where: what the warning calls the images. Of a memory map only the first images are read.
    """
    images = images[:BLOCK_ROWS] if isinstance(images, np.memmap) else images
    if images.dtype == np.uint8 and images.max(initial=0) == 1:
        runtime_warning(
            f"{where}: the largest pixel is 1, expected up to 255; pixels are divided by 256, so "
            f"these images are nearly black. If 1 means white, use X * 256 in place of the images "
            f"X of each set (with pixels=True: fastbp.Pixels(X.array, scale=1.0)), or write the "
            f"file with 255 in place of 1"
        )


def as_set(images, labels, pixels=False, transpose=False, where="images"):
    """Return one set as mnist_loader.load_data does.

    Parameters
    ----------
    images : ndarray (n, ...)
        uint8 0..255, or floats 0..1 that are pixel/256.
    labels : sequence of int (n,)
    pixels : bool
        Whether to return the images as Pixels, that is, as bytes.
    transpose : bool
        Whether to exchange the rows and columns of each image, as EMNIST needs it.
    where : str
        What an error calls the images.

    Returns
    -------
    tuple of (ndarray (n, n_in) of float32 or Pixels, ndarray (n,) of int64)

    Raises
    ------
    ValueError
        The images are not square (transpose), or not integers divided by 256 (pixels).
    """
    n, n_in = len(images), math.prod(images.shape[1:])
    images = images.reshape(n, n_in)
    if isinstance(images, np.memmap) and (transpose or not pixels):
        _check_room(images.size * (1 if pixels else 4), pixels, where)
    if transpose:
        side = math.isqrt(n_in)
        if side * side != n_in:
            raise ValueError(
                f"{where} have {n_in} pixels, expected a square number for transpose=True; call "
                f"it without transpose"
            )
        images = images.reshape(n, side, side).transpose(0, 2, 1).reshape(n, n_in)
    labels = np.array(labels, np.int64)
    if pixels:
        return Pixels(images if images.dtype == np.uint8 else to_bytes(images, where)), labels
    if images.dtype == np.uint8:
        images = images.astype(np.float32)
        images /= 256
    with np.errstate(under="ignore"):
        return np.require(images, np.float32, ["C", "W"]), labels


def _check_room(size, pixels, where):
    """Raise ValueError if `size` bytes, which a large file takes in memory, are not free."""
    free = free_memory()
    if size > free:
        advice = "call it without transpose" if pixels else "use pixels=True, without transpose"
        raise ValueError(
            f"{where} would take {size:,} bytes of memory, {free:,} are free; to have them read "
            f"from the file as they are needed, {advice}"
        )


def to_bytes(images, where, first=0, advice="load it without pixels=True"):
    """Return floats pixel/256, the images (n, n_in), as pixels of uint8, or raise ValueError.

    first: the number of the first image in an error; advice: what to do, in it.
    """
    pixels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), BLOCK_ROWS):
        block = images[start : start + BLOCK_ROWS] * 256
        exact = (block >= 0) & (block <= 255) & (block == np.rint(block))
        if not exact.all():
            i, k = np.argwhere(~exact)[0]
            raise ValueError(
                f"{where}: pixel {k} of image {first + start + i} is {images[start + i, k]:.6g}, "
                f"expected an integer 0..255 divided by 256; {advice}"
            )
        pixels[start : start + BLOCK_ROWS] = block
    return pixels
