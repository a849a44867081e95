"""Deformation: how images are deformed at random, a value that makes the deformed images.

Invariant: image i of epoch e depends on the image, its label, the seed, e and i alone.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from fastbp.data import arguments, numeric_arrays
from fastbp.data.messages import describe
from fastbp.data.pixels import Pixels
from fastbp.data.warn import public
from fastbp.training.compute import deform_calls
from fastbp.typing import Inputs, NumericArray

TYPES = np.uint8, np.float32, np.float64
# What each number may be, and its unit. A tangent, or 1 / (1 - scale), must not be too large.
RANGES = {
    "alpha": (0, 1000, ""),
    "sigma": (0.1, 100, " pixels"),
    "rotation": (0, 180, " degrees"),
    "shear": (0, 80, " degrees"),
    "scale": (0, 90, " percent"),
    "shift": (0, 1000, " pixels"),
}


@dataclasses.dataclass(frozen=True)
class Deformation:
    """How images of handwritten characters are deformed at random.

    Each image gets an elastic field and an affine map of its own, in one bilinear resampling;
    outside the image all is 0. Numbers are drawn uniformly up to the limits given here, both ways.

    Parameters
    ----------
    elastic : tuple (alpha, sigma) or None, default (36, 5)
        The displacements along x and along y are noise, smoothed by a Gaussian of width sigma
        pixels, times alpha: normal numbers with the covariance that noise uniform in -1..1 gives,
        0.163 alpha / sigma pixels in standard deviation. alpha 0..1000, sigma 0.1..100. None: no
        elastic field.
    rotation : float, default 15
        Degrees, 0..180, about the centre.
    shear : float, default 15
        Degrees, 0..80, by which vertical lines lean. Where rotation and shear both are given, a
        coin decides for each image which of them it gets, as with Ciresan.
    scale : float, default 15
        Percent, 0..90, for width and height apart.
    shift : float, default 1
        Pixels, 0..1000, along x and along y.
    halved : tuple of int, default (1, 7)
        Labels of classes that rotate and lean half as far: a 1 that leans looks like a 7. ``()``
        where the classes are no digits.

    Raises
    ------
    ValueError, TypeError
        If a number is outside its range, or is no number.

    Notes
    -----
    Sources: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied
    to visual document analysis" (2003), for the elastic fields; Ciresan, Meier, Gambardella and
    Schmidhuber, "Deep, big, simple neural nets for handwritten digit recognition" (2010), for the
    affine maps. The elastic field is drawn as K Z K^T, Z a small matrix of noise: the same
    covariance as a convolution's, within 0.3 percent, in a fraction of its time.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.expand_mnist import Deformation
    >>> images = np.random.default_rng(1).random((5, 28, 28))
    >>> gentle = Deformation(elastic=(20, 5), rotation=10, shear=0, scale=5)
    >>> gentle.apply(images, labels=None, seed=1, epoch=0).shape
    (5, 28, 28)
    """

    elastic: tuple | None = (36.0, 5.0)
    rotation: float = 15.0
    shear: float = 15.0
    scale: float = 15.0
    shift: float = 1.0
    halved: tuple = (1, 7)

    def __post_init__(self):
        checked = {name: _check_number(name, getattr(self, name)) for name in list(RANGES)[2:]}
        checked["elastic"] = _check_elastic(self.elastic)
        checked["halved"] = _check_halved(self.halved)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @public
    def apply(
        self, images: Inputs, labels: ArrayLike | None, seed: int, epoch: int,
        out: NumericArray | None = None, threads: int | None = None,
    ) -> NumericArray | Pixels:  # fmt: skip
        """Return the images of an epoch, deformed.

        Parameters
        ----------
        images : array (n, side * side) or (n, side, side), or fastbp.Pixels
            Square images, of uint8, float32 or float64.
        labels : array_like of int (n,), or None
            Their classes, for `halved`. None: all rotate and lean in full.
        seed : int
            0..2**64 - 1.
        epoch : int
            0..2**32 - 1. Another epoch gives other images.
        out : array like images, optional
            C-contiguous; the deformed images are written here. Default: a new array.
        threads : int, optional
            At most so many threads. The images are the same to the bit for any number.

        Returns
        -------
        array like images, or Pixels
            Image i depends on images[i], labels[i], seed, epoch and i alone. Bytes are rounded.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape or type, or images are not finite.
        """
        return self.apply_from(0, images, labels, seed, epoch, out, threads)

    @public
    def apply_from(
        self, first: int, images: Inputs, labels: ArrayLike | None, seed: int, epoch: int,
        out: NumericArray | None = None, threads: int | None = None,
    ) -> NumericArray | Pixels:  # fmt: skip
        """Return what apply does, where images[0] is image `first` of the epoch.

        So a part of an epoch, or one image, can be made alone.

        Parameters
        ----------
        first : int
            0..2**32 - 1, the number of images[0] in the epoch.
        images, labels, seed, epoch, out, threads
            As for `apply`.

        Returns
        -------
        array like images, or Pixels
        """
        names = ("seed", 64), ("epoch", 32), ("first", 32)
        counter = [_check_word(*name, v) for name, v in zip(names, (seed, epoch, first))]
        threads = None if threads is None else arguments.check_count("threads", threads, 1)
        X, side = check_images(images)
        strengths = self._strengths(labels, len(X))
        out = np.empty_like(X, order="C") if out is None else _check_out(out, X)
        deform_calls.run(out, X, side, strengths, self, counter, threads)
        return Pixels(out, images.scale) if isinstance(images, Pixels) else out

    def _strengths(self, labels, n):
        """Return what multiplies the rotation and shear of each image, (n,) float64."""
        if labels is None:
            return np.ones(n)
        labels = numeric_arrays.as_numeric(labels, "labels")
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            one_hot = "for one-hot rows use np.argmax(labels, axis=1)"
            raise ValueError(
                f"labels have shape {labels.shape} and dtype {labels.dtype}, expected ({n},) "
                f"integers, one for each image; "
                f"{'use labels.astype(int)' if labels.shape == (n,) else one_hot}"
            )
        return np.where(np.isin(labels, self.halved), 0.5, 1.0)


# ------------------------------------------------ checks


Deformation.__module__ = "fastbp.expand_mnist"  # the public import path: a pickle names it


def check_images(images, name="X"):
    """Return (a C-contiguous array of square images, their side), or raise."""
    X = images.array if isinstance(images, Pixels) else numeric_arrays.as_numeric(images, name)
    dtype = X.dtype.newbyteorder("=")
    if dtype not in TYPES:
        raise TypeError(
            f"{name} has dtype {X.dtype}, expected uint8, float32 or float64; use "
            f"{name.split()[-1]}.astype(np.float32)"
        )
    side = math.isqrt(X.shape[1]) if X.ndim > 1 else 0
    square = (side * side,) if X.ndim == 2 else (X.shape[-1],) * 2
    if X.ndim not in (2, 3) or not side or X.shape[1:] != square:
        raise ValueError(
            f"{name} has shape {X.shape}, expected square images, one a row: (n, side * side) or "
            f"(n, side, side)"
        )
    X = np.require(X, dtype, ["C", "A"])
    if X.dtype.kind == "f" and not math.isfinite(np.vdot(X, X)):
        numeric_arrays.check_finite(X, name, "correct it")
    return X, X.shape[1] if X.ndim == 3 else side


def _check_out(out, X):
    """Return out as an array, or raise unless images like X can be written into it."""
    array = out.array if isinstance(out, Pixels) else out
    if not isinstance(array, np.ndarray):
        raise TypeError(f"out is {describe(out)}, expected an array")
    if (array.shape, array.dtype) != (X.shape, X.dtype):
        raise ValueError(
            f"out has shape {array.shape} and dtype {array.dtype}, expected {X.shape} and "
            f"{X.dtype}, as the images; use np.empty_like(X)"
        )
    if not array.flags.carray:
        raise ValueError("out is read-only or not C-contiguous; use np.empty_like(X)")
    if np.may_share_memory(array, X):
        raise ValueError("out shares memory with the images; use np.empty_like(X)")
    return np.asarray(array)


def _check_word(name, bits, value):
    """Return an integer of so many bits, or raise."""
    word = arguments.check_count(name, value, 0)
    if word >> bits:
        raise ValueError(f"{name} is {word}, expected less than 2**{bits}")
    return word


def _check_number(name, value):
    """Return a number within its range as a float, or raise."""
    number = arguments.check_rate(name, value, np.dtype(np.float64))
    low, high, unit = RANGES[name]
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}, expected {low}..{high}{unit}")
    return number


def _check_elastic(elastic):
    """Return (alpha, sigma) as floats, or None, or raise."""
    if elastic is None:
        return None
    try:
        alpha, sigma = elastic
    except (TypeError, ValueError):
        raise TypeError(
            f"elastic is {describe(elastic)}, expected (alpha, sigma), e.g. (36, 5), or None"
        ) from None
    return _check_number("alpha", alpha), _check_number("sigma", sigma)


def _check_halved(halved):
    """Return labels as a tuple of ints, or raise."""
    try:
        labels = tuple(halved)
    except TypeError:
        raise TypeError(f"halved is {describe(halved)}, expected labels, e.g. (1, 7)") from None
    return tuple(arguments.check_count(f"halved[{i}]", k, 0) for i, k in enumerate(labels))
