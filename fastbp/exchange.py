"""Networks to and from the forms of other libraries: ONNX, safetensors, PyTorch, scikit-learn.

Each library is imported by the call that needs it. What a form has no place for is refused.
"""

from fastbp.converters.onnx_files import to_onnx
from fastbp.converters.safetensors_files import load_safetensors, save_safetensors
from fastbp.converters.sklearn_models import from_sklearn
from fastbp.converters.torch_modules import from_torch, to_torch

__all__ = [
    "from_sklearn",
    "from_torch",
    "load_safetensors",
    "save_safetensors",
    "to_onnx",
    "to_torch",
]
