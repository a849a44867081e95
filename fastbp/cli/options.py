"""Options that several commands have, and how texts are read as values."""

import argparse

from fastbp import schedules

DATA_HELP = (
    "auto: MNIST from FASTBP_DATA, ./mnist.pkl.gz, ../data, the cache or a download, else the "
    "synthetic digits; synthetic; or a folder or file (default: auto)"
)


def parse_sizes(text):
    """Return the list of ints in a text such as 784,30,10."""
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 784,30,10") from None


def parse_interval(text):
    """Return seconds, a float, for a text such as 30s; epochs, an int, for one such as 5."""
    try:
        return float(text[:-1]) if text.endswith("s") else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 30s or 5") from None


def parse_pair(text):
    """Return the two floats in a text such as 36,5."""
    try:
        first, second = text.split(",")
        return float(first), float(second)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 36,5") from None


def parse_rates(text):
    """Return the float in a text such as 0.5, or the list of those in one such as 0.1,0.5."""
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected e.g. 0.5, or 0.1,0.5") from None
    return rates if len(rates) > 1 else rates[0]


def parse_schedule(text):
    """Return the schedule that a text such as linear or step:10,0.5 names; "halve" as it is."""
    if text == "halve":
        return text
    try:
        return schedules.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or halve") from None


def add_data(add):
    """Add --data and --transpose to a command."""
    add("--data", default="auto", metavar="auto|synthetic|PATH", help=DATA_HELP)
    add_transpose(add)


def add_transpose(add):
    add("--transpose", action="store_true",
        help="exchange rows and columns of each image, as EMNIST needs it")  # fmt: skip


def add_model(add):
    add("model", metavar="MODEL", help="a file written by train --save")


def add_dtype(add):
    add("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)")


def add_threads(add):
    add("--threads", type=int, metavar="N", help="at most N threads (default: all)")
