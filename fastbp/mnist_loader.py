"""The data: MNIST from wherever it can be had, in the book's form, and synthetic digits.

Law: the first place that is named or exists decides; what is wrong there is an error, never a
reason to look elsewhere in silence.
"""

import os

import numpy as np

from fastbp import arrays, digits, download, mnist_files

HOW_TO_GET_IT = (
    "give load_data a folder with the four IDX files or a mnist.pkl.gz or mnist.npz, or set "
    "FASTBP_DATA to it, or use the built-in digits, mnist_loader.synthetic()"
)


class DataNotFoundError(FileNotFoundError):
    """MNIST is in none of the known places and could not be downloaded."""


# ------------------------------------------------ the book's functions


def load_data(path=None):
    """Return (training, validation, test) of MNIST, each a tuple (images, labels).

    images (n, 784) float32, pixel/256; labels (n,) int64; n is 50,000, 10,000 and 10,000: the
    first 50,000 and the last 10,000 of MNIST's training set, and its test set. Of a training set
    of another size, the last sixth is for validation.

    path: a folder with the four IDX files (.gz or not), a mnist.pkl.gz or a mnist.npz, or such a
    file. Without it, in this order: the path in the environment variable FASTBP_DATA; the book's
    own places, mnist.pkl.gz and ../data/mnist.pkl.gz; the user's cache; a download into that
    cache (base address: the environment variable FASTBP_MNIST_URL, if set).

    Raises ValueError or OSError for a file that is not what it should be, DataNotFoundError (an
    OSError) if there is no data anywhere; both say what to do. Source: book, chapter 1.
    """
    if path is not None:
        return mnist_files.load(path)
    if os.environ.get("FASTBP_DATA"):
        try:
            return mnist_files.load(os.environ["FASTBP_DATA"])
        except (OSError, ValueError) as error:
            raise type(error)(f"FASTBP_DATA: {error}") from None
    for place in ("mnist.pkl.gz", "../data/mnist.pkl.gz"):
        if os.path.isfile(place):
            return mnist_files.load(place)
    try:
        folder = download.cached_or_fetched(mnist_files.is_whole)
    except download.DownloadError as error:
        raise DataNotFoundError(f"MNIST is not to be had: {error}; {HOW_TO_GET_IT}") from None
    return mnist_files.load(folder)


def load_data_wrapper(path=None):
    """Return load_data's three sets as the book's lists of pairs.

    Training pairs are (x (784, 1), y (10, 1)), validation and test pairs (x (784, 1), label).
    Real lists: they can be used any number of times. Raises as load_data does.
    """
    return wrap(load_data(path))


def wrap(data):
    """Return (training, validation, test) in load_data's form as the book's lists of pairs."""
    training, validation, test = data
    units = [vectorized_result(j) for j in range(10)]
    pairs = [(x, units[label].copy()) for x, label in _columns(training)]
    return pairs, list(_columns(validation)), list(_columns(test))


def vectorized_result(j, n=10):
    """Return the unit column (n, 1), float64, with 1.0 in row j: the wanted output for label j.

    Raises ValueError for j outside 0..n-1, TypeError for a j that is not an integer.
    """
    j = arrays.check_count("j", j, 0)
    if not 0 <= j < n:
        raise ValueError(f"label {j} is outside 0..{n - 1}; pass n, the number of classes")
    e = np.zeros((n, 1))
    e[j] = 1.0
    return e


def synthetic(n_train=50_000, n_validation=10_000, n_test=10_000, seed=0):
    """Return drawn digits in load_data's form: 28 x 28 grey images, deterministic for a seed.

    Our own stroke shapes with random variant, slant, rotation, scale, shift, thickness and ink.
    About as hard as MNIST for the book's networks; 70,000 take a few seconds. The global random
    generators are not touched. Raises ValueError or TypeError for counts that make no sense.
    """
    counts = (n_train, n_validation, n_test)
    for name, n in zip(("n_train", "n_validation", "n_test"), counts):
        arrays.check_count(name, n, 0)
    labels = np.random.default_rng(seed).integers(0, 10, sum(counts))
    images = digits.draw(labels, seed)
    ends = np.cumsum(counts)
    return tuple(
        mnist_files.as_set(images[end - n : end], labels[end - n : end])
        for n, end in zip(counts, ends)
    )


def _columns(data):
    images, labels = data
    return zip(images[:, :, None], labels.tolist())
