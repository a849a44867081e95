"""The header line of a csv file: whether there is one, and whether it names the label first.

Invariant: a header that contradicts `label,pixel,pixel,...` is an error, never ignored.
"""

import re

from fastbp.data import messages

BYTE_ORDER_MARK = "\xef\xbb\xbf"  # of UTF-8, read as Latin-1
_LABEL = re.compile(
    r"(.*[ _.-])?(label|class|target|digit|category|character|letter)(e?s)?|categories|y"
)
_INDEX = re.compile(r"id|index|image[ _.-]?id")  # in any column
_UNNAMED = re.compile(r"|unnamed: [0-9]+")  # before the label it is an index that pandas wrote
_MAX_NAME = 80  # characters of a name that are compared
_MIN_NUMBERS = 4  # of 0,1,2,...: fewer can be a label and an image of two pixels
_MAX_RANGES = 20  # in a message


def check_header(line, path, number):
    """Return the number of names in a header line, or 0 if the line holds a sample.

    Parameters
    ----------
    line : str
        The first line of the file that is not blank.
    path : path
    number : int
        The number of the line in the file, counted from 1.

    Raises
    ------
    ValueError
        It is a header that contradicts `label,pixel,pixel,...`, or it is 0,1,2,...,n, which may be
        either.
    """
    cells = line.removeprefix(BYTE_ORDER_MARK).split(",")
    names = [cell.strip(" \t\"'#")[:_MAX_NAME].lower() for cell in cells]
    if len(names) < 2:
        return 0
    where = f"{path}, line {number}"
    labels = [column for column, name in enumerate(names) if _LABEL.fullmatch(name)]
    if labels:
        _check_order(names, labels, path, number)
        return len(names)
    if not names[0] or names[0][0].isalpha():
        seen = messages.shorten(names[0], 40)
        advice = "if the first column holds the labels, write label as its name"
        if _UNNAMED.fullmatch(names[0]):
            advice = "pandas writes its index so: use to_csv(path, index=False)"
        raise ValueError(
            f"{where}: the header begins with {seen!r} and names no column "
            f"as the label, expected label,pixel,pixel,...; {advice}. A file without labels, as "
            f"Kaggle's test.csv, can be used neither for training nor for testing: pass the path "
            f"of the file that has labels instead of the folder, to use it alone"
        )
    if len(names) >= _MIN_NUMBERS and names == [str(k) for k in range(len(names))]:
        raise ValueError(
            f"{where} is 0,1,2,...,{len(names) - 1}: a header of column numbers, as pandas writes "
            f"it? If so, and if the first column holds the labels, delete the line, or write the "
            f"file by to_csv(path, index=False, header=False). If it is a sample, put the line "
            f"label,pixels before it"
        )
    return 0


def check_width(n_names, width, path):
    """Raise ValueError unless a header of n_names names fits lines of `width` columns.

    A header of two names, `label,pixels`, fits any number of columns.
    """
    if n_names > 2 and n_names != width:
        raise ValueError(
            f"{path}: the header names {n_names} columns, the next line has {width}, expected as "
            f"many; if the lines begin with row names, as R writes them, use write.csv(data, file, "
            f"row.names=FALSE)"
        )


def _check_order(names, labels, path, number):
    """Raise ValueError unless the label is column 0 and all others are pixels."""
    label = labels[0]
    not_pixels = [
        column
        for column, name in enumerate(names)
        if column in labels[1:] or _INDEX.fullmatch(name)
        or (column < label and _UNNAMED.fullmatch(name))
    ]  # fmt: skip
    if label == 0 and not not_pixels:
        return
    seen = f"column {label + 1}, {messages.shorten(names[label], 40)!r}, as the label"
    if not_pixels:
        others = ", ".join(
            f"column {column + 1}, {messages.shorten(names[column], 40)!r}"
            for column in not_pixels[:3]
        )
        seen += f", and {others}{', ...' * (len(not_pixels) > 3)}, which holds no pixels"
    raise ValueError(
        f"{path}, line {number}: the header names {seen}; expected label,pixel,pixel,...; "
        f"{_reorder_advice(len(names), label, not_pixels, path, number)}"
    )


def _reorder_advice(n, label, not_pixels, path, number):
    """Return advice: an expression that writes the file with the label first, then the pixels."""
    ranges, start = [], 0
    for stop in sorted({label, *not_pixels, n}):
        if stop > start:
            ranges.append(f"*range({start}, {stop})")
        start = stop + 1
    if len(ranges) > _MAX_RANGES:
        return "write its columns in this order to another file, without those that are no pixels"
    columns = ", ".join([str(label), *ranges])
    return (
        f"to write it in this order to another file: "
        f"numpy.savetxt({'label_first_' + path.name!r}, numpy.loadtxt({str(path)!r}, int, "
        f'delimiter=",", skiprows={number})[:, [{columns}]], "%d", ",")'
    )
