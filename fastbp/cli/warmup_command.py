"""fastbp warmup: compile everything that training and evaluating call."""

import time

import numpy as np

from fastbp import network
from fastbp.cli.console import log
from fastbp.kernels.cache import uncached
from fastbp.training.compute import deform_calls, engine
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.rules import Rules
from fastbp.training.epoch_data.deformation import Deformation


def warm_up(options):
    """Compile for both dtypes, into the cache that later processes read."""
    if uncached:
        raise OSError("compiled code cannot be stored: set NUMBA_CACHE_DIR to a writable folder")
    start = time.perf_counter()
    plan = plan_of((784, 30, 10))
    for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        log(f"compiling: training in {dtype} ...")
        engine.warm_up(plan, dtype, everything=True)
        log(f"compiling: training with momentum, dropout and so on in {dtype} ...")
        engine.warm_up(plan, dtype, Rules(momentum=0.5), everything=True)
        log(f"compiling: single steps and single images in {dtype} ...")
        net = network.Network([784, 30, 10], dtype=dtype)
        few = np.zeros((10, 784), np.float32), np.zeros(10, int)
        net.update_mini_batch(few, 1.0)
        net.evaluate(few)
        net.feedforward(np.zeros((784, 1)))
        net.backprop(np.zeros((784, 1)), np.zeros((10, 1)))
    log("compiling: deformations ...")
    deform_calls.warm_up(Deformation())
    print(f"everything is compiled, after {time.perf_counter() - start:.1f} s")


def add_options(parser):
    """Add the options of fastbp warmup: none."""
