"""Validation: no peer is timed whose weights are not those of matrix NumPy in float64.

A peer trains on the first mini-batches of the workload that is timed: in the process, on the
images, in the order and by the code that are timed afterwards. Errors are relative to what training
has changed, layer by layer, since weights as large as 1 would hide the error of small steps.
"""

import dataclasses
import functools
import itertools

import numpy as np

from bench import processes
from bench.peers import MatrixNumPy

# Results drift apart exponentially, however small the first difference of rounding. Measured on
# MNIST, relative to what training changed, the most that correct peers differ by:
#   float64   1e-9 after 1,000 steps
#   float32   6e-3 after 500 steps, but 0.3 after 1,000 ([784, 100, 10], eta 3.0)
#   log loss  2e-5 after 10 steps in float32, but 0.6 after 30 ([784, 1024, 1024, 10], eta 0.5)
# A gradient that is wrong by 1 % makes a difference of 1e-2.
STEPS = {"float64": 1000, "float32": 200}
LOG_LOSS_STEPS = 10
RTOL = {"float64": 1e-8, "float32": 5e-3}


def steps_of(workload, n, log_loss=False):
    """Return how many mini-batches are compared, at most an epoch of n images."""
    return min(LOG_LOSS_STEPS if log_loss else STEPS[workload.dtype], n // workload.m)


@functools.lru_cache(maxsize=2)
def reference(workload, n, steps, log_loss):
    """Return (the initial parameters, those after so many steps), lists of float64 arrays."""
    workload = dataclasses.replace(workload, dtype="float64")
    peer = MatrixNumPy(workload, 1, log_loss)
    initial = [p.copy() for p in itertools.chain(*peer.parameters())]
    return initial, list(itertools.chain(*peer.first_steps(n, steps)))


def error_of(trained, workload, n, log_loss=False):
    """Return |p - reference| / |reference - initial|, the largest of all weights and biases.

    trained: (weights, biases) after steps_of(...) mini-batches of an epoch of n images.
    """
    initial, expected = reference(workload, n, steps_of(workload, n, log_loss), log_loss)
    errors = [
        np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - start)
        for ours, theirs, start in zip(itertools.chain(*trained), expected, initial, strict=True)
    ]
    return float(np.max(errors))  # NaN if there is one


def check(trained, workload, n, log_loss=False):
    """Raise ValueError if the weights after the first steps are not the reference's."""
    error, rtol = error_of(trained, workload, n, log_loss), RTOL[workload.dtype]
    if not error <= rtol:
        raise ValueError(
            f"after {steps_of(workload, n, log_loss):,} mini-batches the weights differ from "
            f"float64 NumPy's by {error:.1e} of what training changed; {rtol:.0e} is allowed"
        )


DESCRIPTION = (
    "Before it is timed, each peer trains on the first mini-batches of this workload in the same "
    f"process, {STEPS['float64']:,} in float64, {STEPS['float32']:,} in float32, {LOG_LOSS_STEPS} "
    "with log loss, or an epoch where that is less; its weights must be those of matrix NumPy in "
    f"float64 but for {RTOL['float64']:.0e} or {RTOL['float32']:.0e} of what training changes."
)


def prepare(worker, key, peer, workload, threads, arguments, n):
    """Make a peer in a worker, and check it there; raise WorkerError or ValueError."""
    worker(processes.prepare, key, peer, workload, threads, arguments)
    steps = steps_of(workload, n, peer.log_loss)
    check(worker(processes.first_steps, key, n, steps), workload, n, peer.log_loss)
