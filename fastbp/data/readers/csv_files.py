"""Reading csv files of `label, pixel, pixel, ...`, with or without a header line.

Invariants: numbers are parsed by numpy.loadtxt, a block of lines at a time; where it fails, the
block is searched for the line and the column, so that the error can name them.
"""

import re

import numpy as np

from fastbp.data import files
from fastbp.data.readers.bounded_reader import BoundedReader
from fastbp.data.readers.csv_header import BYTE_ORDER_MARK, check_header, check_width
from fastbp.data.readers.image_sets import MOST_CLASSES

MOST_BYTES = 1 << 32  # EMNIST's largest csv file has 1.5 GB
MOST_LINE = 1 << 18  # bytes; images of 256 x 256 pixels fit
ROLES = ("train", "test")
FEWEST = 7  # samples that give three sets when the last sixth is split off twice
_ROLE_WORD = re.compile(  # a word of its own, the last one: test_contest.csv, latest_train.csv
    r"(.*(?<![a-z]))(train|test)((?:ing)?(?![a-z]).*\.csv)(\.gz)?", re.IGNORECASE
)
_ROLE_PART = re.compile(r"(.*)(train|test)(.*\.csv)(\.gz)?", re.IGNORECASE)  # mnisttrain.csv
_INTEGER = re.compile(r"[ \t]*\+?[0-9]{1,9}[ \t]*")


def is_csv(name):
    """Tell whether a file name is that of a csv file, packed or not."""
    return name.endswith((".csv", ".csv.gz"))


def parse(name):
    """Return (prefix and suffix, "train" or "test", preference) of a csv file's name, or None."""
    found = _ROLE_WORD.fullmatch(name) or _ROLE_PART.fullmatch(name)
    if not found:
        return None
    return found[1] + "*" + found[3], found[2].lower(), not found[4]


def read_pair(train, test):
    """Return (images, labels) of a file for training and of one for testing, of equal widths."""
    sets = read(train), read(test)
    widths = [images.shape[1] for images, _ in sets]
    if widths[0] != widths[1]:
        unlabelled = ": it has no labels, as Kaggle's test.csv" * (widths[1] == widths[0] - 1)
        raise ValueError(
            f"{test} has {widths[1] + 1} columns, expected {widths[0] + 1} as in {train}"
            f"{unlabelled}; pass the path of {train.name} instead of the folder, to use it alone"
        )
    return sets


def read(path):
    """Return (images (n, pixels) uint8, labels (n,) int64) of one csv file.

    Parameters
    ----------
    path : path
        Lines `label,pixel,pixel,...` of integers, labels 0..999 and pixels 0..255, with or
        without a header line, which must name the label first. Packed by gzip or not.

    Raises
    ------
    ValueError
        Something else is in it; the message names the line and the column, both counted from 1.
    OSError
        It cannot be read.
    """
    images, labels, n_names, width = [], [], None, None
    with BoundedReader(path, MOST_BYTES) as content:
        for first, lines in _blocks(content):
            if not any(lines):
                continue
            if n_names is None:
                start = next(i for i, line in enumerate(lines) if line)
                n_names = check_header(lines[start], path, first + start)
                lines[start] = "" if n_names else lines[start].removeprefix(BYTE_ORDER_MARK)
                if not any(lines):
                    continue
            if width is None:
                width = 1 + next(filter(None, lines)).count(",")
                check_width(n_names, width, path)
            block = _parse(lines, first, width, path)
            images.append(block[:, 1:].astype(np.uint8))
            labels.append(block[:, 0].astype(np.int64))
    if not images:
        raise ValueError(f"{path} holds no samples, expected lines of label,pixel,pixel,...")
    return np.concatenate(images), np.concatenate(labels)


def _blocks(content):
    """Yield (number of the first line, lines) for some lines at a time; blank ones are empty.

    What is blank as a whole is not yielded.
    """
    number, rest, more = 1, b"", True
    while more:
        piece = content.take(files.PIECE)
        more = bool(piece)
        whole, end, tail = piece.rpartition(b"\n")
        block, rest = (rest + whole + end, tail) if end else (b"", rest + tail)
        if not more:
            block, rest = rest, b""
        if len(rest) > MOST_LINE:
            raise ValueError(
                f"{content.path} has a line of more than {MOST_LINE:,} bytes, expected lines of "
                f"label,pixel,pixel,..."
            )
        if block.isspace():  # much faster than a list of blank lines
            number += block.count(b"\n")
        elif block:
            lines = block.removesuffix(b"\n").split(b"\n")
            yield number, [line.decode("latin1").strip(" \t\r") for line in lines]
            number += len(lines)


def _parse(lines, first, width, path):
    """Return the integers of some lines as an array (n, width) of int16, or raise ValueError."""
    try:
        if width < 2:
            raise ValueError
        block = np.loadtxt(lines, np.int16, comments=None, delimiter=",", ndmin=2, encoding=None)
    except (ValueError, OverflowError):
        raise _fault(lines, first, width, path) from None
    labels, images = block[:, 0], block[:, 1:]
    if (
        block.shape[1] != width or labels.min() < 0 or labels.max() >= MOST_CLASSES
        or images.min() < 0 or images.max() > 255
    ):  # fmt: skip
        raise _fault(lines, first, width, path)
    return block


def _fault(lines, first, width, path):
    """Return a ValueError that says which line and column are wrong."""
    for number, line in enumerate(lines, first):
        cells = line.split(",")
        if not line:
            continue
        where = f"{path}, line {number}"
        if width < 2:
            return ValueError(f"{where} has no commas, expected label,pixel,pixel,...")
        if len(cells) != width:
            return ValueError(
                f"{where} has {len(cells)} columns, expected {width}: a label and {width - 1} "
                f"pixels, as in the line that is first"
            )
        for column, cell in enumerate(cells, 1):
            most, kind = (255, "a pixel") if column > 1 else (MOST_CLASSES - 1, "a label")
            if not _INTEGER.fullmatch(cell) or int(cell) > most:
                seen = files.brief(cell, 40)
                return ValueError(
                    f"{where}, column {column} is {seen!r}, expected {kind}, an integer 0..{most}"
                )
    return ValueError(f"{path}: lines from {first} on are not label,pixel,pixel,...")
