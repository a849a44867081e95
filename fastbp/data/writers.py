"""Writers of image data sets: the book's pickle, Keras's mnist.npz, and MNIST's four IDX files.

Invariants: each file is written completely or not at all; the same data give the same bytes, but
for the npz format's time stamps.
"""

import contextlib
import gzip
import pathlib
import pickle

import numpy as np

from fastbp.data import files, idx_writer

LEVEL = 4  # of compression: the next ones take longer and save little
PROTOCOL = 4  # with 5, arrays refer to a module that NumPy 1 does not have
IDX_NAMES = (
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
)  # fmt: skip


@contextlib.contextmanager
def write_gzip(path):
    """Open a file to be compressed and written atomically."""
    with (
        files.write_atomically(path) as file,
        gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as compressed,
    ):
        yield compressed


def write_pickle(path, sets):
    """Write three pairs (images (n, pixels) float32, labels (n,)), as the book's mnist.pkl.gz.

    Arrays, also where the book's expand_mnist.py writes lists of them: they load in seconds.
    """
    with write_gzip(path) as file:
        pickle.dump(tuple(sets), file, PROTOCOL)


def write_npz(path, training, test):
    """Write two pairs (images (n, side, side) uint8, labels (n,) integers) as Keras's mnist.npz."""
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*training, *test)))
    with files.write_atomically(path) as file:
        np.savez_compressed(file, **arrays)


def write_idx(folder, training, test):
    """Write two pairs (images (n, side, side) uint8, labels (n,) 0..255) as four IDX files.

    The folder is made if it is not there.
    """
    for _, labels in (training, test):
        if labels.max(initial=0) > 255:
            raise ValueError(
                f"the largest label is {labels.max()}, expected at most 255 in IDX files of bytes; "
                f"write an .npz file"
            )
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    for name, array in zip(IDX_NAMES, (*training, *test)):
        with write_gzip(folder / name) as file:
            file.write(idx_writer.header(*array.shape))
            file.write(np.ascontiguousarray(array, np.uint8).reshape(-1).data)
