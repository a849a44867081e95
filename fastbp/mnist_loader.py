"""The book's mnist_loader: MNIST and data sets in its formats from files, and synthetic digits.

Invariant: the first location that is given or exists is used; an error there is raised, and no
other location is tried instead.
"""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.data import arguments, digits, download, idx_writer, locations, messages
from fastbp.data.pixels import Pixels
from fastbp.data.readers import find, image_sets
from fastbp.typing import AnySets, DataSets, Inputs, PairLists, Path, PixelSets

__all__ = [
    "HOW_TO_GET_IT", "DataNotFoundError", "count_outputs", "load_data", "load_data_wrapper",
    "synthetic", "vectorized_result", "wrap", "write",
]  # fmt: skip
HOW_TO_GET_IT = (
    "give load_data a folder with the four IDX files, a mnist.pkl.gz, mnist.npz or csv, or set "
    "FASTBP_DATA to it, or use the built-in digits, mnist_loader.synthetic()"
)


class DataNotFoundError(FileNotFoundError):
    """MNIST is in none of the default locations and could not be downloaded."""


@overload
def load_data(
    path: Path | None = None, *, pixels: Literal[False] = False, transpose: bool = False
) -> DataSets: ...
@overload
def load_data(
    path: Path | None = None, *, pixels: Literal[True], transpose: bool = False
) -> PixelSets: ...
def load_data(
    path: Path | None = None, *, pixels: bool = False, transpose: bool = False
) -> DataSets | PixelSets:
    """Return the training, validation and test set of MNIST, or of another data set in a file.

    Parameters
    ----------
    path : str or path, optional
        A folder with the files of one data set, or one of its files:

        - the four IDX files of MNIST, Fashion-MNIST, KMNIST, QMNIST (labels as idx2-int) or EMNIST
          (e.g. emnist-letters-train-images-idx3-ubyte.gz), .gz or not. Where a folder holds
          several data sets, the path of one file selects the one that it belongs to;
        - the book's mnist.pkl.gz, or the mnist_expanded.pkl.gz of its expand_mnist.py;
        - train-images.npy, train-labels.npy, test-images.npy and test-labels.npy, images of uint8;
          or the same names with .raw, for files of nothing but the bytes, 784 an image;
        - Keras's mnist.npz, or the four .npz files of KMNIST or Kuzushiji-49
          (kmnist-train-imgs.npz and so on);
        - csv files (.csv or .csv.gz) of lines ``label,pixel,pixel,...``, with or without a header
          line: a folder with one file for training and one for testing (mnist_train.csv and
          mnist_test.csv); or the path of one file (Kaggle's train.csv), which is used alone: its
          last sixth is the test set. A header must name the label (label, class, y, target, digit,
          category, character, letter) in the first column and nowhere else.

        Without it, the first of these locations: the path in the environment variable FASTBP_DATA;
        those of the book, mnist.pkl.gz and ../data/mnist.pkl.gz; the user's cache; a download into
        that cache (base address: the environment variable FASTBP_MNIST_URL, if set).
    pixels : bool, default False
        Return the images as `fastbp.Pixels`, one byte for each pixel, instead of float32. Those of
        an IDX, .npy or .raw file of more than 1 GB are then a memory map of it, not in memory.
    transpose : bool, default False
        Exchange the rows and columns of each image. EMNIST's images are stored transposed: with
        True they are upright, as MNIST's are.

    Returns
    -------
    training, validation, test : tuples (images, labels)
        images (n, n_in) float32, pixel/256, so 0..0.99609375, or Pixels; n_in is 784 except in csv
        files. labels (n,) int64, as they are in the files (EMNIST's letters are 1..26). For MNIST n
        is 50,000, 10,000 and 10,000: the first 50,000 and the last 10,000 of its training set, and
        its test set. Of any training set the last sixth is for validation, unless the file has a
        validation set.

    Raises
    ------
    ValueError
        A file has wrong content, or a folder holds several data sets; the message says what to do.
        With pixels=True, also where floats in a file are not integers / 256.
    TypeError
        pixels or transpose is neither True nor False.
    DataNotFoundError
        An OSError: no path is given, and the data are in none of the default locations.
    OSError
        A file is missing or cannot be read.

    Warns
    -----
    RuntimeWarning
        The largest byte of the training images is 1: black-and-white pixels stored as 0 and 1 are
        read as 0 and 1/256.

    Notes
    -----
    Source: book, chapter 1, mnist_loader.py. Pickles are read by a reader of arrays, which
    executes nothing in them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import mnist_loader
    >>> (X, y), _, (X_test, y_test) = mnist_loader.synthetic(50, 0, 20, pixels=True)
    >>> np.savez("mnist.npz", x_train=X.array.reshape(50, 28, 28), y_train=y,
    ...          x_test=X_test.array.reshape(20, 28, 28), y_test=y_test)
    >>> training, validation, test = mnist_loader.load_data("mnist.npz")
    >>> training[0].shape, validation[0].shape, test[1].shape
    ((42, 784), (8, 784), (20,))
    """
    options = dict(
        pixels=arguments.check_flag("pixels", pixels),
        transpose=arguments.check_flag("transpose", transpose),
    )
    if path is not None:
        return find.load(arguments.check_path("path", path), **options)
    for place in locations.look():
        if place.is_used:
            try:
                return find.load(place.path, **options)
            except (OSError, ValueError) as error:
                if "FASTBP_DATA" not in place.name:
                    raise
                raise type(error)(f"FASTBP_DATA: {error}") from None
    try:
        folder = download.cached_or_downloaded(find.is_complete)
    except download.DownloadError as error:
        raise DataNotFoundError(f"MNIST cannot be downloaded: {error}; {HOW_TO_GET_IT}") from None
    return find.load(folder, **options)


def write(path: Path, images: Inputs, labels: ArrayLike) -> None:
    """Write images and labels to two IDX files, in MNIST's format.

    Parameters
    ----------
    path : str or path
        The file of the images, by a name that `load_data` knows: train-images-idx3-ubyte,
        t10k-images-idx3-ubyte, with a prefix or not, compressed if it ends in .gz. That of the
        labels stands beside it: train-labels-idx1-ubyte. Files of these names are replaced.
    images : ndarray (n, 784) or (n, 28, 28), or Pixels
        uint8; or floats, pixel/256, as `load_data` returns them. A memory map is written block by
        block.
    labels : ndarray (n,) of int
        0..255.

    Raises
    ------
    ValueError, TypeError
        For another kind of name, and for images and labels that IDX files cannot hold.
    OSError
        If a file cannot be written. Each file appears whole or not at all.
    """
    idx_writer.write_pair(path, images, labels)


def load_data_wrapper(path: Path | None = None, *, transpose: bool = False) -> PairLists:
    """Return load_data's three sets as the book's lists of pairs.

    Parameters
    ----------
    path : str or path, optional
        As in `load_data`.
    transpose : bool, default False
        As in `load_data`.

    Returns
    -------
    training : list of tuples (x, y)
        x (784, 1) float32, pixel/256; y (k, 1) float64, 1.0 in the row of the label; k is
        `count_outputs` of the data, 10 for MNIST.
    validation, test : lists of tuples (x, label)
        x as above; label int.

    Raises
    ------
    ValueError, TypeError, OSError
        As in `load_data`.

    Notes
    -----
    Source: book, chapter 1, mnist_loader.py. As in Python 2, where the book's code calls zip, these
    are lists and not iterators, so that they can be read several times.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import mnist_loader
    >>> (X, labels), _, _ = mnist_loader.synthetic(60, 0, 0)
    >>> np.savetxt("digits.csv", np.c_[labels, X * 256], fmt="%d", delimiter=",")
    >>> training, validation, test = mnist_loader.load_data_wrapper("digits.csv")
    >>> x, y = training[0]
    >>> len(training), x.shape, y.shape
    (42, (784, 1), (10, 1))
    """
    return wrap(load_data(path, transpose=transpose))


def wrap(data: AnySets) -> PairLists:
    """Return the three sets of load_data as the book's lists of pairs.

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
        A label is not an integer 0..999, or a set has not as many labels as images.

    Examples
    --------
    >>> from fastbp import mnist_loader
    >>> training, _, test = mnist_loader.wrap(mnist_loader.synthetic(50, 10, 20))
    >>> len(training), len(test), test[0][0].shape
    (50, 20, (784, 1))
    """
    n_out = count_outputs(data)
    training, validation, test = data
    pairs = [(x, vectorized_result(label, n_out)) for x, label in _columns(training)]
    return pairs, list(_columns(validation)), list(_columns(test))


def count_outputs(data: AnySets) -> int:
    """Return how many output neurons a network for these data needs.

    Parameters
    ----------
    data : tuple of three tuples (images, labels)
        As `load_data` returns it; labels (n,) integers of at least 0.

    Returns
    -------
    int
        The largest label of all sets plus 1, and at least 10: for 26 classes with the labels 1..26
        it is 27, and no label is 0.

    Raises
    ------
    ValueError, TypeError
        A label is not an integer 0..999.

    Examples
    --------
    >>> from fastbp import mnist_loader
    >>> mnist_loader.count_outputs(mnist_loader.synthetic(50, 10, 20))
    10
    """
    if not isinstance(data, (list, tuple)) or len(data) != 3:
        raise TypeError(
            f"data is {messages.describe(data)}, expected three sets (images, labels), as "
            f"load_data returns them"
        )
    n_out = image_sets.MIN_OUTPUTS
    for name, (_, labels) in zip(("training", "validation", "test"), data):
        labels = np.asarray(labels)
        if labels.size and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
            raise TypeError(
                f"the {name} labels have shape {labels.shape} and dtype {labels.dtype}, expected "
                f"(n,) integers; use numpy.ravel(labels).astype(int)"
            )
        image_sets.check_labels(labels, f"the {name} set")
        n_out = max(n_out, 1 + int(labels.max(initial=0)))
    return n_out


def vectorized_result(j: int, n: int = 10) -> NDArray[np.float64]:
    """Return the target of a label as a one-hot column.

    Parameters
    ----------
    j : int
        The label, 0..n-1.
    n : int, default 10
        The number of classes.

    Returns
    -------
    ndarray (n, 1) of float64
        1.0 in row j, 0.0 in the others.

    Raises
    ------
    ValueError
        j is outside 0..n-1.
    TypeError
        j is not an integer.

    Notes
    -----
    Source: book, chapter 1, mnist_loader.py.

    Examples
    --------
    >>> from fastbp import mnist_loader
    >>> mnist_loader.vectorized_result(1, 3)
    array([[0.],
           [1.],
           [0.]])
    """
    j, n = arguments.check_count("j", j, 0), arguments.check_count("n", n, 1)
    if not 0 <= j < n:
        raise ValueError(f"label {j} is outside 0..{n - 1}; pass n, the number of classes")
    e = np.zeros((n, 1))
    e[j] = 1.0
    return e


@overload
def synthetic(
    n_train: int = 50_000, n_validation: int = 10_000, n_test: int = 10_000, seed: int = 0,
    pixels: Literal[False] = False,
) -> DataSets: ...  # fmt: skip
@overload
def synthetic(
    n_train: int = 50_000, n_validation: int = 10_000, n_test: int = 10_000, seed: int = 0, *,
    pixels: Literal[True],
) -> PixelSets: ...  # fmt: skip
def synthetic(
    n_train: int = 50_000, n_validation: int = 10_000, n_test: int = 10_000, seed: int = 0,
    pixels: bool = False,
) -> DataSets | PixelSets:  # fmt: skip
    """Return three sets of synthetic images of handwritten digits.

    Parameters
    ----------
    n_train, n_validation, n_test : int, default 50,000, 10,000, 10,000
        The number of images in each set.
    seed : int, default 0
        The same seed gives the same images; the global random generators are neither read nor
        changed.
    pixels : bool, default False
        As in `load_data`.

    Returns
    -------
    training, validation, test : tuples (images, labels)
        As `load_data` returns them: images (n, 784), 28 x 28 grey pixels; labels (n,) 0..9.

    Raises
    ------
    ValueError
        A count is negative.
    TypeError
        A count is not an integer, or pixels is neither True nor False.

    Notes
    -----
    Stroke shapes of this package with random variant, slant, rotation, scale, shift, thickness and
    ink. For the book's networks they are about as hard as MNIST; 70,000 take a few seconds.

    Examples
    --------
    >>> from fastbp import mnist_loader
    >>> (X, labels), _, _ = mnist_loader.synthetic(100, 0, 0, seed=1)
    >>> X.shape, X.dtype, labels.shape
    ((100, 784), dtype('float32'), (100,))
    """
    arguments.check_flag("pixels", pixels)
    counts = (n_train, n_validation, n_test)
    for name, n in zip(("n_train", "n_validation", "n_test"), counts):
        arguments.check_count(name, n, 0)
    arguments.check_count("seed", seed, 0)
    labels = np.random.default_rng(seed).integers(0, 10, sum(counts))
    images = digits.draw(labels, seed)
    ends = np.cumsum(counts)
    return tuple(
        image_sets.as_set(images[end - n : end], labels[end - n : end], pixels)
        for n, end in zip(counts, ends)
    )


def _columns(data):
    """Return an iterator of pairs (x (n_in, 1), label) of one set."""
    images, labels = data
    if len(images) != len(labels):
        raise ValueError(f"there are {len(images)} images and {len(labels)} labels in a set")
    if isinstance(images, Pixels):
        images = images.values(np.float32)
    return zip(images[:, :, None], np.asarray(labels).tolist())
