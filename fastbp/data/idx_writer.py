"""Writing IDX files of images and labels, in MNIST's format.

Invariant: what is written here, idx_files reads back to the same bytes.
"""

import gzip
import pathlib
import struct

import numpy as np

from fastbp.data import arguments, files, numeric_arrays
from fastbp.data.pixels import Pixels
from fastbp.data.readers import bounded_reader, idx_files, image_sets

SIDE = 28
ROUND = "use np.rint(256 * images).clip(0, 255).astype(np.uint8)"
EXAMPLE = "train-images-idx3-ubyte, or t10k-images-idx3-ubyte.gz"


def write_pair(path, images, labels):
    """Write images and labels to two IDX files; see mnist_loader.write."""
    images_path, labels_path = pair_of_paths(path)
    images, labels = _checked_images(images), _checked_labels(labels)
    if len(images) != len(labels) or not len(images):
        raise ValueError(
            f"images has {len(images)} rows and labels {len(labels)}, expected as many, and at "
            f"least one"
        )
    packed = images_path.name.endswith(".gz")
    if packed and len(images) * SIDE**2 >= bounded_reader.MAX_BYTES:
        raise ValueError(
            f"{len(images)} images are more than are read from a .gz file; leave out .gz"
        )
    with files.write_atomically(images_path) as file:
        with _open_packed(file, packed) as out:
            out.write(header(len(images), SIDE, SIDE))
            for start in range(0, len(images), image_sets.BLOCK_ROWS):
                out.write(_bytes_of(images, start).tobytes())
        file.flush()  # an error ends it before the labels are replaced
        with files.write_atomically(labels_path) as second, _open_packed(second, packed) as out:
            out.write(header(len(labels)))
            out.write(labels.tobytes())


def pair_of_paths(path):
    """Return (path of the images, path of the labels) for the path of the images, or raise."""
    path = pathlib.Path(arguments.check_path("path", path)).expanduser()
    parsed = idx_files.parse_name(path.name)
    if parsed is None or not parsed[1].endswith("images"):
        raise ValueError(f"path is {str(path)!r}, expected a name such as {EXAMPLE}")
    start, _, end = path.name.rpartition("images")
    return path, path.with_name(f"{start}labels{end.replace('idx3', 'idx1')}")


def header(*shape):
    """Return the header of an IDX file of uint8."""
    if shape[0] >= 2**32:
        raise ValueError(f"there are {shape[0]} images, expected fewer than 2**32 in an IDX file")
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def _open_packed(file, packed):
    """Return a context that writes to an open file, compressed or not; it stays open."""
    if packed:
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    return _Plain(file)


class _Plain:
    """A context like GzipFile, that writes bytes as they are."""

    def __init__(self, file):
        self.write = file.write

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def _checked_images(images):
    """Return images (n, 784), as bytes or floats, or raise."""
    if isinstance(images, Pixels):
        if images.scale != 1 / 256:
            raise ValueError(
                f"images are Pixels of scale {images.scale:g}, expected 1/256, which IDX files "
                f"are read with"
            )
        images = images.array
    images = numeric_arrays.as_numeric(images, "images")
    if images.shape[1:] not in ((SIDE, SIDE), (SIDE**2,)):
        raise ValueError(f"images has shape {images.shape}, expected (n, 28, 28) or (n, 784)")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(
            f"images has dtype {images.dtype}, expected uint8, or floats that are pixel/256; for "
            f"integers 0..255 use images.astype(np.uint8)"
        )
    return images.reshape(len(images), SIDE**2)


def _bytes_of(images, start):
    """Return a block of images from `start` on as bytes."""
    block = images[start : start + image_sets.BLOCK_ROWS]
    return block if block.dtype == np.uint8 else image_sets.to_bytes(block, "images", start, ROUND)


def _checked_labels(labels):
    """Return labels (n,) as uint8, or raise."""
    labels = numeric_arrays.as_numeric(labels, "labels")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels has shape {labels.shape} and dtype {labels.dtype}, expected (n,) integers"
        )
    wrong = np.flatnonzero((labels < 0) | (labels > 255))
    if wrong.size:
        raise ValueError(f"labels[{wrong[0]}] is {labels[wrong[0]]}, expected 0..255, one byte")
    return labels.astype(np.uint8)
