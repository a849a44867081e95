"""Deformed images: an elastic field and an affine map for each image, in one bilinear resampling.

    image     (side, side); pixel (x, y) is at y * side + x; outside it all is 0
    map       (xx, xy, x0, yx, yy, y0): pixel (x, y) of the deformed image shows the point
              (xx x + xy y + x0, yx x + yy y + y0) of the image, moved by the elastic field there
    field     two displacements of each pixel, along x and along y: K Z K^T, where Z (rank, rank)
              is white noise and K K^T the covariance of smoothed white noise

The random numbers of an image are a function of seed, epoch and the number of the image alone.
"""

import math
from collections import namedtuple

import numpy as np
from numba import prange

from fastbp.kernels import layout
from fastbp.kernels.jit import driver, kernel, parallel_driver, parallel_kernel
from fastbp.kernels.layers import multiply
from fastbp.kernels.layout import Matrix, Strided
from fastbp.kernels.philox import philox_words
from fastbp.kernels.ranges import divide
from fastbp.kernels.simd import VECTOR, at, span

# Random words of an image: a coin, an angle, two scales, two shifts, two of no use, and the noise.
COIN, ANGLE, SCALE, SHIFT, NOISE = 0, 1, 2, 4, 8
# Four bytes of a word add up to a number whose distribution is nearly normal.
BYTES_MEAN, BYTES_STD = 4 * 127.5, math.sqrt(4 * (256**2 - 1) / 12)

LANES = VECTOR // 4  # numbers of a vector of float32

# What the images of a call have in common. basis: K (side, rank), then K^T in panels of LANES
# columns; low_key, high_key: the seed's words; first: the number of the first image; the largest
# rotation and shear in radians, scale as a fraction, shift in pixels; rounding: 0.5 for bytes,
# else 0.
Settings = namedtuple(
    "Settings", "basis rank side low_key high_key epoch first rotation shear scale shift rounding"
)
# The memory of a thread. words: random bits; noise: Z; product: a panel of Z K^T; field: rows of
# whole vectors; corners, fractions: of all pixels; values: the image, with a margin of zeros.
Work = namedtuple("Work", "words noise product field corners fractions values")


def workspace(n_threads, side, rank, dtype):
    """Return the Work of so many threads, one after the other in each of its arrays."""
    width = width_of(side)
    counts = (
        (NOISE + 2 * rank * rank + 3) // 4 * 4, 2 * rank * rank, rank * LANES,
        2 * side * width, side * side, 2 * side * side, (side + 3) ** 2,
    )  # fmt: skip
    kinds = np.uint32, np.float32, np.float32, np.float32, np.int32, np.float32, dtype
    return Work(*(layout.zeros(n_threads * n, kind) for n, kind in zip(counts, kinds)))


def width_of(side):
    """Return how many numbers a row of the field takes: whole vectors."""
    return (side + LANES - 1) // LANES * LANES


row_width = kernel(width_of)  # in kernels


@kernel
def work_of(work, thread_id, n_threads):
    """Return one thread's Work, as places."""
    return Work(
        part(work.words, thread_id, n_threads), part(work.noise, thread_id, n_threads),
        part(work.product, thread_id, n_threads), part(work.field, thread_id, n_threads),
        part(work.corners, thread_id, n_threads), part(work.fractions, thread_id, n_threads),
        part(work.values, thread_id, n_threads),
    )  # fmt: skip


@kernel
def part(array, thread_id, n_threads):
    """Return the place of one thread's part of an array."""
    count = array.size // n_threads
    return span(array, thread_id * count, count)


# ------------------------------------------------ random maps and fields


@kernel
def uniform(words, t):
    """Return a number of -1 to 1, for a random word."""
    return np.float64(words[t]) / 2147483648.0 - 1.0


@kernel
def affine_map(side, turn, slant, zoom, move):
    """Return the map of an image that is turned or slanted, zoomed about its centre, and moved.

    turn: radians, counter-clockwise; slant: radians by which it leans to the right; zoom, move:
    factors and pixels along x and y.
    """
    a, b = math.cos(turn) / zoom[0], (math.tan(slant) - math.sin(turn)) / zoom[1]
    c, d = math.sin(turn) / zoom[0], math.cos(turn) / zoom[1]
    centre = 0.5 * (side - 1)
    x, y = centre + move[0], centre + move[1]
    return a, b, centre - (a * x + b * y), c, d, centre - (c * x + d * y)


@kernel
def draw_map(words, settings, strength):
    """Return the affine map of an image. strength: what multiplies its rotation and shear."""
    turns = settings.shear == 0 or (settings.rotation != 0 and words[COIN] % 2 == 0)
    angle = strength * uniform(words, ANGLE)
    turn = angle * settings.rotation if turns else 0.0
    slant = 0.0 if turns else angle * settings.shear
    zoom = (
        1.0 + settings.scale * uniform(words, SCALE),
        1.0 + settings.scale * uniform(words, SCALE + 1),
    )
    move = settings.shift * uniform(words, SHIFT), settings.shift * uniform(words, SHIFT + 1)
    return affine_map(settings.side, turn, slant, zoom, move)


@kernel
def draw_noise(noise, words, count):
    """Write `count` numbers of nearly normal distribution, mean 0, standard deviation BYTES_STD."""
    for t in range(count):
        w = words[NOISE + t]
        pairs = (w & np.uint32(0x00FF00FF)) + ((w >> np.uint32(8)) & np.uint32(0x00FF00FF))
        total = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
        noise[t] = np.float32(total) - np.float32(BYTES_MEAN)


@kernel
def smooth_field(field, product, noise, settings):
    """Write K Z K^T into a field (side, row_width). noise: Z (rank, rank)."""
    side, rank, width, v = settings.side, settings.rank, row_width(settings.side), LANES
    panels, z = at(settings.basis, side * rank), Strided(noise, rank, 1)
    for p in range(width // v):
        half = 2 * (side - p * v) <= v
        panel = span(panels, p * rank * v, rank * v)
        multiply(Matrix(product, rank, v), z, panel, rank, half, False)
        k = Strided(at(settings.basis, 0), rank, 1)
        multiply(Matrix(at(field, p * v), side, width), k, product, rank, half, False)


# ------------------------------------------------ resampling


@kernel
def copy_inside(values, image, side):
    """Write an image (side, side) into values (side + 3, side + 3).

    One column and row of zeros are before it, two behind.
    """
    for y in range(side):
        for x in range(side):
            values[(y + 1) * (side + 3) + x + 1] = image[y * side + x]


@kernel
def find_points(corners, fractions, field, mapping, y, side):
    """Write where the pixels of row y come from: indices of upper left corners, and fractions.

    corners (side, side): into values (side + 3, side + 3), also of points outside the image;
    fractions (2, side, side): the distances from there along x and y; field (2, side, row_width).
    """
    xx, xy, x0, yx, yy, y0 = mapping
    dx, left = np.float32(xx), np.float32(xy * y + x0)
    dy, top = np.float32(yx), np.float32(yy * y + y0)
    first, last, width = np.float32(0), np.float32(side + 1), row_width(side)
    for x in range(side):
        t = y * side + x
        u = field[y * width + x] + (np.float32(x) * dx + left) + np.float32(1)
        v = field[(side + y) * width + x] + (np.float32(x) * dy + top) + np.float32(1)
        u, v = min(max(u, first), last), min(max(v, first), last)
        column, line = np.int32(u), np.int32(v)
        corners[t] = line * np.int32(side + 3) + column
        fractions[t] = u - np.float32(column)
        fractions[side * side + t] = v - np.float32(line)


@kernel
def blend(out, values, corners, fractions, side, rounding):
    """Write the bilinear averages of four pixels each into out (side, side).

    One loop over all pixels, since a row is too short for the compiler's vectors. rounding: what is
    added; the sum is cut off where out is of bytes.
    """
    n = side * side
    for t in range(n):
        k, f, g = corners[t], fractions[t], fractions[n + t]
        a, b, c, d = values[k], values[k + 1], values[k + side + 3], values[k + side + 4]
        upper, lower = a + f * (b - a), c + f * (d - c)
        out[t] = upper + g * (lower - upper) + rounding


@kernel
def resample(out, image, mapping, side, rounding, work):
    """Write an image (side, side), moved by a map and by work.field, into out."""
    copy_inside(work.values, image, side)
    for y in range(side):
        find_points(work.corners, work.fractions, work.field, mapping, y, side)
    blend(out, work.values, work.corners, work.fractions, side, rounding)


@kernel
def deform_image(out, images, i, strength, settings, work):
    """Write image i of `images`, deformed, to its place in out."""
    side = settings.side
    key, counter = (settings.low_key, settings.high_key), (i + settings.first, settings.epoch, 0)
    count = 2 * settings.rank * settings.rank
    philox_words(work.words, (NOISE + count + 3) // 4, key, counter)
    mapping = draw_map(work.words, settings, strength)
    draw_noise(work.noise, work.words, count)
    for axis in range(2 if count else 0):  # without a field it is left as it was, zeros
        z = at(work.noise, axis * (count // 2))
        field = at(work.field, axis * side * row_width(side))
        smooth_field(field, work.product, z, settings)
    start = i * side * side
    resample(at(out, start), at(images, start), mapping, side, settings.rounding, work)


# ------------------------------------------------ what Python calls


@kernel
def deform_part(out, images, strengths, settings, work, thread_id, n_threads):
    """Deform one thread's part of the images."""
    first, last = divide(strengths.size, thread_id, n_threads)
    mine = work_of(work, thread_id, n_threads)
    for i in range(first, last):
        deform_image(out, images, i, strengths[i], settings, mine)


@driver
def deform_images(out, images, strengths, settings, work):
    """Write deformed images. out, images (n * side * side,); strengths (n,); see draw_map."""
    deform_part(out, images, strengths, settings, work, np.intp(0), np.intp(1))


@parallel_kernel
def deform_parallel(out, images, strengths, settings, work, n_threads):
    """deform_images on n_threads threads, each of which has a part of the images."""
    for t in prange(n_threads):
        deform_part(out, images, strengths, settings, work, np.intp(t), n_threads)


@parallel_driver
def deform_images_parallel(out, images, strengths, settings, work, n_threads):
    """deform_images on n_threads threads."""
    deform_parallel(out, images, strengths, settings, work, n_threads)
