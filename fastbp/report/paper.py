"""The ink of a photo: how far each pixel's colour is from that of the paper around it.

The paper's colour may differ from place to place, as uneven light makes it. It may be lighter than
the ink or darker, and each may have any hue.
"""

import numpy as np

from fastbp.report.picture_files import filtered, resized, scaled_size

THUMBNAIL = 48  # pixels of the longer side of a copy, of which medians are computed
WINDOW = 25  # pixels of the copy, odd: the ink covers less than half of any such square
SMALL = 256  # pixels of the longer side of the copy in which the paper's colour is found
RADII = 64, 32, 21  # pixels of that copy: of the averages that follow
PAPER = 0.3  # what differs from the paper by less than this part of the ink's contrast is paper
ENOUGH = 0.05  # of a square is paper, or the colour stays as it is
DARK = 0.25  # brightness below which differences are not divided by it
STRONGEST = 5e-4  # part of the pixels, and LEAST_PIXELS, that certainly are ink
LEAST_PIXELS = 10
LEAST_CONTRAST = 0.06  # between paper and ink, of 0..1
LEAST_SIGNAL = 5.0  # times the noise of the paper


def ink_of(picture):
    """Return how much ink there is at each pixel: about 0 on the paper, about 1 in a stroke.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)

    Returns
    -------
    ndarray of float32, shape (height, width)

    Raises
    ------
    ValueError
        If nothing stands out from the paper.
    """
    shape = picture.shape[:2]
    paper = resized(paper_of(resized(picture, *scaled_size(shape, SMALL))), *shape)
    ink = _without_dots(contrast(_as_floats(picture), _as_floats(paper)))
    height = strength(ink)
    noise = 1.48 * np.median(np.abs(ink))  # the standard deviation, if it is normal
    if not height > max(LEAST_CONTRAST, LEAST_SIGNAL * noise):
        raise ValueError(
            "no ink stands out from the paper, expected one digit on plain paper; take the photo "
            "from nearer and in even light"
        )
    return ink / height


def paper_of(picture):
    """Return the colour of the paper at each pixel of a picture (height, width, 3), of uint8.

    The median of a large square is the paper's colour if less than half of the square is ink.
    Where the light changes within the square, averages over the paper in smaller ones are nearer
    to the colour; what is paper there is known from the step before.
    """
    shape = picture.shape[:2]
    median = filtered(resized(picture, *scaled_size(shape, THUMBNAIL)), "MedianFilter", WINDOW)
    pixels, paper = _as_floats(picture), _as_floats(resized(median, *shape))
    for radius in RADII:
        ink = contrast(pixels, paper)
        is_paper = (np.abs(ink) < PAPER * strength(ink)).astype(np.float32)[:, :, None]
        share = _local_mean(is_paper, radius)
        mean = _local_mean(is_paper * pixels, radius) / np.maximum(share, ENOUGH)
        paper = np.where(share > ENOUGH, mean, paper)
    return np.rint(255 * paper).astype(np.uint8)


def contrast(pixels, paper):
    """Return the difference of colours along the line from paper to ink, positive for ink.

    pixels, paper (height, width, 3). In a shadow colours differ less, so that differences are
    divided by the paper's brightness. The line is the principal axis of the differences, in which
    large ones count most: it leaves out colours other than the ink's as well as it can.
    """
    light = np.maximum(paper.mean(axis=2, keepdims=True), DARK)
    difference = ((pixels - paper) / light).reshape(-1, 3)
    weighted = difference * np.einsum("ic,ic->i", difference, difference)[:, None]
    axis = np.linalg.eigh(weighted.T @ weighted)[1][:, -1]
    ink = difference @ axis
    return (ink if (ink * ink) @ ink >= 0 else -ink).reshape(pixels.shape[:2])


def strength(ink):
    """Return the ink at the weakest of the pixels that are the strongest few of a picture."""
    n = min(max(LEAST_PIXELS, round(STRONGEST * ink.size)), ink.size)
    return np.partition(ink.ravel(), -n)[-n]


def _without_dots(ink):
    """Return the ink at most as large as the fifth of the 25 pixels of the square around it.

    A line of one pixel passes through five of them and stays; a median would erase it.
    """
    top = max(ink.max(), 1e-9)
    scaled = np.rint(255 / top * ink.clip(0)).astype(np.uint8)
    return np.minimum(ink, filtered(scaled, "RankFilter", 5, 20) * (top / 255))


def _local_mean(a, radius):
    """Return the means of a (height, width, n) over squares of 2 radius + 1 pixels."""
    return _means_of_rows(_means_of_rows(a, radius).swapaxes(0, 1), radius).swapaxes(0, 1)


def _means_of_rows(a, radius):
    """Return the means over 2 radius + 1 rows, fewer at the borders."""
    n = len(a)
    sums = np.concatenate([np.zeros_like(a[:1]), np.cumsum(a, axis=0)])
    end = np.minimum(np.arange(n) + radius + 1, n)
    start = np.maximum(np.arange(n) - radius, 0)
    return (sums[end] - sums[start]) / (end - start)[:, None, None].astype(a.dtype)


def _as_floats(picture):
    return picture.astype(np.float32) / 255
