"""What the scripts of a report's page read: the network, example images and mistakes, as JSON."""

import base64
import json

import numpy as np

from fastbp.data import containers, predictions
from fastbp.report import centring, figures

N_INPUTS = centring.SIDE**2
MOST_OUTPUTS = 27  # EMNIST's letters have the labels 1..26: 27 outputs, of which one is not used
MOST_PARAMETERS = 5_000_000  # in the page: 27 MB
MOST_WEIGHT = float(np.finfo(np.float32).max)
N_MISTAKES, N_PICTURES = 24, 100


def why_not_drawn(contents):
    """Return why the page cannot run this network on drawings, a sentence; None if it can."""
    n_in, n_out, n_params = contents.sizes[0], contents.sizes[-1], n_params_of(contents)
    if n_in != N_INPUTS:
        return (
            f"The network has {n_in:,} inputs. This section is for networks that read images of "
            f"{centring.SIDE} x {centring.SIDE} pixels."
        )
    if n_out > MOST_OUTPUTS:
        return f"The network has {n_out:,} outputs. This section shows {MOST_OUTPUTS} at most."
    if n_params > MOST_PARAMETERS:
        return (
            f"The network has {n_params:,} weights and biases. A page holds {MOST_PARAMETERS:,} at "
            "most."
        )
    if contents.cost is None:
        return "The network has a cost of its own, which the page cannot compute."
    if (
        max(float(np.abs(array).max()) for array in contents.weights + contents.biases)
        > MOST_WEIGHT
    ):
        return f"The network has weights beyond {MOST_WEIGHT:.2g}, which the page holds as float32."
    return None


def n_params_of(contents):
    """Return how many weights and biases a network has."""
    return sum(w.size + b.size for w, b in zip(contents.weights, contents.biases))


def content_of(contents, results):
    """Return the content of the page, JSON that can stand within a <script> element."""
    content = {"network": None, "examples": [], "mistakes": []}
    if why_not_drawn(contents) is None:
        content["centring"] = dict(side=centring.SIDE, box=centring.BOX, ink=centring.INK)
        content["pictures"] = N_PICTURES
        content["network"] = _network(contents)
    if contents.sizes[0] == N_INPUTS and results.labels is not None:
        wrong = figures.confident_mistakes(
            results.labels, results.predicted, results.confidence, N_MISTAKES
        )
        examples = figures.first_of_each_class(results.labels, results.classes[:MOST_OUTPUTS])
        content["mistakes"] = [_image(results, i) for i in wrong]
        content["examples"] = [_image(results, i) for i in examples]
    return json.dumps(content).replace("<", "\\u003c")


def _network(contents):
    """Return what network.js reads; targets: the two y of one output neuron."""
    arrays = [array for pair in zip(contents.weights, contents.biases) for array in pair]
    flat = np.concatenate([array.ravel() for array in arrays]).astype("<f4")
    low, high, _ = predictions.BINARY_LABELS.get(contents.activations[-1], (0, 1, 0.5))
    return {
        "sizes": contents.sizes,
        "activations": contents.activations,
        "cost": contents.cost,
        "targets": [low, high],
        "parameters": _as_base64(flat),
    }


def _image(results, i):
    """Return a test image as page.js reads it: a byte for each pixel, in units of 1/256."""
    values = containers.as_values(results.X[i : i + 1], np.dtype(np.float64))
    pixels = np.clip(np.rint(values * 256), 0, 255).astype(np.uint8)
    return {
        "label": int(results.labels[i]),
        "predicted": int(results.predicted[i]),
        "pixels": _as_base64(pixels),
    }


def _as_base64(array):
    return base64.b64encode(array.tobytes()).decode()
