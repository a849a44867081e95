"""Networks as ONNX models: a Gemm and an activation for each layer."""

from __future__ import annotations

import fastbp
from fastbp.converters.contents import contents_of, require
from fastbp.data import files
from fastbp.training.base import CompiledNetwork
from fastbp.typing import Path

# The oldest that have all that is needed, in float64 too: any runtime since 2020 can read them.
OPSET, IR_VERSION = 13, 7
MAX_BYTES = (1 << 31) - (1 << 20)  # of weights: protobuf can't hold messages of 2 GiB
OPERATORS = {
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("Relu", {}),
    "linear": ("Identity", {}),
    "softmax": ("Softmax", {"axis": 1}),
}


def to_onnx(net: CompiledNetwork, path: Path) -> None:
    """Write a network to an ONNX file, for onnxruntime and others.

    Parameters
    ----------
    net : fastbp.network.Network or fastbp.network2.Network
        It does not change.
    path : path
        The file appears whole or not at all.

    Raises
    ------
    ImportError
        If onnx is not installed: ``pip install 'fastbp[exchange]'``.
    OSError
        If the file cannot be written.
    TypeError, ValueError
        If net is no network, if its feedforward or its module's sigmoid is overridden, if weights
        or biases do not fit sizes or are not finite, or if they are larger than ONNX allows, 2 GiB.

    Notes
    -----
    The model is in the network's dtype. Its input ``x`` is ``(batch, n_in)``, rows are samples,
    for any number of them; its output ``output`` is ``(batch, n_out)``, the transposed of what
    `feedforward` returns. The cost is no part of a model that computes outputs only, so networks
    with a cost of your own can be written, too. Opset 13, IR version 7.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from fastbp import exchange, network
    >>> net = network.Network([784, 30, 10], dtype=np.float32)
    >>> exchange.to_onnx(net, "net.onnx")
    >>> session = onnxruntime.InferenceSession("net.onnx")
    >>> X = np.zeros((5, 784), np.float32)
    >>> (outputs,) = session.run(None, {"x": X})
    >>> np.allclose(outputs, net.feedforward(X.T).T)
    True
    """
    contents = contents_of(net, "an ONNX file")
    n_bytes = sum(array.nbytes for array in (*contents.weights, *contents.biases))
    if n_bytes > MAX_BYTES:
        raise ValueError(
            f"weights and biases are {n_bytes:,} bytes, expected at most {MAX_BYTES:,} in an ONNX "
            f"file; use save_safetensors"
        )
    onnx = require("onnx", "to_onnx", "onnx")
    content = _model_of(onnx, contents).SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    with files.write_atomically(path) as file:
        file.write(content)


def _model_of(onnx, contents):
    """Return the ModelProto of a network's Contents."""
    helper = onnx.helper
    element_type = helper.np_dtype_to_tensor_dtype(contents.dtype)
    nodes, initializers, source, n_layers = [], [], "x", len(contents.weights)
    for l, (w, b, activation) in enumerate(
        zip(contents.weights, contents.biases, contents.activations)
    ):
        inputs = [source, f"weights_{l}", f"biases_{l}"]
        for name, array in zip(inputs[1:], (w, b.ravel())):
            initializers.append(onnx.numpy_helper.from_array(array, name))
        nodes.append(helper.make_node("Gemm", inputs, [f"z_{l}"], f"gemm_{l}", transB=1))
        operator, attributes = OPERATORS[activation]
        source = "output" if l == n_layers - 1 else f"a_{l}"
        nodes.append(
            helper.make_node(operator, [f"z_{l}"], [source], f"activation_{l}", **attributes)
        )
    n_in, n_out = contents.sizes[0], contents.sizes[-1]
    graph = helper.make_graph(
        nodes,
        "fastbp",
        [helper.make_tensor_value_info("x", element_type, ["batch", n_in])],
        [helper.make_tensor_value_info("output", element_type, ["batch", n_out])],
        initializers,
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastbp",
        producer_version=fastbp.__version__,
    )
