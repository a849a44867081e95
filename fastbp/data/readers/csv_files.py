"""Reading csv files of `label, pixel, pixel, ...`, with or without a header line.

Invariant: an error names the line and the column. (numpy.loadtxt parses a block of lines at a
time; only a block that it rejects is searched for them.)
"""

import re

import numpy as np

from fastbp.data import files, messages
from fastbp.data.readers.bounded_reader import BoundedReader
from fastbp.data.readers.csv_header import BYTE_ORDER_MARK, check_header, check_width
from fastbp.data.readers.image_sets import MAX_CLASSES

MAX_BYTES = 1 << 32  # EMNIST's largest csv file has 1.5 GB
MAX_LINE_BYTES = 1 << 18  # images of 256 x 256 pixels fit
ROLES = ("train", "test")
MIN_SAMPLES = 7  # fewer do not give three sets when the last sixth is split off twice
# train or test as a separate word is preferred, and the last one: test_contest.csv,
# latest_train.csv; else it may be a part of a word: mnisttrain.csv.
_ROLE_WORD = re.compile(
    r"(.*(?<![a-z]))(train|test)((?:ing)?(?![a-z]).*\.csv)(\.gz)?", re.IGNORECASE
)
_ROLE_PART = re.compile(r"(.*)(train|test)(.*\.csv)(\.gz)?", re.IGNORECASE)
_INTEGER = re.compile(r"[ \t]*\+?[0-9]{1,9}[ \t]*")


def is_csv(name):
    """Tell whether a file name is that of a csv file, compressed or not."""
    return name.endswith((".csv", ".csv.gz"))


def parse_name(name):
    """Return (name of the data set, role, preference) of a csv file's name, or None.

    As idx_files.parse_name does; the name of the data set is prefix*suffix.
    """
    found = _ROLE_WORD.fullmatch(name) or _ROLE_PART.fullmatch(name)
    if not found:
        return None
    return found[1] + "*" + found[3], found[2].lower(), (not found[4],)


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
        without a header line, which must name the label first. Compressed by gzip or not.

    Raises
    ------
    ValueError
        The file holds anything else; the message names the line and the column, counted from 1.
    OSError
        The file cannot be read.
    """
    images, labels, n_names, width = [], [], None, None
    with BoundedReader(path, MAX_BYTES) as content:
        for first, lines in _blocks(content):
            if n_names is None and any(lines):
                i = next(i for i, line in enumerate(lines) if line)
                n_names = check_header(lines[i], path, first + i)
                lines[i] = "" if n_names else lines[i].removeprefix(BYTE_ORDER_MARK)
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
    """Yield (number of the first line, lines) for some lines at a time, stripped of blanks.

    Blocks of blank lines are left out.
    """
    number, rest, at_end = 1, b"", False
    while not at_end:
        chunk = content.read_some(files.CHUNK)
        at_end = not chunk
        complete, line_feed, tail = chunk.rpartition(b"\n")
        block, rest = (rest + complete + line_feed, tail) if line_feed else (b"", rest + tail)
        if at_end:
            block, rest = rest, b""
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(
                f"{content.path} has a line of more than {MAX_LINE_BYTES:,} bytes, expected lines "
                f"of label,pixel,pixel,..."
            )
        if block.isspace():  # splitting a gigabyte of blank lines would take minutes
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
        raise _parse_error(lines, first, width, path) from None
    labels, images = block[:, 0], block[:, 1:]
    if (
        block.shape[1] != width or labels.min() < 0 or labels.max() >= MAX_CLASSES
        or images.min() < 0 or images.max() > 255
    ):  # fmt: skip
        raise _parse_error(lines, first, width, path)
    return block


def _parse_error(lines, first, width, path):
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
                f"pixels, as in the first line of numbers"
            )
        for column, cell in enumerate(cells, 1):
            kind, maximum = ("a pixel", 255) if column > 1 else ("a label", MAX_CLASSES - 1)
            if not _INTEGER.fullmatch(cell) or int(cell) > maximum:
                return ValueError(
                    f"{where}, column {column} is {messages.shorten(cell, 40)!r}, expected {kind}, "
                    f"an integer 0..{maximum}"
                )
    return ValueError(f"{path}: lines from {first} on are not label,pixel,pixel,...")
