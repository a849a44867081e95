"""Where MNIST is looked for when no path is given: each place in turn, and what was found there.

Invariant: the first place that is named or exists is used; what is wrong with it is an error.
"""

import os
from typing import NamedTuple

from fastbp.data import download
from fastbp.data.readers import find

BOOKS_PATHS = "mnist.pkl.gz", "../data/mnist.pkl.gz"


class Location(NamedTuple):
    """A place that was looked at."""

    name: str
    path: str | os.PathLike | None  # None: it has none
    is_used: bool
    reason: str


def look():
    """Yield the Location of each place in turn; the last one is used, or nothing was found.

    A place is looked at when it is asked for: the cache, whose files are read, only if nothing is
    found before it.
    """
    path = os.environ.get("FASTBP_DATA")
    yield Location(
        "environment variable FASTBP_DATA", path or None, bool(path), "set" if path else "not set"
    )
    if path:
        return
    for path in BOOKS_PATHS:
        is_there = os.path.isfile(path)
        yield Location("the book's path", path, is_there, "found" if is_there else "no such file")
        if is_there:
            return
    folder = download.cache_folder()
    is_there = folder.exists()
    is_complete = is_there and find.is_complete(folder)
    seen = "found" if is_complete else "not all four files" if is_there else "no such folder"
    yield Location("the user's cache", folder, is_complete, seen)
