"""fastbp evaluate and fastbp predict: accuracy and predictions of a saved network."""

import math
import os

import numpy as np

from fastbp import network, network2
from fastbp.cli.console import log
from fastbp.cli.data_options import read_data
from fastbp.cli.options import add_data, add_model, add_threads
from fastbp.cli.outputs import check_outputs
from fastbp.data import messages, npz, predictions
from fastbp.report import photo, photo_sheet, picture_files


def evaluate(options):
    """Print how many test images a saved network classifies correctly."""
    _, count_correct = load_model(options.model, options.threads)
    *_, test, name = read_data(options.data, options.transpose)
    count, n = count_correct(test), len(test[1])
    print(f"{options.model}: {count} / {n} ({count / n:.2%}) of the test images of {name}")


def predict(options):
    """Print a saved network's prediction for each image; of photos all outputs."""
    net, _ = load_model(options.model)
    if options.show is not None:
        _check_takes_photos(net, "--show")
        check_outputs(options)
    pairs = []
    for path in options.images:
        picture, x, describe = _read(path, net)
        print(f"{path}: {describe(net.feedforward(x), net)}")
        pairs.append((picture, x))
    if options.show is not None:
        photo_sheet.write_contact_sheet(options.show, pairs)


def _read(path, net):
    """Return (the picture of a photo or None, the input x of a file, what describes outputs)."""
    if _is_npy(path):
        return None, read_image(path, net.sizes[0]), _describe_output
    _check_takes_photos(net, path)
    picture = picture_files.read_picture(path, photo.WORKING_SIDE)
    return picture, photo.as_input(photo.find_digit(picture, path)), _describe_all


def _is_npy(path):
    """Return whether a file is NumPy's, by its name or its first bytes."""
    if os.path.splitext(path)[1].lower() == ".npy":
        return True
    with open(path, "rb") as file:
        return file.read(6) == b"\x93NUMPY"


def _check_takes_photos(net, name):
    """Raise ValueError unless the network takes images of 28 x 28 pixels."""
    n_in, n = net.sizes[0], photo.SIDE**2
    if n_in != n:
        raise ValueError(
            f"{name}: the network has {n_in} inputs, expected {n}: photos are made into images of "
            f"28 x 28 pixels; train a network on MNIST, or give .npy files of {n_in} numbers"
        )


def load_model(path, threads=None):
    """Return the network in a file, of chapter 1 (.npz) or 3 (JSON), and its counting method."""
    with open(path, "rb") as file:
        is_json = file.read(1) in (b"{", b"[", b" ", b"\n")
    if is_json:
        net = network2.load(path, threads=threads)
        return net, net.accuracy
    net = network.load(path, threads=threads)
    return net, net.evaluate


def _describe_output(output, net):
    """Return what predict prints for an output column (n_out, 1)."""
    activation = _output_activation(net)
    if len(output) == 1 and activation not in predictions.BINARY_LABELS:
        return f"{output[0, 0]:.6g}"
    label = predictions.predict_label(output, activation)
    return f"{label} (output {output[label if len(output) > 1 else 0, 0]:.3f})"


def _describe_all(output, net):
    """Return what predict prints for an output column of a photo: all outputs, by label.

    Only those of softmax are probabilities.
    """
    if len(output) == 1:
        return _describe_output(output, net)
    activation = _output_activation(net)
    name = "probabilities" if activation == "softmax" else "outputs"
    values = ", ".join(f"{label}: {value:.3f}" for label, value in enumerate(output[:, 0]))
    return f"{predictions.predict_label(output, activation)} ({name} {values})"


def _output_activation(net):
    return net.activations[-1] if isinstance(net, network2.Network) else network.OUTPUT


def read_image(path, n_in):
    """Return the pixels in a .npy file as a column (n_in, 1), float64, of values 0..1.

    The file may hold values 0..1 or 0..255 of any type: the largest value decides. A line is logged
    where the type suggests the other range. Raises ValueError for any other content.
    """
    image = _read_numbers(path, n_in).reshape(n_in, 1)
    with np.errstate(invalid="ignore"):  # signalling NaNs make NumPy warn
        smallest, largest = image.min(), image.max()
    if not (smallest >= 0 and largest <= 255):
        raise ValueError(
            f"{path} has values from {smallest} to {largest}, expected 0..1 or 0..255, white ink "
            f"on black"
        )
    is_float = image.dtype.kind == "f"
    if largest <= 1 or (is_float and largest < 2):  # resizing by splines may exceed 1 a little
        if largest > 1 or (image.dtype.kind in "iu" and largest == 1):
            log(f"{path}: its largest value is {largest:.9g}, so its numbers are read as 0..1")
        return image.astype(np.float64)
    if is_float:
        log(f"{path}: its largest value is {largest:.9g}, so its numbers are read as 0..255")
    return image.astype(np.float64) / 256  # the scale of the training images


def _read_numbers(path, n):
    """Return the array of n numbers in a .npy file, or raise ValueError."""
    try:
        with open(path, "rb") as file:
            size = os.path.getsize(path)
            shape, dtype, *_ = npz.read_npy_header(file, size)
            if math.prod(shape) == n and dtype.kind in "fiub":
                file.seek(0)
                return npz.read_npy(file, size)
    except ValueError as error:
        reason = messages.shorten(error, 300)
        raise ValueError(
            f"{path} is not an .npy file of numbers: {reason}; predict reads one image of {n} "
            f"numbers, as written by numpy.save('image.npy', image)"
        ) from None
    seen = messages.shorten(shape)
    raise ValueError(f"{path} has shape {seen} and dtype {dtype}, expected {n} numbers, one image")


def add_evaluate_options(parser):
    """Add the options of fastbp evaluate."""
    add_model(parser.add_argument)
    add_data(parser.add_argument)
    add_threads(parser.add_argument)


def add_predict_options(parser):
    """Add the options of fastbp predict."""
    add_model(parser.add_argument)
    parser.add_argument("images", nargs="+", metavar="IMAGE",
        help="a photo of one digit, of any paper and ink, that shows the paper only, without sharp "
        "shadows: PNG, JPEG ... (extra: report); or .npy: 28 x 28 or 784 values, white ink on "
        "black: 0-255 or 0-1, of any type")  # fmt: skip
    parser.add_argument("--show", metavar="seen.png",
        help="draw each photo, beside it what the network saw of it (extra: report)")  # fmt: skip
