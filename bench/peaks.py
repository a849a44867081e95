"""What the machine can do: multiply-adds in registers, memory bandwidth, OpenBLAS."""

import functools
import time

import numpy as np
from llvmlite import ir
from numba import njit, prange, set_num_threads, types
from numba.core import cgutils
from numba.extending import intrinsic

FORMS = [(64, 16), (64, 12), (32, 12), (32, 10)]  # bytes in a vector, vectors in flight
STEPS = 200_000


def _fma_loop(item, lanes, sums):
    """Return an intrinsic (steps, x) -> number: a loop of `sums` independent vector FMAs.

    Written in LLVM's language, so that nothing but registers can be in it.
    """

    @intrinsic
    def loop(typing, steps, x):
        def build(context, builder, signature, arguments):
            steps, x = arguments
            number = context.get_value_type(item)
            vector, i32 = ir.VectorType(number, lanes), ir.IntType(32)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), x, i32(0))
            zeros = ir.Constant(ir.VectorType(i32, lanes), None)
            factor = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)
            fma = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fma.v{lanes}f{item.bitwidth}",
            )
            before = builder.block
            body, after = builder.append_basic_block("fma"), builder.append_basic_block("after")
            builder.branch(body)
            builder.position_at_end(body)
            count = builder.phi(steps.type)
            count.add_incoming(steps.type(0), before)
            totals = [builder.phi(vector) for _ in range(sums)]
            for i, total in enumerate(totals):
                start = ir.Constant(vector, [ir.Constant(number, float(i))] * lanes)
                total.add_incoming(start, before)
            following = [builder.call(fma, [total, factor, factor]) for total in totals]
            for total, value in zip(totals, following):
                total.add_incoming(value, body)
            next_count = builder.add(count, steps.type(1))
            count.add_incoming(next_count, body)
            builder.cbranch(builder.icmp_signed("<", next_count, steps), body, after)
            builder.position_at_end(after)
            result = following[0]
            for value in following[1:]:
                result = builder.fadd(result, value)
            return builder.extract_element(result, i32(0))

        return item(types.int64, item), build

    return loop


@functools.cache
def _fma_function(dtype, width, sums):
    """Return f(steps, copies), which runs that many copies of the loop, one per thread."""
    item = np.dtype(dtype)
    loop = _fma_loop(getattr(types, dtype), width // item.itemsize, sums)
    x = item.type(0.999)

    @njit(parallel=True)
    def run(steps, copies):
        out = np.empty(copies)
        for i in prange(copies):
            out[i] = loop(steps, x)
        return out

    return run


def fma_peak(dtype, threads=1, repetitions=7):
    """Return the GFLOP/s of `threads` cores in a loop of FMAs in registers: the best seen."""
    best = 0.0
    for width, sums in FORMS:
        run = _fma_function(dtype, width, sums)
        set_num_threads(threads)
        run(1, threads)
        flops = 2 * (width // np.dtype(dtype).itemsize) * sums * STEPS * threads
        for _ in range(repetitions):
            best = max(best, flops / timed(run, STEPS, threads) / 1e9)
    return best


def bandwidth(bytes_=1 << 29):
    """Return GB/s of one thread copying an array of this size, read and write counted.

    Half a gigabyte is too big for any cache; a quarter of a megabyte lies in the second level.
    """
    source = np.ones(bytes_ // 8)
    target = np.zeros_like(source)
    return 2 * source.nbytes / seconds_per_call(lambda: np.copyto(target, source)) / 1e9


CACHED = 1 << 18  # bytes


def in_turns(calls, rounds):
    """Return the results of calls, {name: [...]}, from rounds in which they take turns."""
    results = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            results[name].append(call())
    return results


def timed(function, *arguments):
    """Return the seconds of a call."""
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def seconds_per_call(function, budget=0.15):
    """Return the median seconds of a call, from short batches of calls for `budget` seconds."""
    function()
    calls = max(1, int(2e-3 / max(timed(function), 1e-7)))
    samples, began = [], time.perf_counter()
    while time.perf_counter() - began < budget or len(samples) < 5:
        at = time.perf_counter()
        for _ in range(calls):
            function()
        samples.append((time.perf_counter() - at) / calls)
    return float(np.median(samples))


def one_blas_thread():
    """Return a context in which OpenBLAS keeps to one thread, or None: no threadpoolctl."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    return threadpool_limits(1)


@functools.cache
def blas_gflops(dtype, m, k, n):
    """Return OpenBLAS's GFLOP/s on one thread for (m, k) @ (k, n), or None: no threadpoolctl."""
    limited = one_blas_thread()
    if limited is None:
        return None
    A, B = np.ones((m, k), dtype), np.ones((n, k), dtype)
    out = np.empty((m, n), dtype)
    with limited:
        return 2 * m * k * n / seconds_per_call(lambda: np.dot(A, B.T, out=out)) / 1e9
