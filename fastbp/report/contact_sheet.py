"""A contact sheet: originals beside their deformed copies, for a look. Extra: report."""

import numpy as np

from fastbp.data import files, plots

ZOOM, GAP = 3, 2  # screen pixels for a pixel, and pixels between images
PAPER = 96  # grey of the gaps; images are black with white ink


def draw(images, path):
    """Write a picture of images (rows, columns, side, side) uint8, the originals first in a row.

    Raises ImportError, naming the extra, without matplotlib; OSError if path cannot be written.
    """
    try:
        from matplotlib import image
    except ImportError:
        raise ImportError(
            "contact sheets need matplotlib: pip install 'fastbp[report]' (or leave out --sheet)"
        ) from None
    sheet = arrange(images)
    sheet = np.repeat(np.repeat(sheet, ZOOM, axis=0), ZOOM, axis=1)
    with files.write_atomically(path) as file:
        rgb = np.stack([sheet] * 3, axis=-1)
        image.imsave(file, rgb, format=plots.format_of(path))


def arrange(images):
    """Return images (rows, columns, side, side) as one, with a wider gap behind column 0."""
    rows, columns, side, _ = images.shape
    step = side + GAP
    sheet = np.full((GAP + rows * step, 2 * GAP + columns * step), PAPER, np.uint8)
    for i in range(rows):
        for j in range(columns):
            y, x = GAP + i * step, GAP * (1 + (j > 0)) + j * step
            sheet[y : y + side, x : x + side] = images[i, j]
    return sheet
