"""The processes that fastbp train runs on: those that mpiexec has started, or this one alone."""

import argparse
import contextlib
import functools

from fastbp import mpi
from fastbp.cli.console import Terminated
from fastbp.distributed.ranks import Ranks, started_size
from fastbp.distributed.settings import RankSettings
from fastbp.training import group

OPTIONS = "chunks", "average_every", "base_mini_batch_size", "scaling_epochs"


@contextlib.contextmanager
def joined_ranks(options):
    """Set options.ranks; within this context rank 0 alone prints, writes and reports errors."""
    if not (started_size() > 1 if options.mpi is None else options.mpi):
        for name in OPTIONS:
            if getattr(options, name) is not None:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} goes with several processes: mpiexec, or --mpi")
        options.ranks = group.ALONE
        yield
        return
    ranks = options.ranks = Ranks()
    if ranks.rank == 0:
        with ranks.failing_together():
            yield
        return
    options.save = options.checkpoint = options.checkpoint_every = None
    options.resume = False
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        try:
            with ranks.failing_together():
                yield
        except (KeyboardInterrupt, Terminated) as reason:
            raise SystemExit(143 if isinstance(reason, Terminated) else 130) from None
        except Exception:
            raise SystemExit(2) from None


def check(options):
    """Raise for settings of several processes that are wrong whatever the data are."""
    if options.ranks is not group.ALONE:
        if options.scaling_epochs is not None and options.base_mini_batch_size is None:
            raise ValueError("--scaling-epochs needs --base-mini-batch-size N: what eta was for")
        if options.chunks is not None and options.average_every is not None:
            raise ValueError("--chunks goes without --average-every, with which there are none")
        RankSettings(options.ranks.size, options.mini_batch_size, **_given(options))


def sgd_of(net, options):
    """Return the function that trains the network: its own SGD, or that of all ranks."""
    if options.ranks is group.ALONE:
        return net.SGD
    return functools.partial(mpi.SGD, net, comm=options.ranks, **_given(options))


def _given(options):
    """Return the options of several processes that are given, as arguments of mpi.SGD."""
    return {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}


def add_rank_options(add):
    """Add the options of fastbp train on several processes."""
    add("--mpi", action=argparse.BooleanOptionalAction,
        help="train one network on all processes of the job (default: if mpiexec has started "
        "several)")  # fmt: skip
    add("--chunks", type=int, metavar="12",
        help="parts of a mini-batch; best a multiple of the processes (default: 12)")  # fmt: skip
    add("--average-every", type=int, metavar="N",
        help="average the weights every N steps, instead of the gradients in each")  # fmt: skip
    add("--base-mini-batch-size", type=int, metavar="N",
        help="multiply eta by the mini-batch size divided by N")  # fmt: skip
    add("--scaling-epochs", type=float, metavar="5",
        help="epochs in which eta rises to that (default: 5)")  # fmt: skip
