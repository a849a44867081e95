"""Networks to and from PyTorch: nn.Sequential modules of Linear layers and activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp.converters.contents import Layer, contents_of, network2_of, require
from fastbp.data import arguments, messages
from fastbp.network2 import Network
from fastbp.training.base import CompiledNetwork
from fastbp.typing import Cost

# For each activation its module in torch.nn; a linear layer has none.
MODULES = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "softmax": "Softmax"}
IGNORED = "Identity", "Flatten", "Dropout"  # where they change nothing: see _check_ignored
HOOKS = "_forward_hooks", "_forward_pre_hooks"


def to_torch(net: CompiledNetwork) -> Any:
    """Return a network as a module of PyTorch.

    Parameters
    ----------
    net : fastbp.network.Network or fastbp.network2.Network
        It does not change, and shares no memory with the module.

    Returns
    -------
    torch.nn.Sequential
        Linear layers, each followed by its Sigmoid, Tanh, ReLU or Softmax, if it has one; in the
        network's dtype, on the CPU. It takes rows: ``module(torch.from_numpy(X))`` is
        ``net.feedforward(X.T).T`` within rounding.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError, ValueError
        If net is no network, if its feedforward or its module's sigmoid is overridden, or if
        weights or biases do not fit sizes or are not finite.

    Notes
    -----
    A module has no cost, so networks with a cost of your own can be converted, too. No random
    numbers are drawn.
    """
    contents = contents_of(net, "a module of PyTorch")
    torch = require("torch", "to_torch", "torch")
    modules = []
    for w, b, activation in zip(contents.weights, contents.biases, contents.activations):
        n_out, n_in = w.shape
        weight, bias = torch.from_numpy(w), torch.from_numpy(b.ravel())
        linear = torch.nn.utils.skip_init(
            torch.nn.Linear, n_in, n_out, device="cpu", dtype=weight.dtype
        )
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        modules.append(linear)
        if activation in MODULES:
            how = {"dim": -1} if activation == "softmax" else {}
            modules.append(getattr(torch.nn, MODULES[activation])(**how))
    return torch.nn.Sequential(*modules)


def from_torch(
    module_or_state_dict: Any, activations: list[str] | tuple[str, ...] | None = None,
    cost: type[Cost] | Cost | None = None, dtype: DTypeLike | None = None,
) -> Network:  # fmt: skip
    """Return the network that a module of PyTorch is.

    Parameters
    ----------
    module_or_state_dict : torch.nn.Sequential or dict
        Of Linear layers (one without bias has biases of 0), each followed by Sigmoid, Tanh, ReLU,
        or at the end Softmax, or by nothing: then it is linear. Sequentials may be nested.
        Identity, Flatten of all axes but the first, and Dropout in evaluation mode are left out.
        Or the state_dict of a module that has parameters in Linear layers only, in the order of the
        layers. It does not change, and shares no memory with the network.
    activations : list of str, optional
        A name for each Linear layer: "sigmoid", "tanh", "relu" or "linear", for the last one also
        "softmax". Needed with a state_dict. With a module it has to agree with what is there; but a
        last layer without activation may get one, such as the "softmax" that
        `torch.nn.CrossEntropyLoss` computes itself.
    cost : class or instance, optional
        As for `fastbp.network2.Network`. None: `LogLikelihoodCost` for a softmax output,
        `CrossEntropyCost` for sigmoid, else `QuadraticCost`.
    dtype : numpy.float64 or numpy.float32, optional
        None for that of the parameters.

    Returns
    -------
    fastbp.network2.Network
        Of chapter 3 always: with sigmoid neurons and `QuadraticCost` it is chapter 1's network.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError, ValueError
        For other modules, subclasses of these that may compute something else, modules with hooks,
        and for parameters that do not fit each other or are not finite.
    """
    torch = require("torch", "from_torch", "torch")
    given = module_or_state_dict
    if isinstance(given, Mapping):
        tensors = _tensors_in(torch, given)
        found = None
    else:
        tensors, found = _scan(torch, given)
    if not tensors:
        raise ValueError(f"{messages.describe(given)} holds no Linear layer, expected at least one")
    names = _choose_activations(activations, found, len(tensors))
    dtype = _choose_dtype(torch, tensors, dtype)
    layers = []
    for w_name, w, b_name, b in tensors:
        w = _array_of(torch, w)
        b = np.zeros(len(w), dtype) if b is None else _array_of(torch, b)
        layers.append(Layer(w_name, w, b_name, b))
    return network2_of(layers, names, cost, dtype)


def _choose_activations(given, found, n_layers):
    """Return the list of activations, or raise.

    given: the argument; found: those of the module, or None for a state_dict.
    """
    if given is None:
        if found is None:
            raise ValueError(
                f"a state_dict does not say which activations its {n_layers} layers have; pass "
                f"activations=[...], a name for each"
            )
        return found
    if not isinstance(given, (list, tuple)) or len(given) != n_layers:
        raise ValueError(
            f"activations is {messages.describe(given)}, expected a list of {n_layers}: a name for "
            f"each Linear layer"
        )
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"activations holds {messages.describe(name)}, expected names")
    given = list(given)
    agrees = found is None or (given[:-1] == found[:-1] and found[-1] in ("linear", given[-1]))
    if not agrees:
        raise ValueError(f"activations is {given}, but the module has {found}; leave them out")
    return given


def _choose_dtype(torch, tensors, dtype):
    """Return the dtype of the network: the argument, or that which all tensors have, or raise."""
    if dtype is not None:
        return arguments.check_dtype(dtype)
    seen = {tensor.dtype for _, w, _, b in tensors for tensor in (w, b) if tensor is not None}
    if len(seen) > 1 or not seen <= {torch.float64, torch.float32}:
        raise ValueError(
            f"parameters have dtype {' and '.join(sorted(map(str, seen)))}, expected torch.float64 "
            f"or torch.float32 for all; pass dtype=numpy.float32 or numpy.float64 to convert them"
        )
    return arguments.check_dtype(str(seen.pop()).removeprefix("torch."))


def _array_of(torch, tensor):
    """Return the numbers of a checked tensor as an array, which may share its memory."""
    tensor = tensor.detach().cpu()
    if tensor.dtype not in (torch.float64, torch.float32):
        tensor = tensor.to(torch.float32)  # of 16 bits or fewer: NumPy does not have them all
    return tensor.numpy()


def _check_tensor(torch, tensor, name, ndim):
    """Return a tensor that holds real numbers in so many axes, or raise."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is {messages.describe(tensor)}, expected a tensor")
    if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
        raise ValueError(
            f"{name} is a tensor of {tensor.dtype}, {tensor.layout} on {tensor.device}, expected "
            f"dense floating-point numbers"
        )
    if tensor.ndim != ndim:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected {ndim} axes, as in a Linear layer"
        )
    return tensor


# ------------------------------------------------ modules


def _scan(torch, module):
    """Return ([(w name, w, b name, b or None), ...], activations) of a module, or raise."""
    tensors, activations = [], []
    kinds = {getattr(torch.nn, cls): name for name, cls in MODULES.items()}
    for name, leaf in _leaves(torch, module, "module"):
        kind = type(leaf)
        if kind is torch.nn.Linear:
            if activations and activations[-1] == "softmax":
                raise ValueError(f"{name} is a Linear after Softmax, expected Softmax at the end")
            w = _check_tensor(torch, leaf.weight, f"{name}.weight", 2)
            b = leaf.bias
            if b is not None:
                _check_tensor(torch, b, f"{name}.bias", 1)
            tensors.append((f"{name}.weight", w, f"{name}.bias", b))
            activations.append("linear")
        elif kind in kinds:
            if not activations or activations[-1] != "linear":
                raise ValueError(f"{name} is a {kind.__name__}, expected a Linear before it")
            if kind is torch.nn.Softmax and leaf.dim not in (1, -1, None):
                raise ValueError(f"{name} is a Softmax over axis {leaf.dim}, expected 1 or -1")
            activations[-1] = kinds[kind]
        else:
            _check_ignored(torch, leaf, name)
    return tensors, activations


def _leaves(torch, module, name):
    """Yield (name, module) for what nested Sequentials consist of, in order; or raise."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"{name} is {messages.describe(module)}, expected a torch.nn.Sequential or a state_dict"
        )
    cls, known = type(module), ("Linear", *MODULES.values(), *IGNORED)
    # A subclass of Sequential may have a constructor of its own, nothing else.
    nested = isinstance(module, torch.nn.Sequential) and cls.forward is torch.nn.Sequential.forward
    if not nested and cls not in [getattr(torch.nn, kind) for kind in known]:
        raise ValueError(
            f"{name} is a {cls.__name__}, expected one of Sequential, {', '.join(known)}; a module "
            f"with a forward of its own that has only Linear layers: pass module.state_dict() and "
            f"activations=[...]"
        )
    if any(getattr(module, hooks, None) for hooks in HOOKS):
        raise ValueError(
            f"{name} has forward hooks, which may change what it computes; remove them"
        )
    if "forward" in vars(module):
        raise ValueError(f"{name} has a forward of its own, expected that of its class")
    if nested:
        for i, child in enumerate(module):
            yield from _leaves(torch, child, f"{name}[{i}]")
    else:
        yield name, module


def _check_ignored(torch, module, name):
    """Raise ValueError unless an Identity, Flatten or Dropout returns rows as they are."""
    cls = type(module)
    if cls is torch.nn.Flatten and (module.start_dim, module.end_dim) != (1, -1):
        axes = (module.start_dim, module.end_dim)
        raise ValueError(f"{name} is a Flatten of axes {axes}, expected (1, -1)")
    if cls is torch.nn.Dropout and module.training and module.p:
        raise ValueError(f"{name} is a Dropout in training mode; call module.eval() first")


# ------------------------------------------------ state_dicts


def _tensors_in(torch, state_dict):
    """Return [(w name, w, b name, b or None), ...] of a state_dict, or raise."""
    layers = {}
    for key, tensor in state_dict.items():
        name = f"state_dict[{messages.shorten(repr(key), 60)}]"
        prefix, _, part = key.rpartition(".") if isinstance(key, str) else ("", "", "")
        if part not in ("weight", "bias"):
            raise ValueError(
                f"{name} belongs to no Linear layer, expected names that end in weight or bias"
            )
        _check_tensor(torch, tensor, name, 2 if part == "weight" else 1)
        layers.setdefault(prefix, {})[part] = name, tensor
    for prefix, layer in layers.items():
        if "weight" not in layer:
            raise ValueError(
                f"{layer['bias'][0]} has no weight beside it, expected {prefix}.weight"
            )
    return [(*layer["weight"], *layer.get("bias", ("", None))) for layer in layers.values()]
