"""Calls of the kernels that deform images, of some 50 ms each, on one thread or on all.

Invariant: the images do not depend on how they are divided into calls or among threads.
"""

import functools
import math
import time

import numpy as np

from fastbp.kernels import deform, jit, layout
from fastbp.training import signals
from fastbp.training.compute import threads
from fastbp.training.compute.samples import read_only

PIXELS = 1 << 24  # in a call: 50 to 100 ms on one thread
FEW_PIXELS = 1 << 20  # so few are deformed before a second thread has begun
LOST = 1e-3  # the part of the variance that may be left out along x, and along y


def run(out, images, side, strengths, deformation, counter, n_threads):
    """Write the deformed images into out.

    out, images (n, ...) of side * side pixels each, contiguous, of one type; strengths (n,) float64
    multiply rotation and shear; deformation: a Deformation; counter: (seed, epoch, number of the
    first image).
    """
    settings = _settings(deformation, side, images.dtype, *counter)
    n_threads = threads.usable(n_threads) if images.size >= FEW_PIXELS else 1
    values = np.float64 if images.dtype == np.float64 else np.float32
    work = deform.workspace(n_threads, side, settings.rank, values)
    flat_out, flat, size = out.reshape(-1), read_only(images), side * side
    count = max(1, PIXELS // size)
    for start in range(0, len(images), count):
        end = min(start + count, len(images))
        part = settings._replace(first=settings.first + start)
        pixels = slice(start * size, end * size)
        _call((flat_out[pixels], flat[pixels], strengths[start:end], part, work), n_threads)


def warm_up(deformation):
    """Compile, or load from the cache, what `run` calls, for all types of images."""
    for dtype in (np.uint8, np.float32, np.float64):
        image = np.zeros(1, dtype)
        settings = _settings(deformation, 1, image.dtype, 0, 0, 0)
        work = deform.workspace(1, 1, settings.rank, type(settings.rounding))
        arguments = image, read_only(image), np.ones(1), settings, work
        jit.prepare(deform.deform_images, *arguments)
        jit.prepare(deform.deform_images_parallel, *arguments, 1)


def _call(arguments, n_threads):
    """Call the serial driver or the parallel one, whichever has been faster so far."""
    out, strengths = arguments[0], arguments[2]
    tuner = threads.tuner("deform", out.size // len(strengths), out.dtype, n_threads)
    parallel = n_threads > 1 and tuner.parallel and not threads.is_forked()
    with signals.allow_signals():  # compiling may take a second
        if parallel:
            jit.prepare(deform.deform_images_parallel, *arguments, n_threads)
        else:
            jit.prepare(deform.deform_images, *arguments)
    began = time.perf_counter()
    with threads.launching(n_threads if parallel else 1) as parallel:
        if parallel:
            deform.deform_images_parallel(*arguments, n_threads)
        else:
            deform.deform_images(*arguments)
    if n_threads > 1:
        tuner.note(parallel, time.perf_counter() - began, len(strengths))


def _settings(deformation, side, dtype, seed, epoch, first):
    """Return the kernels' Settings of a call."""
    rank, basis = 0, layout.zeros(1, np.float32)
    if deformation.elastic is not None and deformation.elastic[0] > 0:
        rank, basis = packed_basis(*deformation.elastic, side)
    values = np.float64 if dtype == np.float64 else np.float32
    return deform.Settings(
        basis, rank, side, seed % 2**32, seed >> 32, epoch, first,
        math.radians(deformation.rotation), math.radians(deformation.shear),
        deformation.scale / 100, deformation.shift, values(0.5 if dtype == np.uint8 else 0),
    )  # fmt: skip


# ------------------------------------------------ elastic fields


@functools.lru_cache(maxsize=8)
def packed_basis(alpha, sigma, side):
    """Return (rank, K and K^T as the kernels read them) for fields of alpha and sigma, in pixels.

    Simard's noise is uniform, -1 to 1, of standard deviation 1/sqrt(3); the kernels' that of
    deform.BYTES_STD. Either one, smoothed, is as good as normal.
    """
    K = noise_basis(sigma, side) * math.sqrt(alpha / math.sqrt(3) / deform.BYTES_STD)
    rank, width = K.shape[1], deform.width_of(side)
    basis = layout.zeros(side * rank + rank * width, np.float32)
    panels = basis[side * rank :].reshape(-1, rank, deform.LANES)
    basis[: side * rank] = K.ravel()
    for panel, x in zip(panels, range(0, side, deform.LANES)):
        panel[:, : side - x] = K[x : x + deform.LANES].T
    return rank, basis


def noise_basis(sigma, side):
    """Return K (side, rank) such that K Z K^T is smoothed noise, for Z (rank, rank) of white noise.

    K K^T is the covariance of white noise of variance 1, on a line, after a Gaussian filter of
    width sigma (as in scipy.ndimage.gaussian_filter1d). The noise goes on outside the image, so
    that a field is as strong at its edges. There are `side` eigenvectors; those that carry the
    last LOST of the variance are left out: at sigma 5, 6 of 28 remain.
    """
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    lags = np.correlate(weights, weights, "full")[2 * radius :]
    lags = np.pad(lags, (0, max(0, side - lags.size)))
    distances = np.abs(np.subtract.outer(np.arange(side), np.arange(side)))
    variances, vectors = np.linalg.eigh(lags[distances])
    variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1]
    rank = 1 + int(np.sum(np.cumsum(variances) < (1 - LOST) * variances.sum()))
    return vectors[:, :rank] * np.sqrt(variances[:rank])
