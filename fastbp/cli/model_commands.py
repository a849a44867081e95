"""fastbp evaluate and fastbp predict: what a saved network answers."""

import math
import os

import numpy as np

from fastbp import network, network2
from fastbp.cli.console import say
from fastbp.cli.data_options import read_data
from fastbp.data import answers, files, npz


def evaluate(options):
    _, right_answers = _load(options.model, options.threads)
    *_, test, name = read_data(options.data, options.transpose)
    count, n = right_answers(test), len(test[1])
    print(f"{options.model}: {count} / {n} ({count / n:.2%}) of the test images of {name}")


def predict(options):
    net, _ = _load(options.model)
    for path in options.images:
        output = net.feedforward(read_image(path, net.sizes[0]))
        print(f"{path}: {_answer(output, net)}")


def _load(path, threads=None):
    """Return the network in a file, of chapter 1 (.npz) or 3 (JSON), and how it counts."""
    with open(path, "rb") as file:
        is_json = file.read(1) in (b"{", b"[", b" ", b"\n")
    if is_json:
        net = network2.load(path, threads=threads)
        return net, net.accuracy
    net = network.load(path, threads=threads)
    return net, net.evaluate


def _answer(output, net):
    """Return what predict prints of an output column (n_out, 1)."""
    activation = net.activations[-1] if isinstance(net, network2.Network) else network.OUTPUT
    if len(output) == 1 and activation not in answers.OF_ONE_NEURON:
        return f"{output[0, 0]:.6g}"
    answer = answers.answer(output, activation)
    return f"{answer} (output {output[answer if len(output) > 1 else 0, 0]:.3f})"


def read_image(path, n_in):
    """Return the pixels in a .npy file as a column (n_in, 1) of values 0..1.

    They may be values 0..1 or 0..255 of any type, which is told from the largest; where the type
    does not say the same, a line on standard error does.
    """
    try:
        with open(path, "rb") as file:
            length = os.path.getsize(path)
            shape, dtype, *_ = npz.npy_header(file, length)
            if math.prod(shape) == n_in and dtype.kind in "fiub":  # else it is not even read
                file.seek(0)
                image = npz.read_npy(file, length)
            else:
                image = None
    except ValueError as error:
        reason = files.brief(error, 300)
        raise ValueError(
            f"{path} is not an .npy file of numbers: {reason}; predict reads one image of {n_in} "
            f"numbers, as written by numpy.save('image.npy', image)"
        ) from None
    if image is None:
        raise ValueError(
            f"{path} has shape {files.brief(shape)} and dtype {dtype}, expected {n_in} numbers, "
            f"one image"
        )
    image = image.reshape(n_in, 1)
    with np.errstate(invalid="ignore"):  # some NaNs make NumPy warn
        least, greatest = image.min(), image.max()
    if not (least >= 0 and greatest <= 255):
        raise ValueError(
            f"{path} has values from {least} to {greatest}, expected 0..1 or 0..255, white ink on "
            f"black"
        )
    is_float = image.dtype.kind == "f"
    if greatest <= 1 or (is_float and greatest < 2):  # resizing may go a little beyond 1
        if greatest > 1 or (image.dtype.kind in "iu" and greatest == 1):
            say(f"{path}: its largest value is {greatest:.9g}, so its numbers are read as 0..1")
        return image.astype(np.float64)
    if is_float:
        say(f"{path}: its largest value is {greatest:.9g}, so its numbers are read as 0..255")
    return image.astype(np.float64) / 256  # the scale of the training images
