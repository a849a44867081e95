"""The vector type: the emitted code does what the same operation does in Python."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import JIT
from numba import njit
from numba.core.errors import TypingError

from fastbp.kernels import jit
from fastbp.kernels.simd import (
    add_lanes,
    add_outer,
    add_sum,
    any_true,
    at,
    count_bits,
    fma,
    full,
    lanes,
    load,
    load_tile,
    nonzero_bits,
    open_span,
    polynomial,
    prefetch,
    rint,
    span,
    sqrt,
    store,
    store_set_bits,
    store_tile,
    times_power,
    transpose,
    where,
    zero_tile,
)  # fmt: skip

DTYPES = [np.float64, np.float32]
needs_jit = pytest.mark.skipif(not JIT, reason="a property of compiled code")


def both(function, dtype, rng):
    """Run function(out, x, y) as Python and compiled, on the same numbers; compare the results."""
    x, y = (rng.standard_normal(4096).astype(dtype) for _ in range(2))
    outs = []
    for f in (function, njit(**jit.OPTIONS, _nrt=False)(function)):
        out = np.zeros(4096, dtype)
        outs.append((f(out, x.copy(), y.copy()), out))
    (a, out_a), (b, out_b) = outs
    rtol = 1e-14 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(out_a, out_b, rtol=rtol, atol=rtol)
    assert a == b or a == pytest.approx(b, rel=10 * rtol)
    return out_a


def arithmetic(out, x, y):
    x, y, o = at(x, 0), at(y, 3), at(out, 0)
    a, b, v = load(x, 0), load(y, 1), lanes(x)
    store(o, 0, fma(a, b, a))
    store(o, v, (a + b) * 2.0 - 1.0 / (b * b + 1.0))
    store(o, 2 * v, where(a > b, 3.0, where(a < 0.0, a, full(b, 0.5))))
    store(o, 3 * v, rint(a * 10.0) + sqrt(b * b))
    store(o, 4 * v, polynomial(a, (0.5, 0.25, 2.0)))
    store(o, 5 * v, times_power(b, rint(a * 3.0)))
    prefetch(x, 100)
    return add_lanes(a)


def questions(out, x, y):
    a = load(at(x, 0), 0)
    return 2 * any_true(a > 100.0) + any_true(a < 100.0)


def places(out, x, y):
    p = span(x, 5, 20)
    o = open_span(at(out, 2), 1, 30)
    for k in range(20):
        o[k] = p[k]
    return lanes(p)


def transposed(out, x, y):
    transpose(at(out, 0), at(x, 1))


def sums_of_tiles(out, x, y):
    x, y, o = at(x, 0), at(y, 0), at(out, 0)
    v, one = lanes(x), np.intp(1)
    sums = load_tile(3, False, y, v)
    for t in range(5):
        sums = add_outer(sums, at(x, t), np.intp(7), at(y, t * v))
    store_tile(o, v, sums)
    half = add_outer(zero_tile(2, True, x), x, one, y)
    store_tile(at(o, 3 * v), v, half)
    add_sum(at(o, 6 * v), x, one, sums)


@needs_jit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "function", [arithmetic, questions, places, transposed, sums_of_tiles], ids=lambda f: f.__name__
)
def test_emitted_code_does_what_the_python_form_does(function, dtype, rng):
    both(function, dtype, rng)


@needs_jit
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_masks_of_what_is_not_zero(dtype, rng):
    def masks(a, b, c):
        mask = nonzero_bits(at(a, 0), at(b, 1), at(c, 2))
        columns = np.zeros(40, np.int32)
        for k in range(0, 24, 8):
            store_set_bits(at(columns, 0), k, mask >> k, 100 + k)
        return mask, count_bits(mask), columns

    for density in (0.02, 0.5):
        a, b, c = ((rng.random((3, 80)) < density) * 3).astype(dtype)
        seen, wanted = njit(masks)(a, b, c), masks(a, b, c)
        assert (seen[0] % 2**64, seen[1]) == (wanted[0] % 2**64, wanted[1])
        np.testing.assert_array_equal(seen[2], wanted[2])
        lit = [k for k in range(8) if wanted[0] >> k & 1]
        assert seen[2][: len(lit)].tolist() == [100 + k for k in lit]


def test_the_python_forms_raise_outside_their_array():
    a = np.arange(40.0)
    for wrong in (
        lambda: load(a, 30),
        lambda: load(a, -1),
        lambda: store(a, 30, np.zeros(lanes(a))),
        lambda: span(a, 30, 11),
        lambda: at(a, 41),
        lambda: open_span(a, 40, 1),
        lambda: load_tile(3, False, a, lanes(a)),
        lambda: transpose(a, a[:5]),
    ):
        with pytest.raises(IndexError):
            wrong()


@needs_jit
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: load(x, 0), r"load\(place, index\): place is array\(.*, expected a place"),
        (lambda x: load(at(x, 0), 1.5), r"index is float64, expected an integer"),
        (lambda x: at(1.5, 0), r"array is float64, expected an array or a place"),
        (lambda x: store(at(x, 0), 0, 1.5), r"vector is float64, expected a vector"),
        (lambda x: fma(1.5, 1.5, 1.5), r"like is float64, expected a vector"),
        (lambda x: fma("a", 1.5, load(at(x, 0), 0)), r"a is unicode_type, expected a vector or a"),
        (lambda x: full(load(at(x, 0), 0), "a"), r"number is .*, expected a float"),
        (lambda x: store_tile(at(x, 0), 1, 2), r"block is .*, expected a block"),
        (lambda x: prefetch(x, 0), r"prefetch\(place, index\): place is array"),
    ],
)
def test_wrong_arguments_are_told_in_words(call, message):
    with pytest.raises(TypingError, match=message):
        njit(call)(np.zeros(64))


AARCH64 = """
import sys
from llvmlite import binding as llvm
from fastbp.kernels import drivers, jit

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
triple = "aarch64-unknown-linux-gnu"
machine = llvm.Target.from_triple(triple).create_target_machine(cpu="generic", opt=2)
dtype, *names = sys.argv[1:]
for name in names or jit._routines:
    signatures = {jit._signature(name, dtype, variant): variant for variant in ("rules", "plain")}
    for variant in signatures.values():  # one, where no argument is a rule
        jit._compile(name, dtype, variant)
        symbol = jit.SYMBOL.format(name, dtype, variant)
        (text,) = jit._compiled[symbol].inspect_llvm().values()
        assert "llvm.x86" not in text, symbol
        lines = [line for line in text.splitlines() if not line.startswith("target ")]
        module = llvm.parse_assembly("\\n".join([f'target triple = "{triple}"', *lines]))
        module.data_layout = str(machine.target_data)
        print(symbol, "fmla" in machine.emit_assembly(module))
"""


@needs_jit
@pytest.mark.parametrize(
    ("dtype", "names"),
    [
        ("float32", ["multiply", "activate"]),
        pytest.param("float64", [], marks=pytest.mark.slow),
        pytest.param("float32", [], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_routines_compile_for_aarch64(dtype, names, tmp_path):
    """Vectors and masks on a processor with neither 256-bit nor 512-bit registers."""
    done = subprocess.run(
        [sys.executable, "-c", AARCH64, dtype, *names],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},  # code from a cache has no LLVM text
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    uses_fma = dict(line.split() for line in done.stdout.splitlines())
    assert len(uses_fma) >= len(names or jit._routines)
    for name in names or ("multiply", "forward", "update", "activate"):
        assert uses_fma[jit.SYMBOL.format(name, dtype, "plain")] == "True"
