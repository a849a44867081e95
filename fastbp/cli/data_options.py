"""The data sets that the options --data and --transpose name."""

from fastbp import mnist_loader
from fastbp.cli.console import log
from fastbp.data import messages


def read_data(choice, transpose):
    """Return (training, validation, test, name) for the options --data and --transpose."""
    if choice == "synthetic":
        return _synthetic()
    path, name = (None, "MNIST") if choice == "auto" else (choice, choice)
    try:
        return *as_pixels_if_exact(path, transpose), name
    except mnist_loader.DataNotFoundError as error:
        reason = messages.one_line(error).partition("; give load_data")[0]
        log(f"using the built-in synthetic digits: {reason}; to use your own, --data PATH")
        return _synthetic()


def as_pixels_if_exact(path, transpose):
    """Return load_data's sets with Pixels, or with floats if these are not integers / 256."""
    try:
        return mnist_loader.load_data(path, pixels=True, transpose=transpose)
    except ValueError as error:
        if "pixels=True" not in str(error):
            raise
        return mnist_loader.load_data(path, transpose=transpose)


def _synthetic():
    """Return (training, validation, test, name) of synthetic digits."""
    log("drawing 70,000 digits ...")
    return *mnist_loader.synthetic(pixels=True), "synthetic digits"
