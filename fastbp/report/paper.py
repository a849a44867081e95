"""The ink of a photo: how far each pixel's colour is from that of the paper around it.

The paper's colour may differ from place to place, as uneven light makes it. It may be lighter than
the ink or darker, and each may have any hue.
"""

import numpy as np

from fastbp.report.picture_files import pillow

THUMBNAIL = 64  # pixels of the longer side of a copy, of which medians are computed
WINDOW = 33  # pixels of the copy, odd: the ink covers less than half of any such square
RADII = 1 / 4, 1 / 8, 1 / 12  # of the longer side: of the averages that follow
PAPER = 0.3  # what differs from the paper by less than this part of the ink's contrast is paper
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
    ndarray of float64, shape (height, width)

    Raises
    ------
    ValueError
        If nothing stands out from the paper.

    Notes
    -----
    The median of a large square is the paper's colour if less than half of the square is ink.
    Where the light changes within the square, averages over the paper in smaller ones are nearer
    to the colour; what is paper is known from the step before.
    """
    pixels = picture / 255.0
    paper = _median_paper(picture)
    for radius in RADII:
        ink = contrast(pixels, paper)
        weights = (np.abs(ink) < PAPER * strength(ink)).astype(float)
        radius = max(1, round(radius * max(ink.shape)))
        total = local_mean(weights, radius)
        enough = total > 0.05
        for c in range(3):
            mean = local_mean(weights * pixels[:, :, c], radius) / np.maximum(total, 1e-9)
            paper[:, :, c] = np.where(enough, mean, paper[:, :, c])
    ink = contrast(pixels, paper)
    height = strength(ink)
    noise = 1.48 * np.median(np.abs(ink))  # the standard deviation, if it is normal
    if not height > max(LEAST_CONTRAST, LEAST_SIGNAL * noise):
        raise ValueError(
            "there is no ink that stands out from the paper, expected one digit on plain paper; "
            "take the photo nearer and in even light"
        )
    return ink / height


def contrast(pixels, paper):
    """Return the difference of colours along the line from paper to ink, positive for ink.

    pixels, paper (height, width, 3). In a shadow colours differ less, so that differences are
    divided by the paper's brightness. The line is the principal axis of the differences, in which
    large ones count most: it leaves out colours other than the ink's as well as it can.
    """
    light = np.maximum(paper.mean(axis=2, keepdims=True), DARK)
    difference = ((pixels - paper) / light).reshape(-1, 3)
    weighted = difference * (difference**2).sum(axis=1, keepdims=True)
    axis = np.linalg.eigh(weighted.T @ weighted)[1][:, -1]
    ink = difference @ axis
    return (ink if (ink**3).sum() >= 0 else -ink).reshape(pixels.shape[:2])


def strength(ink):
    """Return the ink at the weakest of the pixels that are the strongest few of a picture."""
    n = min(max(LEAST_PIXELS, round(STRONGEST * ink.size)), ink.size)
    return np.partition(ink.ravel(), -n)[-n]


def local_mean(a, radius):
    """Return the means of a (height, width) over squares of 2 radius + 1 pixels, cut at borders."""
    for _ in range(2):
        a = _means_of_columns(a, radius).T
    return a


def _means_of_columns(a, radius):
    n = len(a)
    sums = np.concatenate([np.zeros((1, a.shape[1])), np.cumsum(a, axis=0)])
    end = np.minimum(np.arange(n) + radius + 1, n)
    start = np.maximum(np.arange(n) - radius, 0)
    return (sums[end] - sums[start]) / (end - start)[:, None]


def _median_paper(picture):
    """Return the medians (height, width, 3), 0..1, of large squares around each pixel."""
    from PIL import ImageFilter

    Image, _ = pillow()
    image = Image.fromarray(picture)
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small = small.filter(ImageFilter.MedianFilter(WINDOW))
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR)) / 255.0
