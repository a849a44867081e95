"""The digit in a person's own photo, made into an image as those of MNIST. Extra: report.

A photo shows one digit, on paper or a board of any colour, in any light; steps that are larger
have modules of their own.
"""

import numpy as np

from fastbp.data.warn import runtime_warning
from fastbp.report.centring import SIDE, centre_digit
from fastbp.report.connected_ink import are_side_by_side, choose_digit
from fastbp.report.paper import ink_of, strength
from fastbp.report.picture_files import filtered, read_picture
from fastbp.report.ruled_lines import remove_ruled_lines

WORKING_SIDE = 512  # pixels of the longer side, to which a photo is scaled
INK = 0.4  # what is at least this much is ink; of a stroke it is about half of the blurred edge
LINES = 0.1  # of the ink is as strong as the strongest, lines included, unless there are lines only
MOST = 0.75  # of the ink belongs to the digit, or a warning is issued
EDGE, FULL = 0.2, 0.8  # ink that becomes 0 and 1 in the image
THIN, PEN = 1 / 14, 1 / 10  # of the digit's longer side: strokes below THIN are made PEN wide


def read_photo(path):
    """Return the digit in a photo as an input of a network that was trained on MNIST.

    Parameters
    ----------
    path : path
        A file that Pillow reads, such as PNG or JPEG, that shows one digit: dark on light or light
        on dark, in any colour, on plain, lined or squared paper.

    Returns
    -------
    ndarray of float64, shape (784, 1)
        The rows of an image of 28 x 28 pixels, 0 paper .. 255/256 ink, as the training images.

    Raises
    ------
    ImportError
        If Pillow is missing. It is in the extra "report".
    OSError
        If the file cannot be read.
    ValueError
        If it is no picture, damaged or too large, or if no ink is found in it.

    Warns
    -----
    RuntimeWarning
        If much stands out from the paper beside the digit, if the digit has two large parts side
        by side, or if it touches the border.

    Examples
    --------
    >>> from fastbp.report.photo import read_photo
    >>> net.feedforward(read_photo("photo.jpg")).argmax()
    """
    return as_input(find_digit(read_picture(path, WORKING_SIDE), path))


def as_input(digit):
    """Return an image (28, 28) of values 0..1 as a column (784, 1) in the scale of MNIST's."""
    return digit.reshape(SIDE * SIDE, 1) * (255 / 256)


def find_digit(picture, name="the picture"):
    """Return the digit in a picture, an image (28, 28) of values 0..1, white on black.

    picture (height, width, 3), uint8, as read_picture returns it. Raises ValueError, naming the
    picture, if there is none; warns where it may be something else.
    """
    try:
        ink = remove_ruled_lines(ink_of(picture))
        if not (height := strength(ink)) > LINES:
            raise ValueError("there are ruled lines but no ink beside them, expected one digit")
        ink = ink / height
        digit = choose_digit(ink, ink > INK)
        _warn_if_unclear(ink, digit, name)
        ink = np.clip((ink - EDGE) / (FULL - EDGE), 0, 1)
        near = filtered(255 * digit, "BoxBlur", 2) > 0  # the blurred edge of the strokes, too
        return centre_digit(_thicken(np.where(near, ink, 0), digit))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _warn_if_unclear(ink, digit, name):
    """Warn where a shadow, a table or other writing may have been taken for the digit."""
    borders = digit[0], digit[-1], digit[:, 0], digit[:, -1]
    if any(border.any() for border in borders):
        seen = "what was taken for the digit touches the border of the photo"
    elif ink[digit].sum() < MOST * ink[ink > INK].sum() or are_side_by_side(ink, digit):
        seen = "more than one digit stands out from the paper"
    else:
        return
    runtime_warning(
        f"{name}: {seen}, as a sharp shadow, a table or other writing does; look at it with "
        f"fastbp predict --show, and crop the photo to the paper around one digit"
    )


def _thicken(ink, digit):
    """Return the ink with strokes as wide as MNIST's are, if those of the digit are thinner.

    A thin pen on a large sheet would leave but a grey trace of a digit scaled to 20 pixels.
    """
    rows, columns = (np.flatnonzero(digit.any(axis)) for axis in (1, 0))
    size = max(np.ptp(rows), np.ptp(columns)) + 1
    edge = digit & (filtered(255 * digit, "BoxBlur", 1) < 255)
    width = 2 * digit.sum() / max(1, edge.sum())  # a long stroke has an edge on either side
    if width >= THIN * size:
        return ink
    pad = round(PEN * size - width) // 2
    ink = np.pad(ink, pad)
    return filtered((255 * ink).astype(np.uint8), "MaxFilter", 2 * pad + 1) / 255.0
