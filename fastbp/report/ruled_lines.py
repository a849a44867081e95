"""Removes the ruled lines of paper, horizontal and vertical ones, from the ink of a photo.

A ruled line is thin, almost straight, and reaches from one border of the picture to the other; a
digit does not.
"""

import functools

import numpy as np

# (limit of the thickness of lines in pixels, which part of a line is as thin, at least). Thin lines
# are removed first; others later and whole, so that no thick pieces of them are left.
PASSES = (3, 0.8), (5, 0.8), (7, 0.6)
SLOPES = np.linspace(-0.08, 0.08, 41)  # of rows per column
COLUMNS = 64  # into which the pixels of a row are averaged
INK = 0.15  # of ink makes a line
BORDER = 8  # columns beside a border
INSIDE = 0.5  # part of the length at least, of lines that cross a corner of the picture
DARKER = 1.5  # times as much ink as there is along a line is a stroke upon it


def remove_ruled_lines(ink):
    """Return the ink (height, width) without thin lines that reach from border to border.

    A stroke stays where it is darker than the line or, measured across the line, thicker.
    """
    for n, covered in PASSES:
        for _ in range(2):  # horizontal lines, then vertical ones
            if min(ink.shape) > COLUMNS:
                ink = np.where(ink < _ink_of_lines(ink, n, covered), opening(ink, n), ink)
            ink = ink.T
    return ink


def opening(ink, n):
    """Return the morphological opening along columns: without what is less than n pixels thick."""
    padded = np.pad(ink, ((n - 1, n - 1), (0, 0)), mode="edge")
    height = len(ink)
    smallest = functools.reduce(np.minimum, (padded[i : i + height + n - 1] for i in range(n)))
    return functools.reduce(np.maximum, (smallest[i : i + height] for i in range(n)))


def _ink_of_lines(ink, n, covered):
    """Return an upper limit (height, width) of the ink of almost horizontal lines; 0: no line.

    Only lines that are less than n pixels thick, for a part `covered` of their length, are found.
    """
    is_ink = ink > INK
    thin = is_ink & ~opening(is_ink, n)
    limit = np.zeros_like(ink)
    height, width = ink.shape
    if thin.sum() < INSIDE * covered * width:
        return limit
    columns, reach = np.arange(width), n // 2 + 1
    padded = np.pad(thin, ((1, 1), (0, 0)))
    thin = padded[:-2] | thin | padded[2:]  # a line may be a pixel off a straight one
    for slope, row in _straight_lines(thin, covered):
        middle = np.rint(row + slope * (columns - width // 2)).astype(int)
        y = (middle + np.arange(-reach, reach + 1)[:, None]).clip(0, height - 1)
        along = np.median(ink[y, columns].max(axis=0))
        limit[y, columns] = np.maximum(limit[y, columns], DARKER * along)
    return limit


def _straight_lines(thin, covered):
    """Yield (slope, row in the middle) of straight lines in a mask, from border to border.

    covered: the part of their length that is in the mask, at least; beside the borders, too.
    """
    height, width = thin.shape
    column_of = np.arange(width) * COLUMNS // width
    begin = np.searchsorted(column_of, np.arange(COLUMNS))
    share = np.add.reduceat(thin, begin, axis=1, dtype=np.float32) / np.bincount(column_of)
    x = (np.arange(COLUMNS) + 0.5) * (width / COLUMNS) - width // 2
    left, right, columns = slice(BORDER), slice(-BORDER, None), np.arange(COLUMNS)

    def values(rows, slope, part):
        """Return the shares along lines, in some columns, and what is inside the picture."""
        y = np.rint(rows[:, None] + slope * x[part]).astype(int)
        inside = (y >= 0) & (y < height)
        return np.where(inside, share[y.clip(0, height - 1), columns[part]], covered), inside

    least = covered - 1e-4  # the mean of equal numbers may be rounded
    for slope in SLOPES:
        rows = np.arange(height)
        for part in (left, right):
            rows = rows[values(rows, slope, part)[0].mean(axis=1) >= least]
        along, inside = values(rows, slope, slice(None))
        is_line = (along.mean(axis=1) >= least) & (inside.mean(axis=1) >= INSIDE)
        for row in rows[is_line]:
            yield slope, row
