"""The data sets that the options --data and --transpose name."""

from fastbp import mnist_loader
from fastbp.cli.console import say
from fastbp.data import arguments


def read_data(choice, transpose):
    """Return (training, validation, test, name) for the --data and --transpose options."""
    if choice == "synthetic":
        return _synthetic()
    path, name = (None, "MNIST") if choice == "auto" else (choice, choice)
    try:
        return *_as_pixels_if_exact(path, transpose), name
    except mnist_loader.DataNotFoundError as error:
        reason = arguments.one_line(error).partition("; give load_data")[0]
        say(f"using the built-in synthetic digits: {reason}; to use your own, --data PATH")
        return _synthetic()


def _as_pixels_if_exact(path, transpose):
    """Return load_data's sets with the images as Pixels; as floats where these are no 256ths."""
    try:
        return mnist_loader.load_data(path, pixels=True, transpose=transpose)
    except ValueError as error:
        if "pixels=True" not in str(error):
            raise
        return mnist_loader.load_data(path, transpose=transpose)


def _synthetic():
    say("drawing 70,000 digits ...")
    return *mnist_loader.synthetic(pixels=True), "synthetic digits"
