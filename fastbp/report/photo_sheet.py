"""A picture of inputs, each beside what the network saw of it. Extra: report."""

import numpy as np

from fastbp.report.centring import SIDE
from fastbp.report.picture_files import pillow, write_picture

CELL = 280  # pixels of the square of an image: each of its 28 x 28 pixels is 10 x 10
GAP = 10
MOST_COLUMNS = 4  # pairs beside each other
PAPER, FRAME = "white", "#999999"


def write_contact_sheet(path, pairs):
    """Write a picture of inputs, each with the image that was made of it to its right.

    Parameters
    ----------
    path : path
        Its ending tells the format, e.g. .png. The file appears whole or not at all.
    pairs : list of (ndarray of uint8 or None, ndarray)
        The photo, (height, width, 3), or None for an image that was made of none; and the image,
        784 values 0..1.

    Raises
    ------
    ImportError
        If Pillow is missing. It is in the extra "report".
    OSError
        If the file cannot be written.
    ValueError
        If the ending is none of a format that Pillow writes.
    """
    Image, _ = pillow()
    n_columns = min(MOST_COLUMNS, len(pairs))
    pair_width, height = 2 * CELL + 3 * GAP, CELL + GAP
    size = n_columns * pair_width, -(-len(pairs) // n_columns) * height + GAP
    sheet = Image.new("RGB", size, PAPER)
    for i, (picture, image) in enumerate(pairs):
        left, top = i % n_columns * pair_width + GAP, i // n_columns * height + GAP
        grey = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8).reshape(SIDE, SIDE)
        photo = Image.fromarray(grey if picture is None else picture)
        _paste(sheet, photo, left, top, Image.Resampling.BICUBIC)
        _paste(sheet, Image.fromarray(grey), left + CELL + GAP, top, Image.Resampling.NEAREST)
    write_picture(path, sheet)


def _paste(sheet, image, left, top, resampling):
    """Paste an image, in a frame, into the middle of a cell, scaled to fill it."""
    from PIL import ImageOps

    image = ImageOps.contain(image.convert("RGB"), (CELL, CELL), resampling)
    image = ImageOps.expand(image, 1, FRAME)
    sheet.paste(image, (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
