"""Removes the ruled lines of paper, horizontal and vertical ones, from the ink of a photo.

A ruled line is thin, almost straight, and reaches from one border of the picture to the other; a
digit does not.
"""

import functools

import numpy as np

THICKNESSES = 3, 5, 7  # pixels: the limits of the thickness of lines, thin lines are removed first
SLOPES = np.linspace(-0.08, 0.08, 41)  # of rows per column
COLUMNS = 64  # into which the pixels of a row are averaged
INK = 0.15  # of ink makes a line
COVERED = 0.6  # part of the length that is ink, between the borders and beside each of them
BORDER = 8  # columns beside a border


def remove_ruled_lines(ink):
    """Return the ink (height, width) without thin lines that reach from border to border.

    A stroke that crosses a line stays where it is thicker than the line, measured across the line.
    """
    for n in THICKNESSES:
        for _ in range(2):  # horizontal lines, then vertical ones
            if min(ink.shape) > COLUMNS:
                ink = np.where(_find_lines(ink, n), opening(ink, n), ink)
            ink = ink.T
    return ink


def opening(ink, n):
    """Return the morphological opening along columns: without what is less than n pixels thick."""
    padded = np.pad(ink, ((n - 1, n - 1), (0, 0)), mode="edge")
    height = len(ink)
    smallest = functools.reduce(np.minimum, (padded[i : i + height + n - 1] for i in range(n)))
    return functools.reduce(np.maximum, (smallest[i : i + height] for i in range(n)))


def _find_lines(ink, n):
    """Return where (height, width) there are almost horizontal lines less than n pixels thick."""
    is_ink = ink > INK
    thin = is_ink & ~opening(is_ink, n)
    found = np.zeros(ink.shape, bool)
    height, width = ink.shape
    if thin.sum() < COVERED * width:
        return found
    x, reach = np.arange(width) - width // 2, n // 2 + 1
    padded = np.pad(thin, ((1, 1), (0, 0)))
    thin = padded[:-2] | thin | padded[2:]  # a line may be a pixel off a straight one
    for slope, row in _straight_lines(thin):
        y = np.rint(row + slope * x).astype(int)
        for offset in range(-reach, reach + 1):
            inside = (y + offset >= 0) & (y + offset < height)
            found[(y + offset)[inside], np.flatnonzero(inside)] = True
    return found


def _straight_lines(thin):
    """Yield (slope, row in the middle) of straight lines in a mask, from border to border."""
    height, width = thin.shape
    column_of = np.arange(width) * COLUMNS // width
    begin = np.searchsorted(column_of, np.arange(COLUMNS))
    share = np.add.reduceat(thin, begin, axis=1, dtype=np.float32) / np.bincount(column_of)
    share = np.pad(share, ((1, 1), (0, 0)))  # a line that leaves the picture goes on in no ink
    x = (np.arange(COLUMNS) + 0.5) * (width / COLUMNS) - width // 2
    rows, columns = np.arange(1, height + 1)[:, None], np.arange(COLUMNS)
    for slope in SLOPES:
        y = np.rint(rows + slope * x).astype(int).clip(0, height + 1)
        values = share[y, columns]
        parts = values, values[:, :BORDER], values[:, -BORDER:]
        is_line = np.all([part.mean(axis=1) > COVERED for part in parts], axis=0)
        for row in np.flatnonzero(is_line):
            yield slope, row
