"""The programs that are compared, each at its best, one module per library; PEERS names them all.

All do the same mathematics from the same initial weights in the same order of samples, with their
data in memory in the form that they like best; scikit-learn alone has another cost, and says so.
"""

from bench.peers.fastbp_sgd import Fastbp
from bench.peers.jax_scan import JaxScan
from bench.peers.numpy_peers import BookOracle, MatrixNumPy
from bench.peers.plain_c import PlainC
from bench.peers.pytorch import TorchAutograd, TorchByHand
from bench.peers.scikit_learn import ScikitLearn

PEERS = {
    peer.name: peer
    for peer in (
        BookOracle, MatrixNumPy, TorchAutograd, TorchByHand, JaxScan, ScikitLearn, PlainC, Fastbp,
    )
}  # fmt: skip
WITHOUT_PACKAGES = ("oracle", "matrix NumPy", "fastbp")
