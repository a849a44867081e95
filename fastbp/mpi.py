"""Training on several machines: mpiexec starts the processes, MPI connects them. Extra: mpi."""

from __future__ import annotations

import contextlib
import functools
import warnings
from typing import Any

from fastbp.data.messages import describe
from fastbp.distributed.averaging import AveragingDescent
from fastbp.distributed.descent import Descent
from fastbp.distributed.processors import threads_per_rank
from fastbp.distributed.ranks import Ranks
from fastbp.distributed.settings import CHUNKS, RankSettings
from fastbp.kernels.emit import VECTOR
from fastbp.training import group
from fastbp.training.checkpoint import Checkpointer
from fastbp.training.epoch_data import new_data
from fastbp.typing import Path, TrainingData

__all__ = ["SGD"]


def SGD(
    net: Any, training_data: TrainingData, epochs: int, mini_batch_size: int,
    eta: float, *more: Any, comm: Any = None, chunks: int = CHUNKS,
    average_every: int | None = None, base_mini_batch_size: int | None = None,
    scaling_epochs: float = 5.0, checkpoint: Path | None = None, checkpoint_every: float = 30.0,
    resume: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Train a network by mini-batch stochastic gradient descent on all ranks of an MPI job.

    All ranks call it with the same arguments, as in ``mpiexec -n 4 python train.py``; the network,
    the random numbers and all decisions are those of rank 0, which alone prints, measures, calls
    callbacks and writes checkpoints. In the end all ranks have the same weights.

    Parameters
    ----------
    net : fastbp.network.Network or fastbp.network2.Network
        Its weights on rank 0 are those that training begins with.
    training_data, epochs, eta, more, checkpoint, checkpoint_every, resume, options
        As for the network's own `SGD`, whose other arguments follow.
    mini_batch_size : int
        Samples of a step on all ranks together; with `average_every` a multiple of their number.
    comm : mpi4py.MPI.Comm, optional
        The ranks that train; all of the job by default.
    chunks : int, at least the number of ranks
        Each mini-batch is divided into so many parts, of whole groups of 3 samples, which are
        summed in one order: with a multiple of the number of ranks all have about equal work, and
        any number of ranks gets the same weights, to the bit. With ``shuffle="blocks"`` a rank
        reads the samples of its own parts only, as long as it does not average.
    average_every : int, optional
        Each rank takes so many steps by itself, with its part of each mini-batch; then weights and
        moments are averaged: fewer exchanges, and results that depend on the number of ranks.
        chunks do not count then; interrupts and checkpoints wait for the next average, and eta
        changes with it only.
    base_mini_batch_size : int, optional
        The size that eta was chosen for. eta is multiplied by mini_batch_size divided by it.
    scaling_epochs : float
        Epochs in which eta rises, linearly, from its own value to that multiple.

    Returns
    -------
    None or tuple of list
        What the network's own `SGD` returns, on all ranks.

    Raises
    ------
    ImportError
        Without mpi4py and an MPI library.
    TypeError, ValueError, FloatingPointError, OSError
        As the network's own `SGD`, on all ranks; also if data or arguments are not the same on all
        ranks, or methods of the network are overridden.

    Notes
    -----
    An error on one rank alone ends the job, within seconds, as the death of a process does;
    the last checkpoint stays. Source: data parallelism with a reduce-scatter by slices; linear
    scaling with warm-up: Goyal and others 2017; averages: Stich 2019.
    """
    ranks = comm if isinstance(comm, Ranks) else Ranks(comm)
    with contextlib.ExitStack() as ends, ranks.failing_together():
        if ranks is not comm:
            ends.callback(ranks.close)
        settings = RankSettings(
            ranks.size, mini_batch_size, chunks, average_every, base_mini_batch_size, scaling_epochs
        )
        _check_methods(net)
        kind = AveragingDescent if average_every else Descent
        ranks.descent = functools.partial(kind, ranks, settings)
        ranks.config = settings.config
        ranks.chunks, ranks.own_chunks = settings.chunks_read(ranks.rank)
        deform = new_data.deformation_of(options.get("deform"))
        is_function = new_data.is_function(training_data)  # these two decide what is exchanged next
        ranks.check_same(
            {"epochs": epochs, **settings.config, "deform": repr(deform),
             "training_data": is_function}
        )  # fmt: skip
        options |= _outputs(ranks, checkpoint, checkpoint_every, resume)
        with _prepared(net, ranks), group.joined(ranks):
            return net.SGD(training_data, epochs, mini_batch_size, eta, *more, **options)


def _check_methods(net):
    """Raise unless the network trains on the kernels."""
    if not hasattr(net, "_is_overridden"):
        raise TypeError(f"net is {describe(net)}, expected a Network of fastbp")
    if net._is_overridden("update_mini_batch", *net._gradient_parts):
        raise ValueError(
            "the network has methods or a cost of its own, which fastbp.mpi does not train with; "
            "use net.SGD, on one process"
        )


def _outputs(ranks, checkpoint, every, resume):
    """Return the arguments of SGD about what a rank prints and writes: nothing, but for rank 0."""
    made = []
    ranks.from_root(lambda: made.append(Checkpointer.of(checkpoint, every, resume)))
    if ranks.rank:
        return dict(verbose=False, progress=False, callback=None)
    return dict(checkpoint=made[0])


@contextlib.contextmanager
def _prepared(net, ranks):
    """Give all ranks the weights of rank 0; meanwhile bound threads, and have rank 0 alone warn."""
    ranks.check_same({"sizes": list(net._plan.sizes), "dtype": net.dtype.name, "vector": VECTOR})
    params = net._parameters()
    ranks.broadcast_array(params)
    if ranks.rank:
        net._bind_parameters(params)
    before, share = net.threads, threads_per_rank(ranks)  # which all ranks call
    if net.threads is None:
        net.threads = share
    try:
        with warnings.catch_warnings():
            if ranks.rank:
                warnings.simplefilter("ignore")
            yield
    finally:
        net.threads = before
