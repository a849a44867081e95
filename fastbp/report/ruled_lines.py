"""Removes the ruled lines of paper, horizontal and vertical ones, from the ink of a photo.

A ruled line is thin, almost straight, and reaches from one border of the picture to the other; a
digit does not.
"""

import numpy as np

THICKNESS = 7  # pixels: what is at least as thick is a stroke and stays
SLOPES = np.arange(-0.08, 0.0801, 0.0025)
COLUMNS = 64  # into which the pixels of a row are averaged
INK = 0.15  # of ink makes a line
COVERED = 0.6  # part of the length that is ink, between the borders and beside each of them
BORDER = 8  # columns beside a border


def remove_ruled_lines(ink):
    """Return the ink (height, width) without thin lines that reach from border to border.

    Where a stroke crosses a line it stays, as it is thicker than the line.
    """
    for _ in range(2):
        if min(ink.shape) > COLUMNS:
            ink = np.where(_find_lines(ink), opening(ink, THICKNESS), ink)
        ink = ink.T
    return ink


def opening(ink, n):
    """Return the morphological opening along columns: without what is less than n pixels thick."""
    padded = np.pad(ink, ((n - 1, n - 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view
    smallest = windows(padded, n, axis=0).min(axis=-1)
    return windows(smallest, n, axis=0).max(axis=-1)


def _find_lines(ink):
    """Return where (height, width) there are thin, almost horizontal lines."""
    height, width = ink.shape
    column_of = np.arange(width) * COLUMNS // width
    x = np.arange(COLUMNS) * (width / COLUMNS)
    is_ink = ink > INK
    thin = is_ink & (opening(is_ink, THICKNESS) == 0)
    if thin.mean() == 0:
        return thin
    begin = np.searchsorted(column_of, np.arange(COLUMNS))
    share = np.add.reduceat(is_ink, begin, axis=1, dtype=float) / np.bincount(column_of)
    found = np.zeros(ink.shape, bool)
    rows = np.arange(height)[:, None]
    for slope in SLOPES:
        y = np.rint(rows + slope * (x - width / 2)).astype(int)  # (a line for each row, columns)
        inside = (y >= 0) & (y < height)
        values = np.where(inside, share[y.clip(0, height - 1), np.arange(COLUMNS)], 0)
        parts = (values, values[:, :BORDER], values[:, -BORDER:])
        lines = np.all([part.mean(axis=1) > COVERED for part in parts], axis=0)
        for row in np.flatnonzero(lines):
            y = np.rint(row + slope * (np.arange(width) - width / 2)).astype(int)
            for offset in range(-(THICKNESS // 2), THICKNESS // 2 + 1):
                inside = (y + offset >= 0) & (y + offset < height)
                found[(y + offset)[inside], np.flatnonzero(inside)] = True
    return found
