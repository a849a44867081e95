"""What the machine can do: multiply-adds in registers, memory bandwidth, OpenBLAS."""

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import binding as llvm

from bench import timing

SHAPES = [(64, 16), (64, 12), (32, 12), (32, 10)]  # bytes in a vector, independent sums
STEPS = 400_000
IN_MEMORY, IN_CACHE = 1 << 29, 1 << 18  # bytes: too large for any cache; in the second level


@functools.cache
def _fma_loop(dtype, vector_bytes, sums):
    """Return a compiled function of the number of steps; each step is an FMA for each vector sum.

    It is written in LLVM's language, so that nothing but registers can be in it.
    """
    number, bits = {"float32": ("float", 32), "float64": ("double", 64)}[dtype]
    lanes = vector_bytes * 8 // bits
    vector, fma = f"<{lanes} x {number}>", f"@llvm.fma.v{lanes}f{bits}"
    one = f"<{', '.join([f'{number} 1.0'] * lanes)}>"
    sums_before = "".join(
        f"%s{i} = phi {vector} [zeroinitializer, %entry], [%t{i}, %loop]\n" for i in range(sums)
    )
    sums_after = "".join(
        f"%t{i} = call {vector} {fma}({vector} %s{i}, {vector} {one}, {vector} {one})\n"
        for i in range(sums)
    )
    stores = "".join(f"store volatile {vector} %t{i}, ptr %out\n" for i in range(sums))
    source = f"""
        declare {vector} {fma}({vector}, {vector}, {vector})
        define void @fma_loop(i64 %steps) {{
        entry:
            %out = alloca {vector}
            br label %loop
        loop:
            %step = phi i64 [0, %entry], [%next, %loop]
            {sums_before} {sums_after}
            %next = add i64 %step, 1
            %more = icmp slt i64 %next, %steps
            br i1 %more, label %loop, label %exit
        exit:
            {stores} ret void
        }}"""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), machine)
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64)(engine.get_function_address("fma_loop"))
    function.engine = engine  # owns the code
    return function


@functools.cache
def fma_peak(dtype, threads=1):
    """Return the GFLOP/s of FMAs in registers on so many cores, measured once per run."""
    return measure_fma_peak(dtype, threads)


def measure_fma_peak(dtype, threads=1, repetitions=7):
    """Return the GFLOP/s of FMAs in registers on so many cores: the most of some repetitions."""
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for vector_bytes, sums in SHAPES:
            loop = _fma_loop(dtype, vector_bytes, sums)
            flops = 2 * (vector_bytes // np.dtype(dtype).itemsize) * sums * STEPS * threads
            for _ in range(repetitions):
                seconds = timing.seconds_of(_run_on_all, pool, loop, threads)
                best = max(best, flops / seconds / 1e9)
    return best


def _run_on_all(pool, loop, threads):
    for _ in pool.map(loop, [STEPS] * threads):
        pass


def bandwidth(n_bytes):
    """Return GB/s of one thread copying an array of this size, read and write counted."""
    source = np.ones(n_bytes // 8)
    target = np.zeros_like(source)
    return 2 * n_bytes / timing.seconds_per_call(lambda: np.copyto(target, source)) / 1e9


@functools.cache
def blas_gflops(dtype, m, k, n):
    """Return OpenBLAS's GFLOP/s on one thread for (m, k) @ (k, n)."""
    from threadpoolctl import threadpool_limits  # not needed by tests

    A, B, out = np.ones((m, k), dtype), np.ones((n, k), dtype), np.empty((m, n), dtype)
    with threadpool_limits(1):
        return 2 * m * k * n / timing.seconds_per_call(lambda: np.dot(A, B.T, out=out)) / 1e9
