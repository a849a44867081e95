"""fastbp: the Network class of the book "Neural Networks and Deep Learning", compiled."""

from fastbp.data.pixels import Pixels
from fastbp.history import History
from fastbp.mnist_loader import load_data_wrapper
from fastbp.network import Network
from fastbp.training.gradcheck import gradient_check

__version__ = "0.1.0"
__all__ = ["History", "Network", "Pixels", "__version__", "gradient_check", "load_data_wrapper"]
