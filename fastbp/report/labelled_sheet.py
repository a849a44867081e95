"""A contact sheet of a data set: some images of each class, beside the label. Extra: report."""

import math

import numpy as np

from fastbp.data import plots

IMAGES_PER_CLASS = 16
MOST_CLASSES = 64  # a row each
PIXEL, DPI = 2, 100  # pixels of the picture for one of an image, and for an inch
MARGIN = 0.6  # inches, for the labels


def figure_class():
    """Return matplotlib's Figure, or raise ImportError naming the extra."""
    return plots.figure_class("the sheet", " (or leave out --sheet)")


def draw(images, labels, path):
    """Write a picture with the first images of each class, a class in each row, to a file.

    images (n, n_in): square images, white ink on black; labels (n,); the ending of path tells the
    format. Raises ValueError for images that are none or not square, and for another format.
    """
    classes = np.unique(labels)[:MOST_CLASSES]
    sheet = _sheet(images, labels, classes)
    height, width = (n * PIXEL / DPI for n in sheet.shape)
    total = MARGIN + width
    figure = figure_class()(figsize=(total, height), dpi=DPI)
    axis = figure.add_axes((MARGIN / total, 0, width / total, 1))
    axis.imshow(sheet, cmap="gray_r", interpolation="nearest", aspect="auto")
    step = len(sheet) / len(classes)
    axis.set_yticks(step * (np.arange(len(classes)) + 0.5), classes, fontsize=14)
    axis.tick_params(length=0)
    axis.set_xticks([])
    axis.spines[:].set_visible(False)
    plots.save(figure, path)


def _sheet(images, labels, classes):
    """Return one grey image (height, width), with a row of IMAGES_PER_CLASS for each class."""
    if not len(images):
        raise ValueError("there are no training images, expected some for a sheet")
    n_in = images.shape[1]
    side = math.isqrt(n_in)
    if side * side != n_in:
        raise ValueError(f"images have {n_in} pixels, expected a square number for a sheet")
    cell = side + 2  # a margin of a pixel on each side
    sheet = np.zeros((len(classes) * cell, IMAGES_PER_CLASS * cell))
    for row, label in enumerate(classes):
        for column, i in enumerate(np.flatnonzero(labels == label)[:IMAGES_PER_CLASS]):
            top, left = row * cell + 1, column * cell + 1
            sheet[top : top + side, left : left + side] = images[i].reshape(side, side)
    return sheet
