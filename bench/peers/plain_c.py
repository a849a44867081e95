"""Plain C, trainer.c: compiled here, once for each dtype, and called by ctypes."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.peers.base import Peer


class PlainC(Peer):
    """trainer.c, what a C programmer writes in an afternoon."""

    name = "plain C"

    @classmethod
    def missing(cls):
        return "" if shutil.which("gcc") or shutil.which("cc") else "install gcc or another cc"

    def load(self):
        super().load()
        self.library = _compiled_trainer(self.workload.dtype)

    def train(self, orders):
        sizes, pointer = self.workload.sizes, ctypes.c_void_p
        w, b = (
            (pointer * len(part))(*(a.ctypes.data for a in part))
            for part in (self.weights, self.biases)
        )
        X, Y = pointer(self.X.ctypes.data), pointer(self.Y.ctypes.data)
        for order in orders:
            order = order.astype(ctypes.c_long, copy=False)
            failed = self.library.train(
                len(sizes), (ctypes.c_int * len(sizes))(*sizes), w, b, X, Y,
                pointer(order.ctypes.data), ctypes.c_long(len(order)), self.workload.m,
                ctypes.c_double(self.workload.eta),
            )  # fmt: skip
            if failed:
                raise MemoryError("trainer.c: no memory")


@functools.cache
def _compiled_trainer(dtype):
    """Return trainer.c compiled for one dtype. The library outlives its file."""
    real = {"float64": "double", "float32": "float"}[dtype]
    compiler = shutil.which("gcc") or shutil.which("cc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"trainer_{real}.so"
        options = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", f"-Dreal={real}"]
        source = Path(__file__).with_name("trainer.c")
        subprocess.run([compiler, *options, source, "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))
