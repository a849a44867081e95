"""The data: MNIST and its relatives from files, in the book's form, and synthetic digits.

Invariant: the first place that is named or exists decides; what is wrong there is an error, never
a reason to look elsewhere in silence.
"""

import os

import numpy as np

from fastbp.data import arguments, digits, download
from fastbp.data.pixels import Pixels
from fastbp.data.readers import find, image_sets

HOW_TO_GET_IT = (
    "give load_data a folder with the four IDX files, a mnist.pkl.gz, mnist.npz or csv, or set "
    "FASTBP_DATA to it, or use the built-in digits, mnist_loader.synthetic()"
)


class DataNotFoundError(FileNotFoundError):
    """MNIST is in none of the known places and could not be downloaded."""


# ------------------------------------------------ the book's functions


def load_data(path=None, *, pixels=False, transpose=False):
    """Return (training, validation, test) of MNIST, or of a data set in one of its formats.

    Parameters
    ----------
    path : str or path, optional
        A folder with the files of one data set, or one of its files:

        - the four IDX files of MNIST, Fashion-MNIST, KMNIST, QMNIST (labels as idx2-int) or EMNIST
          (e.g. emnist-letters-train-images-idx3-ubyte.gz), .gz or not. Where a folder holds
          several data sets, the path of one file selects the one that it belongs to;
        - the book's mnist.pkl.gz, or the mnist_expanded.pkl.gz of its expand_mnist.py;
        - Keras's mnist.npz, or the four .npz files of KMNIST or Kuzushiji-49
          (kmnist-train-imgs.npz and so on);
        - csv files (.csv or .csv.gz) of lines ``label,pixel,pixel,...``, with or without a header
          line: a folder with one file for training and one for testing (mnist_train.csv and
          mnist_test.csv); or the path of one file (Kaggle's train.csv), which is used alone: its
          last sixth is the test set. A header must name the label (label, class, y, target, digit,
          category, character, letter) in the first column and nowhere else.

        Without it, in this order: the path in the environment variable FASTBP_DATA; the book's own
        places, mnist.pkl.gz and ../data/mnist.pkl.gz; the user's cache; a download into that cache
        (base address: the environment variable FASTBP_MNIST_URL, if set).
    pixels : bool
        Return the images as `fastbp.Pixels`, one byte for each pixel, instead of float32.
    transpose : bool
        Exchange the rows and columns of each image. EMNIST's images are stored transposed: with
        True they are upright, as MNIST's are.

    Returns
    -------
    training, validation, test : tuples (images, labels)
        images (n, 784) float32, pixel/256, so 0..0.99609375, or Pixels; labels (n,) int64, as they
        are in the files (EMNIST's letters are 1..26). For MNIST n is 50,000, 10,000 and 10,000:
        the first 50,000 and the last 10,000 of its training set, and its test set. Of any training
        set the last sixth is for validation, unless the file has a validation set of its own.

    Raises
    ------
    ValueError
        A file is not what it should be, or a folder holds several data sets; the message says
        what to do. With pixels=True, also where floats in a file are not whole pixels / 256.
    DataNotFoundError
        An OSError: there is no data anywhere.
    OSError
        A file is missing or can't be read.

    Warns
    -----
    RuntimeWarning
        The largest byte of the training images is 1: black-and-white pixels stored as 0 and 1 are
        read as 0 and 1/256.

    Notes
    -----
    Source: book, chapter 1. No file is unpickled by Python: pickles are read by a reader of arrays
    that runs nothing.
    """
    options = dict(pixels=_flag("pixels", pixels), transpose=_flag("transpose", transpose))
    if path is not None:
        return find.load(path, **options)
    if os.environ.get("FASTBP_DATA"):
        try:
            return find.load(os.environ["FASTBP_DATA"], **options)
        except (OSError, ValueError) as error:
            raise type(error)(f"FASTBP_DATA: {error}") from None
    for place in ("mnist.pkl.gz", "../data/mnist.pkl.gz"):
        if os.path.isfile(place):
            return find.load(place, **options)
    try:
        folder = download.cached_or_fetched(find.is_whole)
    except download.DownloadError as error:
        raise DataNotFoundError(f"MNIST is not to be had: {error}; {HOW_TO_GET_IT}") from None
    return find.load(folder, **options)


def load_data_wrapper(path=None, *, transpose=False):
    """Return load_data's three sets as the book's lists of pairs.

    Parameters
    ----------
    path, transpose
        As in `load_data`.

    Returns
    -------
    training, validation, test : lists
        Training pairs are (x (784, 1), y (k, 1)), validation and test pairs (x (784, 1), label);
        k is `count_outputs` of the data, 10 for MNIST. Real lists: they can be used any number of
        times.

    Raises
    ------
    ValueError, OSError
        As `load_data` does.
    """
    return wrap(load_data(path, transpose=transpose))


def wrap(data):
    """Return (training, validation, test) in load_data's form as the book's lists of pairs.

    Parameters
    ----------
    data : tuple of three tuples (images, labels)
        images (n, n_in) floats or Pixels; labels (n,) integers of at least 0.

    Returns
    -------
    training, validation, test : lists
        As `load_data_wrapper` returns them.

    Raises
    ------
    ValueError, TypeError
        A label is not an integer 0..999.
    """
    n_out = count_outputs(data)
    training, validation, test = data
    pairs = [(x, vectorized_result(label, n_out)) for x, label in _columns(training)]
    return pairs, list(_columns(validation)), list(_columns(test))


def count_outputs(data):
    """Return how many output neurons a network for this data needs.

    Parameters
    ----------
    data : tuple of tuples (images, labels)
        In load_data's form; labels (n,) integers of at least 0.

    Returns
    -------
    int
        The largest label of all sets plus 1, and at least 10: for 26 classes that are labelled
        1..26 it is 27, and output 0 is never the right one.

    Raises
    ------
    ValueError, TypeError
        A label is not an integer 0..999.
    """
    most = image_sets.LEAST_CLASSES
    for name, (_, labels) in zip(("training", "validation", "test"), data):
        labels = np.asarray(labels)
        if labels.size and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
            raise TypeError(
                f"the {name} labels have shape {labels.shape} and dtype {labels.dtype}, expected "
                f"(n,) integers; use numpy.ravel(labels).astype(int)"
            )
        image_sets.check_labels(labels, f"the {name} set")
        most = max(most, 1 + int(labels.max(initial=0)))
    return most


def vectorized_result(j, n=10):
    """Return the unit column (n, 1), float64, with 1.0 in row j: the wanted output for label j.

    Raises ValueError for j outside 0..n-1, TypeError for a j that is not an integer.
    """
    j = arguments.check_count("j", j, 0)
    if not 0 <= j < n:
        raise ValueError(f"label {j} is outside 0..{n - 1}; pass n, the number of classes")
    e = np.zeros((n, 1))
    e[j] = 1.0
    return e


def synthetic(n_train=50_000, n_validation=10_000, n_test=10_000, seed=0, pixels=False):
    """Return drawn digits in load_data's form: 28 x 28 grey images, deterministic for a seed.

    Parameters
    ----------
    n_train, n_validation, n_test : int
        How many images each set has.
    seed : int
        The same seed gives the same images; the global random generators are not touched.
    pixels : bool
        As in `load_data`.

    Returns
    -------
    training, validation, test : tuples (images, labels)
        As `load_data` returns them.

    Raises
    ------
    ValueError, TypeError
        A count is negative or not an integer.

    Notes
    -----
    Our own stroke shapes with random variant, slant, rotation, scale, shift, thickness and ink.
    About as hard as MNIST for the book's networks; 70,000 take a few seconds.
    """
    _flag("pixels", pixels)
    counts = (n_train, n_validation, n_test)
    for name, n in zip(("n_train", "n_validation", "n_test"), counts):
        arguments.check_count(name, n, 0)
    labels = np.random.default_rng(seed).integers(0, 10, sum(counts))
    images = digits.draw(labels, seed)
    ends = np.cumsum(counts)
    return tuple(
        image_sets.as_set(images[end - n : end], labels[end - n : end], pixels)
        for n, end in zip(counts, ends)
    )


def _columns(data):
    images, labels = data
    if isinstance(images, Pixels):
        images = images.values(np.float32)
    return zip(images[:, :, None], np.asarray(labels).tolist())


def _flag(name, value):
    """Return an argument that is True or False, or raise TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {arguments.brief(value)}, expected True or False")
    return bool(value)
