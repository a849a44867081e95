"""A drawing made into a digit as MNIST's are: scaled into a box, its centre of mass in the middle.

The report's page does the same in JavaScript, with the constants from here; a test holds the two
against each other.
"""

import numpy as np

SIDE = 28  # pixels of an image
BOX = 20  # pixels of the square into which the ink is scaled
INK = 0.05  # how much of the darkest ink counts as ink, when the drawing is cropped


def centre_digit(ink):
    """Return the image (SIDE, SIDE), of values 0..1, of a drawing of any size.

    ink (height, width): 0 where there is none, larger where there is more. The longer side of the
    cropped ink fills the box; the darkest pixel of the result is 1.

    Raises ValueError if there is no ink.
    """
    if not (most := ink.max(initial=0)) > 0:
        raise ValueError("the drawing is empty, expected a digit")
    rows, columns = (np.flatnonzero((ink > INK * most).any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round_half_up(BOX * side / max(ink.shape))) for side in ink.shape)
    digit = area_weights(ink.shape[0], height) @ ink @ area_weights(ink.shape[1], width).T
    image = np.zeros((SIDE, SIDE))
    top, left = (_first_pixel(digit.sum(axis)) for axis in (1, 0))
    image[top : top + height, left : left + width] = digit / digit.max()
    return image


def area_weights(n, n_new):
    """Return W (n_new, n): each row averages over the pixels, or parts of them, that it covers."""
    scale, edges = n / n_new, np.arange(n_new + 1) * (n / n_new)
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0) / scale


def round_half_up(x):
    """Return the nearest whole number; of two, the larger one, as JavaScript's Math.round does."""
    return int(np.floor(x + 0.5))


def _first_pixel(mass):
    """Return where rows (or columns) begin if their centre of mass is at SIDE / 2, as in MNIST."""
    centre = (mass @ np.arange(mass.size)) / mass.sum()
    first = round_half_up(SIDE / 2 - centre)
    return min(max(first, 0), SIDE - mass.size)
