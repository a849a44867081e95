"""fastbp data: which data set the other commands would use, why, and what is in it."""

import numpy as np

from fastbp import mnist_loader
from fastbp.cli.data_options import as_pixels_if_exact
from fastbp.cli.options import add_transpose
from fastbp.cli.outputs import check_outputs
from fastbp.data import download, locations
from fastbp.data.pixels import Pixels
from fastbp.data.readers import checksums, find
from fastbp.report import labelled_sheet


def describe_data(options):
    """Print the places that were looked at and what is in the data set; draw its sheet."""
    if options.sheet is not None:
        labelled_sheet.figure_class()  # raises now, not after reading, if matplotlib is missing
        check_outputs(options)
    sets = _find(options)
    if sets is None:
        print("no data set was found: train and evaluate would try the download, or else draw the")
        print("synthetic digits (fastbp data synthetic)")
        if options.sheet is not None:
            raise OSError("no data set for the sheet: use --download, or give a PATH")
        return
    for name, (images, labels) in zip(("training", "validation", "test"), sets):
        print(f"{name:<11} {_describe_set(images, labels)}")
    print(f"pixels      {_describe_pixels([images for images, _ in sets])}")
    print(f"checksum    {_describe_checksum(sets)}")
    if options.sheet is not None:
        images, labels = sets[0]
        labelled_sheet.draw(getattr(images, "array", images), labels, options.sheet)
        print(f"sheet       {options.sheet}")


def _find(options):
    """Print each place that is looked at; return the three sets, or None if nothing was found."""
    if options.path == "synthetic":
        print("used        synthetic digits, drawn by fastbp: asked for")
        return mnist_loader.synthetic(pixels=True)
    if options.path is not None:
        print(f"used        {options.path}: the PATH that was given")
        return as_pixels_if_exact(options.path, options.transpose)
    for place in locations.look():
        path = "" if place.path is None else f" {place.path}"
        state = "used" if place.is_used else "not used"
        print(f"{state:<11} {place.name}{path}: {place.reason}")
        if place.is_used:
            return as_pixels_if_exact(place.path, options.transpose)
    source = ", ".join(download.mirrors())
    if not options.download:
        print(f"not tried   a download from {source}: only with --download")
        return None
    print(f"tried       a download from {source}: asked for by --download", flush=True)
    folder = download.cached_or_downloaded(find.is_complete)
    return as_pixels_if_exact(folder, options.transpose)


def _describe_set(images, labels):
    """Return e.g. 50,000 images of 784 pixels (28 x 28), 10 classes: labels 0..9."""
    n, n_in = images.shape
    if not n:
        return "no images"
    classes, side = np.unique(labels), round(n_in**0.5)
    shape = f" ({side} x {side})" if side * side == n_in else ""
    return (
        f"{n:,} images of {n_in} pixels{shape}; {len(classes)} classes, labels "
        f"{classes[0]}..{classes[-1]}"
    )


def _describe_pixels(sets):
    """Return the range of the pixels, in the unit in which they are stored."""
    is_bytes = all(isinstance(images, Pixels) for images in sets)
    arrays = [images.array if isinstance(images, Pixels) else images for images in sets]
    smallest = min(array.min() for array in arrays if array.size)
    largest = max(array.max() for array in arrays if array.size)
    unit = "bytes, divided by 256 for training" if is_bytes else "numbers, used as they are"
    return f"{smallest:g}..{largest:g}, {unit}"


def _describe_checksum(sets):
    found = checksums.digests(sets)
    if found is None:
        return "unknown: there is none for pixels or labels that are not bytes"
    if checksums.is_mnist(found):
        return "known: images and labels are MNIST's, to the bit"
    return f"unknown, not MNIST's: SHA-256 of the training images as an IDX file is {found[0]}"


def add_options(parser):
    """Add the options of fastbp data."""
    add = parser.add_argument
    add("path", nargs="?", metavar="PATH", help="a folder or file, or synthetic (default: what the "
        "other commands use)")  # fmt: skip
    add_transpose(add)
    add("--download", action="store_true", help="download MNIST if it is not found")
    add("--sheet", metavar="sheet.png", help="draw images of each class (extra: report)")
