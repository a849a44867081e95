"""fastbp expand: the book's expanded training set, or one of deformed images, as files."""

import functools
import math
import os
import random

import numpy as np

from fastbp import expand_mnist
from fastbp.cli import expand_count
from fastbp.cli.console import log
from fastbp.cli.data_options import read_data
from fastbp.cli.deform_options import add_deform_options, given_limits
from fastbp.cli.options import add_data
from fastbp.cli.outputs import check_outputs
from fastbp.data import arguments, idx_writer, writers
from fastbp.data.pixels import Pixels
from fastbp.report import contact_sheet
from fastbp.training.compute import engine
from fastbp.training.epoch_data import deformation

NAME = "mnist_expanded.pkl.gz"  # the book's
SHEET_ROWS, SHEET_CLASSES = 2, 12  # images of a class on a contact sheet, and classes


def expand(options):
    """Write an expanded data set and a contact sheet, or one of them."""
    if options.count is not None:
        expand_count.expand(options)
        return
    path = options.save = (options.save or "").rstrip(os.sep) or (None if options.sheet else NAME)
    make = _maker(options)
    write = _writer_of(path) if path else None
    if path and os.path.exists(path):
        raise FileExistsError(f"{path} exists already; remove it, or give another name")
    check_outputs(options)
    *sets, name = read_data(options.data, options.transpose)
    deformation.check_images(sets[0][0], f"{name}: X")
    if path and sets[0][0].shape[1] != idx_writer.SIDE**2:
        raise ValueError(
            f"--save {path}: the images have {sets[0][0].shape[1]} pixels, expected 28 x 28, as "
            f"such files are read"
        )
    if options.sheet:
        _draw(options.sheet, sets[0], make)
        log(f"drawn to {options.sheet}")
    if path:
        count, given = write(path, sets, make, options.seed)
        log(f"{path}: {count:,} images for training, from {given:,} of {name}")


def _maker(options):
    """Return the function that makes (X, labels) (1 + k) times as large, each image first.

    Its second argument, 0 if it is not given, is the number of the first image in the data set.
    """
    given = given_limits(options)
    if options.deform is None:
        if given:
            raise ValueError(
                f"--{next(iter(given))} needs --deform N, copies of each, or --count N"
            )
        return lambda data, first=0: expand_mnist.expand(data)
    copies = arguments.check_count("--deform", options.deform, 1)
    chosen = expand_mnist.Deformation(**given)
    return lambda data, first=0: _deformed(*data, first, chosen, copies, options.seed)


def _deformed(X, labels, first, chosen, copies, seed):
    """Return (each image followed by its deformed copies, the labels)."""
    pixels = X.array if isinstance(X, Pixels) else X
    expanded = np.empty((len(pixels), 1 + copies, pixels.shape[1]), pixels.dtype)
    expanded[:, 0] = pixels
    for epoch in range(copies):
        expanded[:, 1 + epoch] = chosen.apply_from(first, pixels, labels, seed, epoch)
    expanded = expanded.reshape(-1, pixels.shape[1])
    expanded = Pixels(expanded, X.scale) if isinstance(X, Pixels) else expanded
    return expanded, np.repeat(labels, 1 + copies)


# ------------------------------------------------ files


def _writer_of(path):
    """Return the function that writes a data set under this name, or raise ValueError."""
    if path.endswith(".pkl.gz"):
        return _write_pickle
    if path.endswith(".npz"):
        return functools.partial(_write_bytes, writers.write_npz)
    if os.path.splitext(path)[1]:
        raise ValueError(
            f"--save {path}: expected the name of a .pkl.gz or .npz file, or of a folder for IDX "
            f"files, without a dot"
        )
    return functools.partial(_write_bytes, writers.write_idx)


def _write_pickle(path, sets, make, seed):
    """Write the three sets, the first one expanded and shuffled; return (its size, that before)."""
    X, labels = make(sets[0])
    order = np.arange(len(labels))
    random.seed(seed)
    engine.shuffle(order)
    shuffled = X[order], labels[order]
    writers.write_pickle(path, [(_floats(X), labels) for X, labels in (shuffled, *sets[1:])])
    return len(order), len(sets[0][1])


def _floats(X):
    if not isinstance(X, Pixels):
        return X
    values = X.array.astype(np.float32)
    values *= np.float32(X.scale)  # in place: 784 MB for the book's set
    return values


def _write_bytes(write, path, sets, make, seed):
    """Write training and validation images, expanded, as one set, and the test images.

    As in MNIST's own files, whose last sixth load_data takes for validation: it finds the same
    images there, each with its copies. So they are not shuffled. Returns (images of that set, those
    before).
    """
    if not all(isinstance(X, Pixels) for X, _ in sets):
        raise ValueError(
            f"--save {path}: the images are no bytes divided by 256, as IDX and .npz files hold "
            f"them; write a .pkl.gz file"
        )
    arrays = [(X.array, labels) for X, labels in sets]
    joined = [np.concatenate(parts) for parts in zip(*arrays[:2])]
    training = make(tuple(joined))
    write(path, *((_squares(X), labels) for X, labels in (training, arrays[2])))
    return len(training[1]), len(joined[1])


def _squares(X):
    side = math.isqrt(X.shape[1])
    return X.reshape(-1, side, side)


def _draw(path, training, make):
    """Draw some images of each class beside the copies that are made of them."""
    X, labels = training
    classes = np.unique(labels)[:SHEET_CLASSES]
    rows = np.concatenate([np.flatnonzero(labels == k)[:SHEET_ROWS] for k in classes])
    made = [make((X[i : i + 1], labels[i : i + 1]), i)[0] for i in rows.tolist()]
    pixels = [m.array if isinstance(m, Pixels) else np.rint(256 * m).clip(0, 255) for m in made]
    images = _squares(np.concatenate(pixels)).astype(np.uint8)
    contact_sheet.draw(images.reshape(len(rows), -1, *images.shape[1:]), path)


def add_options(parser):
    """Add the options of fastbp expand."""
    add = parser.add_argument
    add_data(add)
    add("--save", metavar="PATH",
        help="a .pkl.gz file as the book's, shuffled; .npz as Keras's; a folder for IDX "
        f"files (default: {NAME}, or nothing with --sheet)")  # fmt: skip
    add("--sheet", metavar="sheet.png", help="draw some images and their copies (extra: report)")
    add("--seed", type=int, default=0, metavar="N",
        help="of the order, as random.seed(N), and of the deformations (default: 0)")  # fmt: skip
    add("--deform", type=int, metavar="N",
        help="N deformed copies of each image, not the four displaced ones")  # fmt: skip
    expand_count.add_options(add)
    add_deform_options(add)
