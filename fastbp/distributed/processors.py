"""How many threads a rank should use, where several share the processors of a machine."""

from fastbp.training.compute import threads


def threads_per_rank(ranks):
    """Return how many threads this rank may use, so that all ranks of its machine find room.

    mpiexec may have bound each rank to processors of its own, or none of them.
    """
    machine = ranks.comm.Split_type(ranks.mpi.COMM_TYPE_SHARED)
    processors = machine.allgather(threads.processors())
    size = machine.Get_size()
    machine.Free()
    return max(1, min(threads.usable(), len(set().union(*processors)) // size))
