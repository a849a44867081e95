"""The engine room's second hall: vector tiles, and the driver that runs programs of them.

Laws: those of kernels.py. It takes no compiled function from there: Numba's cache watches the file
that defines a function, and not the files of the functions that it calls.

A program is a table of int64, a row per step: the number of a tile, then its operands, which are
numbers and addresses. programs.py writes them, and says where everything lies in memory. So no
tile need know about layers, and to compile them all takes a second, where one driver that called
them by name took four.

Forward pass, backward pass and update are one tile: C[r, :] = sum over t of A[r, t] * B[t, :],
with numbers of A times vectors of B. The backward pass turns the weights over for it, 16 x 16 at a
time. The first layer leaves out the pixels that are zero in all samples of a group, which changes
no bit of the result. The twin of all this on plain loops is the row-major form in kernels.py:
FASTBP_LOOPS=1 selects it.
"""

import contextlib
import functools
import itertools
import math

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils, sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastbp.code_cache import keep
from fastbp.kernels import LINEAR, RELU, SIGMOID, SOFTMAX, TANH, kernel

AVAILABLE = not config.DISABLE_JIT  # vectors live in compiled code only

LANES = 16  # numbers in a vector
AT_ONCE = 8  # columns that are listed at once


def _has_512_bits():  # pragma: no cover
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return not config.CPU_NAME and llvm.get_host_cpu_features().get("avx512f", False)


# Rows and vectors of a tile, by the bytes of a number: as many sums as the registers can hold. Sums
# do not depend on it. A panel is as wide as a tile, so that what a tile reads is one run of memory.
REGISTER = 64 if _has_512_bits() else 32  # bytes
ROWS_32, ROWS_64, STRIP_32, STRIP_64 = (10, 5, 2, 2) if REGISTER == 64 else (3, 3, 2, 1)
ROWS, STRIP = {4: ROWS_32, 8: ROWS_64}, {4: STRIP_32, 8: STRIP_64}
GROUP = 5 if REGISTER == 64 else 3  # samples whose pixels are listed together
DEPTH = 128  # terms of a sum at a time: so many rows of a panel stay in the first-level cache


def width_of(dtype):
    """Return how many neurons a panel of this type has."""
    return LANES * STRIP[np.dtype(dtype).itemsize]


@contextlib.contextmanager
def light_optimisation():  # pragma: no cover
    """Have Numba compile on LLVM's level 1 meanwhile.

    The tiles say themselves what is in which register: level 3 finds nothing more to do in them,
    and takes a third of all compile time for it.
    """
    with global_compiler_lock:
        before = config.OPT
        config.OPT = type(before)(min(before, 1))
        try:
            yield
        finally:
            config.OPT = before


@functools.cache  # threads that ask for the same at once get the same
def c_function(signature, function):  # pragma: no cover
    """Compile a function to be called by its address, with the same options and cache."""
    options = dict(error_model="numpy", _nrt=False)
    compiled = CFunc(function, sigutils.normalize_signature(signature), {}, options)
    keep(compiled, function).compile()
    return compiled


# ------------------------------------------------ vector tiles
#
# Tiles of the panel form, written as LLVM vectors: loops over 16 or 32 neurons are too short for
# the loop vectoriser, whose checks that arrays do not overlap cost more than the arithmetic, and
# which uses half of a 512-bit register. Each is an intrinsic, called like a function with pointers
# and numbers; the steps below say what it computes.

INTP, I32 = ir.IntType(64), ir.IntType(32)


def _data(context, builder, array_type, array, index):  # pragma: no cover
    # Straight from the array's fields: make_array would copy all of them, in every call.
    field = context.data_model_manager[array_type].get_field_position("data")
    return builder.gep(builder.extract_value(array, field), [index])


def _vector_at(builder, data, offset, count=LANES):  # pragma: no cover
    vector = ir.VectorType(data.type.pointee, count)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _load(builder, data, offset, count=LANES):  # pragma: no cover
    return builder.load(_vector_at(builder, data, offset, count), align=1)


def _store(builder, vector, data, offset):  # pragma: no cover
    builder.store(vector, _vector_at(builder, data, offset, vector.type.count), align=1)


def _width(data):  # pragma: no cover
    """Return the width of a panel of numbers of the type that `data` points to."""
    return width_of({"float": np.float32, "double": np.float64}[str(data.type.pointee)])


def _constants(numbers):  # pragma: no cover
    return ir.Constant(ir.VectorType(I32, len(numbers)), [I32(x) for x in numbers])


def _splat(builder, number, count=LANES):  # pragma: no cover
    nothing = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(nothing, number, I32(0))
    return builder.shuffle_vector(first, nothing, _constants([0] * count))


def _multiply_add(builder, total, number, vector):  # pragma: no cover
    if isinstance(vector.type, ir.VectorType) and not isinstance(number.type, ir.VectorType):
        number = _splat(builder, number)
    product = builder.fmul(number, vector, flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))


def _loop(builder, count, values, body):  # pragma: no cover
    """Emit `for t in range(count): values = body(t, values)`, values in registers; return them."""
    before = builder.block
    block, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", count, INTP(0)), block, after)
    builder.position_at_end(block)
    carried = [builder.phi(value.type) for value in (INTP(0), *values)]
    t, *inside = carried
    outcome = [builder.add(t, INTP(1)), *body(t, inside)]
    last = builder.block
    for phi, start, end in zip(carried, (INTP(0), *values), outcome):
        phi.add_incoming(start, before)
        phi.add_incoming(end, last)
    builder.cbranch(builder.icmp_signed("<", outcome[0], count), block, after)
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in values]
    for phi, start, end in zip(results, values, outcome[1:]):
        phi.add_incoming(start, before)
        phi.add_incoming(end, last)
    return results


def _switch(builder, number, variants):  # pragma: no cover
    """Emit one variant per value of `number`; variants: {value: function that emits it}."""
    done = builder.append_basic_block("done")
    switch = builder.switch(number, done)
    for value, emit in variants.items():
        block = builder.append_basic_block("variant")
        switch.add_case(INTP(value), block)
        builder.position_at_end(block)
        emit()
        builder.branch(done)
    builder.position_at_end(done)


@intrinsic
def _add_tile(  # pragma: no cover
    typing, C, c_row, A, a_row, a_step, B, count, tiles, rows, vectors, adding
):
    def build(context, builder, signature, arguments):
        to, c_row, left, a_row, a_step, right, count, tiles, rows, vectors, adding = arguments
        adding = builder.icmp_signed("!=", adding, INTP(0))
        width, register = INTP(_width(to)), REGISTER // (C.dtype.bitwidth // 8)

        def variant(rows, vectors):
            lanes = [INTP(lane) for lane in range(0, vectors * LANES, register)]
            zero = ir.Constant(ir.VectorType(to.type.pointee, register), None)
            a_rows = [builder.mul(a_row, INTP(r)) for r in range(rows)]

            def tile(number, nothing):
                first = builder.mul(number, INTP(rows))
                each = [builder.add(first, INTP(r)) for r in range(rows)]
                c_rows = [builder.gep(to, [builder.mul(c_row, r)]) for r in each]
                a = builder.gep(left, [builder.mul(a_row, first)])
                places = [(row, lane) for row in c_rows for lane in lanes]

                def body(t, carried):
                    a, b, *sums = carried
                    sums = _outer(builder, sums, a, a_rows, b, lanes, register)
                    return [builder.gep(a, [a_step]), builder.gep(b, [width]), *sums]

                sums = [_load(builder, *place, register) for place in places]
                sums = [builder.select(adding, s, zero) for s in sums]
                _, _, *sums = _loop(builder, count, [a, right, *sums], body)
                for s, place in zip(sums, places):
                    _store(builder, s, *place)
                return []

            _loop(builder, tiles, [], tile)

        _by_shape(builder, rows, vectors, ROWS[C.dtype.bitwidth // 8], to, variant)
        return context.get_dummy_value()

    i = types.intp
    return types.void(C, i, A, i, i, B, i, i, i, i, i), build


@intrinsic
def _transpose_tile(typing, T, S):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, source = arguments
        width, n = _width(to), REGISTER // (T.dtype.bitwidth // 8)

        def block(i, j):  # n x n: as many registers as numbers in one
            rows = [_load(builder, source, INTP((i + r) * width + j), n) for r in range(n)]
            step = n // 2
            while step:  # swap the off-diagonal quarters of blocks of n, n / 2 ... 2
                low = [k if not k & step else n + k - step for k in range(n)]
                high = [k + step if not k & step else n + k for k in range(n)]
                for r in range(n):
                    if not r & step:
                        pair = rows[r], rows[r + step]
                        rows[r] = builder.shuffle_vector(*pair, _constants(low))
                        rows[r + step] = builder.shuffle_vector(*pair, _constants(high))
                step //= 2
            for r in range(n):
                _store(builder, rows[r], to, INTP((j + r) * width + i))

        for i, j in itertools.product(range(0, LANES, n), repeat=2):
            block(i, j)
        return context.get_dummy_value()

    return types.void(T, S), build


def _numbers(builder, a, rows, register):  # pragma: no cover
    """Return the numbers a[row], each in all lanes of a register."""
    numbers = [builder.load(builder.gep(a, [row])) for row in rows]
    return [_splat(builder, number, register) for number in numbers]


def _outer(builder, sums, a, rows, b, lanes, register):  # pragma: no cover
    """Add the outer product of the numbers a[row] and the registers b[lane:] to the sums.

    All numbers come first, then register by register of b: 12 sums, 3 numbers and one of b are all
    that 16 registers can hold.
    """
    numbers = _numbers(builder, a, rows, register)
    for k, lane in enumerate(lanes):
        vector = _load(builder, b, lane, register)
        for r, number in enumerate(numbers):
            s = r * len(lanes) + k
            sums[s] = _multiply_add(builder, sums[s], number, vector)
    return sums


def _as_number(builder, value, number):  # pragma: no cover
    """Convert a stored pixel, or a vector of them, to type `number`; bytes become v/256."""
    stored = getattr(value.type, "element", value.type)
    target = ir.VectorType(number, value.type.count) if stored is not value.type else number
    if isinstance(stored, ir.IntType):
        value = builder.uitofp(value, target)
        scale = ir.Constant(number, 1 / 256)
        if target is not number:
            scale = ir.Constant(target, [1 / 256] * target.count)
        return builder.fmul(value, scale)
    if isinstance(stored, ir.DoubleType) and isinstance(number, ir.FloatType):
        return builder.fptrunc(value, target)
    if isinstance(stored, ir.FloatType) and isinstance(number, ir.DoubleType):
        return builder.fpext(value, target)
    return value


def _prefetch(builder, place):  # pragma: no cover
    """Ask for a line of memory, ahead of its use."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    builder.call(ask, [builder.bitcast(place, byte), I32(0), I32(2), I32(1)])


def _asking(builder, pixels, later, n_later, n_bytes, turns, samples):  # pragma: no cover
    """Return a function that asks, in each of some turns, for some bytes of some later samples.

    All at once would be more than the processor can wait for.
    """
    step = builder.add(builder.udiv(n_bytes, turns), INTP(1))
    rows = []
    for r in range(samples):
        is_there = builder.icmp_signed("<", INTP(r), n_later)
        at = builder.gep(later, [builder.select(is_there, INTP(r), INTP(0))])
        rows.append(builder.gep(pixels, [builder.mul(builder.load(at), n_bytes)]))

    def ask(t):
        for row in rows:
            _prefetch(builder, builder.gep(row, [builder.mul(t, step)]))

    return ask


def _by_shape(builder, rows, vectors, most_rows, panel, variant):  # pragma: no cover
    """Emit variant(rows, vectors) for every shape that a tile may have."""
    shapes = itertools.product(range(1, most_rows + 1), range(1, _width(panel) // LANES + 1))
    code = builder.add(builder.mul(rows, INTP(4)), vectors)
    _switch(builder, code, {4 * r + v: lambda r=r, v=v: variant(r, v) for r, v in shapes})


@intrinsic
def _listed_tile(  # pragma: no cover
    typing, Z, z_row, values, panel, columns, count, rows, vectors, pixels, later, n_later, n_bytes
):
    def build(context, builder, signature, arguments):
        to, z_row, values, panel, columns, count, rows, vectors, *ahead = arguments
        width, register = INTP(_width(to)), REGISTER // (Z.dtype.bitwidth // 8)

        def variant(rows, vectors):
            lanes = [INTP(lane) for lane in range(0, vectors * LANES, register)]
            zero = ir.Constant(ir.VectorType(to.type.pointee, register), None)
            ask = _asking(builder, *ahead, count, rows)

            def body(t, sums):
                ask(t)
                column = builder.sext(builder.load(builder.gep(columns, [t])), INTP)
                a = builder.gep(values, [builder.mul(t, INTP(rows))])
                b = builder.gep(panel, [builder.mul(column, width)])
                return _outer(builder, sums, a, map(INTP, range(rows)), b, lanes, register)

            sums = _loop(builder, count, [zero] * (rows * len(lanes)), body)
            for r in range(rows):
                row = builder.gep(to, [builder.mul(z_row, INTP(r))])
                for k, lane in enumerate(lanes):
                    _store(builder, sums[r * len(lanes) + k], row, lane)

        _by_shape(builder, rows, vectors, GROUP, panel, variant)
        return context.get_dummy_value()

    i = types.intp
    return types.void(Z, i, values, panel, columns, i, i, i, pixels, later, i, i), build


@intrinsic
def _listed_add_tile(typing, panel, values, D, columns, count, rows, vectors):  # pragma: no cover
    def build(context, builder, signature, arguments):
        panel, values, source, columns, count, rows, vectors = arguments
        width, register = INTP(_width(panel)), REGISTER // (D.dtype.bitwidth // 8)

        def variant(rows, vectors):
            lanes = [INTP(lane) for lane in range(0, vectors * LANES, register)]
            d_rows = [builder.gep(source, [builder.mul(width, INTP(r))]) for r in range(rows)]
            deltas = [[_load(builder, row, lane, register) for row in d_rows] for lane in lanes]

            def body(t, nothing):
                column = builder.sext(builder.load(builder.gep(columns, [t])), INTP)
                a = builder.gep(values, [builder.mul(t, INTP(rows))])
                b = builder.gep(panel, [builder.mul(column, width)])
                numbers = _numbers(builder, a, map(INTP, range(rows)), register)
                for lane, rows_of_lane in zip(lanes, deltas):
                    total = _load(builder, b, lane, register)
                    for number, delta in zip(numbers, rows_of_lane):
                        total = _multiply_add(builder, total, number, delta)
                    _store(builder, total, b, lane)
                return []

            _loop(builder, count, [], body)

        _by_shape(builder, rows, vectors, GROUP, panel, variant)
        return context.get_dummy_value()

    i = types.intp
    return types.void(panel, values, D, columns, i, i, i), build


@intrinsic
def _delta_tile(typing, D, A, S, row, rate, keep, rows, slope):  # pragma: no cover
    def build(context, builder, signature, arguments):
        deltas, activations, scaled, row, rate, keep, rows, slope = arguments
        rate, keep = (_splat(builder, number) for number in (rate, keep))

        def variant(slope_of):
            def one(i, nothing):
                at = builder.mul(row, i)
                a = builder.fmul(keep, _load(builder, activations, at))
                ones = ir.Constant(a.type, [1.0] * LANES)
                delta = builder.fmul(_load(builder, deltas, at), slope_of(a, ones))
                _store(builder, delta, deltas, at)
                step = builder.fmul(delta, rate)
                _store(builder, step, scaled, builder.mul(i, INTP(_width(scaled))))
                return []

            _loop(builder, rows, [], one)

        def sigmoid(a, ones):
            return builder.fmul(a, builder.fsub(ones, a))

        def tanh(a, ones):
            return builder.fmul(builder.fsub(ones, a), builder.fadd(ones, a))

        def relu(a, ones):
            zeros = ir.Constant(a.type, None)
            return builder.select(builder.fcmp_ordered(">", a, zeros), ones, zeros)

        slopes = {SIGMOID: sigmoid, TANH: tanh, RELU: relu, LINEAR: lambda a, ones: ones}
        _switch(builder, slope, {code: lambda f=f: variant(f) for code, f in slopes.items()})
        return context.get_dummy_value()

    i = types.intp
    return types.void(D, A, S, i, rate, keep, i, i), build


@intrinsic
def _drop_tile(typing, A, row, first, limit, keep, vectors):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, row, first, limit, keep, vectors = arguments
        bits = ir.VectorType(I32, LANES)

        def constant(number):
            return ir.Constant(bits, [number] * LANES)

        def mixed(x):  # as kernels.mixed says
            for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
                x = builder.xor(x, builder.lshr(x, constant(shift)))
                x = builder.mul(x, constant(factor)) if factor else x
            return x

        def one(v, nothing):
            at = builder.mul(v, INTP(LANES))
            j = _splat(builder, builder.trunc(builder.add(first, at), I32))
            j = builder.add(j, ir.Constant(bits, list(range(LANES))))
            start = _splat(builder, builder.trunc(row, I32))
            draw = mixed(builder.add(start, builder.mul(j, constant(0x9E3779B9))))
            limits = _splat(builder, builder.trunc(limit, I32))
            a = _load(builder, to, at)
            kept = builder.fmul(a, _splat(builder, keep))
            dropped = builder.icmp_unsigned("<", draw, limits)
            # Times zero, as kernels.drop_rows has it: NaN stays NaN.
            zeros = builder.fmul(a, ir.Constant(a.type, None))
            _store(builder, builder.select(dropped, zeros, kept), to, at)
            return []

        _loop(builder, vectors, [], one)
        return context.get_dummy_value()

    i = types.intp
    return types.void(A, i, i, i, keep, i), build


@intrinsic
def _shrink_tile(typing, W, V, rows, decay, l1, momentum, nesterov):  # pragma: no cover
    def build(context, builder, signature, arguments):
        weights, velocity, rows, decay, l1, momentum, nesterov = arguments
        decay, l1, momentum = (_splat(builder, number) for number in (decay, l1, momentum))
        zeros = ir.Constant(decay.type, None)
        ones = ir.Constant(decay.type, [1.0] * LANES)

        def sign_times_l1(w):
            minus = builder.select(builder.fcmp_ordered("<", w, zeros), builder.fneg(l1), zeros)
            return builder.select(builder.fcmp_ordered(">", w, zeros), l1, minus)

        def plain():
            def one(r, nothing):
                at = builder.mul(r, INTP(_width(weights)))
                w = _load(builder, weights, at)
                step = builder.fsub(builder.fmul(decay, w), sign_times_l1(w))
                _store(builder, step, weights, at)
                return []

            _loop(builder, rows, [], one)

        def with_velocity():
            ahead = builder.icmp_signed("!=", nesterov, INTP(0))

            def one(r, nothing):
                at = builder.mul(r, INTP(_width(weights)))
                w, v = _load(builder, weights, at), _load(builder, velocity, at)
                v = builder.fmul(momentum, v)
                back = builder.select(ahead, builder.fsub(w, v), w)
                pull = builder.fmul(builder.fsub(decay, ones), w)
                _store(builder, back, weights, at)
                pull = builder.fsub(pull, sign_times_l1(w))
                _store(builder, builder.fadd(v, pull), velocity, at)
                return []

            _loop(builder, rows, [], one)

        is_there = builder.icmp_unsigned("!=", builder.ptrtoint(velocity, INTP), INTP(0))
        both = {1: with_velocity, 0: plain}
        _switch(builder, builder.zext(is_there, INTP), both)
        return context.get_dummy_value()

    i = types.intp
    return types.void(W, V, i, decay, l1, momentum, i), build


@intrinsic
def _advance_tile(typing, W, V, rows, factor):  # pragma: no cover
    def build(context, builder, signature, arguments):
        weights, velocity, rows, factor = arguments
        factor = _splat(builder, factor)

        def one(r, nothing):
            at = builder.mul(r, INTP(_width(weights)))
            w, v = _load(builder, weights, at), _load(builder, velocity, at)
            _store(builder, builder.fadd(w, builder.fmul(factor, v)), weights, at)
            return []

        _loop(builder, rows, [], one)
        return context.get_dummy_value()

    return types.void(W, V, types.intp, factor), build


@intrinsic
def _max_norm_tile(typing, W, rows, limit):  # pragma: no cover
    def build(context, builder, signature, arguments):
        weights, rows, limit = arguments
        limit = _splat(builder, limit)
        zeros, ones = ir.Constant(limit.type, None), ir.Constant(limit.type, [1.0] * LANES)

        def at(r):
            return builder.mul(r, INTP(_width(weights)))

        def square(r, carried):
            w = _load(builder, weights, at(r))
            return [builder.fadd(carried[0], builder.fmul(w, w))]

        (squares,) = _loop(builder, rows, [zeros], square)
        name = f"llvm.sqrt.v{LANES}{'f64' if W.dtype == types.float64 else 'f32'}"
        kind = ir.FunctionType(limit.type, [limit.type])
        norm = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [squares])
        beyond = builder.fcmp_ordered(">", norm, limit)
        factor = builder.select(beyond, builder.fdiv(limit, norm), ones)

        def scale(r, nothing):
            place = at(r)
            w = builder.fmul(_load(builder, weights, place), factor)
            _store(builder, w, weights, place)
            return []

        any_beyond = builder.bitcast(beyond, ir.IntType(LANES))
        with builder.if_then(builder.icmp_unsigned("!=", any_beyond, ir.IntType(LANES)(0))):
            _loop(builder, rows, [], scale)
        return context.get_dummy_value()

    return types.void(W, types.intp, limit), build


STORED = ((ir.DoubleType(), 8), (ir.FloatType(), 4), (ir.IntType(8), 1))  # PIXEL_KINDS
BYTES = 2  # the last of them


def _by_kind(builder, kind, variant):  # pragma: no cover
    """Emit variant(type, bytes) for each type that pixels are stored in."""
    _switch(builder, kind, {k: lambda s=s: variant(*s) for k, s in enumerate(STORED)})


def _sample_at(builder, pixels, batch, i, n, stored, size):  # pragma: no cover
    """Return where the pixels of sample batch[i] begin, as a pointer to what is stored."""
    at = builder.mul(builder.load(builder.gep(batch, [i])), builder.mul(n, INTP(size)))
    return builder.bitcast(builder.gep(pixels, [at]), stored.as_pointer())


@intrinsic
def _gather_tile(typing, A, a_row, pixels, batch, rows, n, kind):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, a_row, pixels, batch, rows, n, kind = arguments
        number = to.type.pointee
        groups = builder.udiv(n, INTP(LANES))
        done = builder.mul(groups, INTP(LANES))

        def variant(stored, size):
            def each(i, nothing):
                data = _sample_at(builder, pixels, batch, i, n, stored, size)
                row = builder.gep(to, [builder.mul(a_row, i)])

                def many(t, nothing):
                    k = builder.mul(t, INTP(LANES))
                    _store(builder, _as_number(builder, _load(builder, data, k), number), row, k)
                    return []

                def one(t, nothing):
                    k = builder.add(done, t)
                    value = builder.load(builder.gep(data, [k]), align=1)
                    builder.store(_as_number(builder, value, number), builder.gep(row, [k]))
                    return []

                _loop(builder, groups, [], many)
                _loop(builder, builder.sub(n, done), [], one)
                builder.store(ir.Constant(number, 1.0), builder.gep(row, [n]))
                return []

            _loop(builder, rows, [], each)

        _by_kind(builder, kind, variant)
        return context.get_dummy_value()

    i = types.intp
    return types.void(A, i, pixels, batch, i, i, i), build


@intrinsic
def _mask_tile(typing, masks, mask_row, pixels, batch, rows, n, kind):  # pragma: no cover
    def build(context, builder, signature, arguments):
        masks, mask_row, pixels, batch, rows, n, kind = arguments
        i16 = ir.IntType(16)
        groups = builder.udiv(n, INTP(LANES))
        done = builder.mul(groups, INTP(LANES))

        def variant(stored, size):
            def is_listed(pixel):
                zero = ir.Constant(pixel.type, None)
                if isinstance(stored, ir.IntType):
                    return builder.icmp_unsigned("!=", pixel, zero)
                return builder.fcmp_unordered("!=", pixel, zero)

            def each(i, nothing):
                data = _sample_at(builder, pixels, batch, i, n, stored, size)
                bits = builder.gep(masks, [builder.mul(mask_row, i)])

                def many(t, nothing):
                    pixel = _load(builder, data, builder.mul(t, INTP(LANES)))
                    mask = builder.bitcast(is_listed(pixel), i16)
                    builder.store(mask, builder.gep(bits, [t]))
                    return []

                def one(t, carried):
                    pixel = builder.load(builder.gep(data, [builder.add(done, t)]), align=1)
                    bit = builder.shl(builder.zext(is_listed(pixel), i16), builder.trunc(t, i16))
                    return [builder.or_(carried[0], bit)]

                _loop(builder, groups, [], many)
                (mask,) = _loop(builder, builder.sub(n, done), [i16(0)], one)
                builder.store(mask, builder.gep(bits, [groups]))
                return []

            _loop(builder, rows, [], each)

        _by_kind(builder, kind, variant)
        return context.get_dummy_value()

    i = types.intp
    return types.void(masks, i, pixels, batch, i, i, i), build


@intrinsic
def _list_tile(typing, columns, masks, rows, words):  # pragma: no cover
    def build(context, builder, signature, arguments):
        columns, masks, rows, words = arguments
        i64 = ir.IntType(64)
        masks = builder.bitcast(masks, i64.as_pointer())

        def word(w, carried):
            (t,) = carried

            def union(r, carried):
                place = builder.gep(masks, [builder.add(builder.mul(words, r), w)])
                return [builder.or_(carried[0], builder.load(place, align=1))]

            (mask,) = _loop(builder, rows, [i64(0)], union)
            count = builder.ctpop(mask)
            first = builder.mul(w, INTP(64))

            def some(group, carried):
                # More than there are may be written: a branch that guesses wrong costs as much.
                (mask,) = carried
                place = builder.add(t, builder.mul(group, INTP(AT_ONCE)))
                for k in range(AT_ONCE):
                    column = builder.add(first, builder.cttz(mask, ir.IntType(1)(0)))
                    at = builder.gep(columns, [builder.add(place, INTP(k))])
                    builder.store(builder.trunc(column, I32), at)
                    mask = builder.and_(mask, builder.sub(mask, i64(1)))
                return [mask]

            turns = builder.udiv(builder.add(count, i64(AT_ONCE - 1)), i64(AT_ONCE))
            _loop(builder, turns, [mask], some)
            return [builder.add(t, count)]

        (t,) = _loop(builder, words, [INTP(0)], word)
        return t

    i = types.intp
    return i(columns, masks, i, i), build


@intrinsic
def _values_tile(  # pragma: no cover
    typing, values, columns, count, pixels, batch, rows, n, kind
):
    def build(context, builder, signature, arguments):
        values, columns, count, pixels, batch, rows, n, kind = arguments
        number = values.type.pointee

        def variant(stored, size):
            def of_rows(rows):
                each = [
                    _sample_at(builder, pixels, batch, INTP(r), n, stored, size)
                    for r in range(rows)
                ]

                def body(t, nothing):
                    column = builder.sext(builder.load(builder.gep(columns, [t])), INTP)
                    to = builder.gep(values, [builder.mul(t, INTP(rows))])
                    for r, data in enumerate(each):
                        pixel = builder.load(builder.gep(data, [column]), align=1)
                        pixel = _as_number(builder, pixel, number)
                        builder.store(pixel, builder.gep(to, [INTP(r)]))
                    return []

                _loop(builder, count, [], body)
                for r in range(rows):  # the constant input of the biases
                    at = builder.add(builder.mul(count, INTP(rows)), INTP(r))
                    builder.store(ir.Constant(number, 1.0), builder.gep(values, [at]))

            sizes = range(1, GROUP + 1)
            _switch(builder, rows, {r: lambda r=r: of_rows(r) for r in sizes})

        _by_kind(builder, kind, variant)
        return context.get_dummy_value()

    i = types.intp
    return types.void(values, columns, i, pixels, batch, i, i, i), build


@intrinsic
def _is_strange_tile(typing, numbers, count):  # pragma: no cover
    """Return 1 if any of the numbers is NaN or infinite, else 0: x * 0 is 0 for all others."""

    def build(context, builder, signature, arguments):
        data, count = arguments
        number = data.type.pointee
        groups = builder.udiv(count, INTP(LANES))
        done = builder.mul(groups, INTP(LANES))

        def many(t, carried):
            x = _load(builder, data, builder.mul(t, INTP(LANES)))
            return [_multiply_add(builder, carried[0], ir.Constant(x.type, [0.0] * LANES), x)]

        def one(t, carried):
            x = builder.load(builder.gep(data, [builder.add(done, t)]))
            return [_multiply_add(builder, carried[0], x, ir.Constant(number, 0.0))]

        (sums,) = _loop(builder, groups, [ir.Constant(ir.VectorType(number, LANES), None)], many)
        (rest,) = _loop(builder, builder.sub(count, done), [ir.Constant(number, 0.0)], one)
        for k in range(LANES):
            rest = builder.fadd(rest, builder.extract_element(sums, I32(k)))
        return builder.zext(builder.fcmp_unordered("uno", rest, rest), INTP)

    return types.intp(numbers, types.intp), build


def _sigmoid(builder, z):  # pragma: no cover
    """Emit 1 / (1 + exp(-z)) of a vector: what kernels.sigmoid says, step for step."""
    wide = isinstance(z.type.element, ir.DoubleType)
    limit, magic, shift = (709.0, 6755399441055744.0, 52) if wide else (87.0, 12582912.0, 23)
    high, low = LN_2_64 if wide else LN_2_32
    integers = ir.VectorType(ir.IntType(64 if wide else 32), LANES)

    def all_of(number):
        return ir.Constant(z.type, [number] * LANES)

    def fused(a, b, c):
        product = builder.fmul(a, all_of(b) if isinstance(b, float) else b, flags=("contract",))
        return builder.fadd(product, c, flags=("contract",))

    x = builder.fneg(z)
    for bound, beyond in ((limit, ">"), (-limit, "<")):
        x = builder.select(builder.fcmp_ordered(beyond, x, all_of(bound)), all_of(bound), x)
    t = fused(x, 1.4426950408889634, all_of(magic))
    n = builder.fsub(t, all_of(magic))
    r = fused(n, -low, fused(n, -high, x))
    terms = range(13 if wide else 7, -1, -1)
    p = all_of(1 / math.factorial(terms[0]))
    for k in terms[1:]:
        p = fused(p, r, all_of(1 / math.factorial(k)))
    power = builder.shl(builder.bitcast(t, integers), ir.Constant(integers, [shift] * LANES))
    bits = builder.add(power, builder.bitcast(p, integers))
    s = builder.fdiv(all_of(1.0), builder.fadd(all_of(1.0), builder.bitcast(bits, z.type)))
    # Unordered: NaN stays NaN.
    return builder.select(builder.fcmp_unordered(">", z, all_of(-limit)), s, all_of(0.0))


LN_2_64 = 0.693147180369123816490, 1.90821492927058770002e-10  # in two parts: n * high is exact
LN_2_32 = 0.693359375, -2.12194440e-4


@intrinsic
def _activate_tile(typing, A, count, activation):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, count, activation = arguments

        def variant(function):
            def body(t, carried):
                at = builder.mul(t, INTP(LANES))
                _store(builder, function(_load(builder, to, at)), to, at)
                return carried

            _loop(builder, count, [], body)

        def tanh(z):
            twice = builder.fadd(z, z)
            s = _sigmoid(builder, twice)
            return builder.fsub(builder.fadd(s, s), ir.Constant(z.type, [1.0] * LANES))

        def relu(z):
            zeros = ir.Constant(z.type, None)
            return builder.select(builder.fcmp_ordered("<", z, zeros), zeros, z)

        functions = {SIGMOID: lambda z: _sigmoid(builder, z), TANH: tanh, RELU: relu}
        variants = {code: lambda f=f: variant(f) for code, f in functions.items()}
        _switch(builder, activation, variants)
        return context.get_dummy_value()

    return types.void(A, types.intp, types.intp), build


# ------------------------------------------------ the steps of a program
#
# Each is compiled once, as a C function (p, now, like), and called by its address. p: its row of
# the program; now: what is different in each mini-batch; like: of the network's type, says no more.

# In now: addresses of sample numbers, counts, and whether a pixel was NaN or infinite.
BATCH, LATER, N_LATER, STRANGE, NOW = 0, 1, 2, 3, 8


def _pointing(kind):  # pragma: no cover
    """Return an intrinsic (p, k): p[k] as a pointer to numbers of some type."""

    @intrinsic
    def pointer(typing, p, k):
        def build(context, builder, signature, arguments):
            address = builder.load(builder.gep(arguments[0], [arguments[1]]))
            return builder.inttoptr(address, context.get_value_type(kind).as_pointer())

        return types.CPointer(kind)(p, types.intp), build

    return pointer


_bytes, _masks, _columns, _longs = map(
    _pointing, (types.uint8, types.uint16, types.int32, types.intp)
)


@intrinsic
def _numbers_at(typing, p, k, like):  # pragma: no cover
    """Return p[k] as a pointer to numbers of the network's type."""

    def build(context, builder, signature, arguments):
        address = builder.load(builder.gep(arguments[0], [arguments[1]]))
        return builder.inttoptr(address, context.get_value_type(like))

    return like(p, types.intp, like), build


@intrinsic
def _number(typing, p, k, like):  # pragma: no cover
    """Return p[k], the bits of a float64, in the network's type."""

    def build(context, builder, signature, arguments):
        number = builder.load(builder.gep(arguments[0], [arguments[1]]))
        number = builder.bitcast(number, ir.DoubleType())
        return number if like.dtype == types.float64 else builder.fptrunc(number, ir.FloatType())

    return like.dtype(p, types.intp, like), build


@kernel(inner=True)
def dropout_row(key, l, sample):  # pragma: no cover
    """Return 32 bits for a layer of a sample: kernels.dropout_row."""
    return np.intp(mixed(mixed(np.uint64(key) ^ np.uint64(l)) ^ np.uint64(sample)))


@kernel(inner=True)
def mixed(x):  # pragma: no cover
    """kernels.mixed."""
    low = np.uint64(0xFFFFFFFF)
    x = x & low
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return x ^ (x >> np.uint64(16))


@intrinsic
def _at(typing, data, index):  # pragma: no cover
    """Return the place data[index]."""

    def build(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return data(data, types.intp), build


@intrinsic
def _ask_for(typing, data):  # pragma: no cover
    """Ask for the line of memory that data[0] is in, ahead of its use."""

    def build(context, builder, signature, arguments):
        _prefetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(data), build


@intrinsic
def _shape_of(typing, data):  # pragma: no cover
    """Return the most rows of a tile of such numbers, and the vectors in a panel of them."""
    rows, strip = ROWS[data.dtype.bitwidth // 8], STRIP[data.dtype.bitwidth // 8]

    def build(context, builder, signature, arguments):
        return context.make_tuple(builder, signature.return_type, [INTP(rows), INTP(strip)])

    return types.UniTuple(types.intp, 2)(data), build


def multiply_add(p, now, like):  # pragma: no cover
    """C, c_row, A, a_row, a_step, B, count, rows, vectors, adding.

    C[r, :] = sum over t < count of A[r, t] * B[t, :] of 1 or 2 vectors, added to what is there or
    not: C[r, :] is at C + r * c_row, A[r, t] at A + r * a_row + t * a_step, B[t, :] one row of a
    panel. Sums run in the order of t, whatever the shape of the tiles.
    """
    C, c_row, A, a_row, a_step = _numbers_at(p, 1, like), p[2], _numbers_at(p, 3, like), p[4], p[5]
    B, count, rows, vectors, adding = _numbers_at(p, 6, like), p[7], p[8], p[9], p[10]
    # The rows are shared out among tiles evenly, and the terms taken DEPTH at a time: as much of B
    # as stays in the first-level cache while all tiles go past it.
    most, strip = _shape_of(C)
    many = max(1, (rows + most - 1) // most)
    for t in range(0, count, DEPTH):
        terms, r = min(DEPTH, count - t), 0
        for smaller in range(2):  # the first rows % many tiles have one row more
            tiles = many - rows % many if smaller else rows % many
            each = rows // many + 1 - smaller
            c, a = _at(C, r * c_row), _at(A, r * a_row + t * a_step)
            b = _at(B, t * strip * LANES)
            _add_tile(c, c_row, a, a_row, a_step, b, terms, tiles, each, vectors, adding)
            r += tiles * each
        adding = 1


def transpose(p, now, like):  # pragma: no cover
    """T, S, blocks, panel, vectors.

    The transpose of `blocks` blocks of 16 x 16 or 16 x 32, from panels of the layer above, `panel`
    numbers each, into one panel.
    """
    T, S, blocks, panel, vectors = (
        _numbers_at(p, 1, like),
        _numbers_at(p, 2, like),
        p[3],
        p[4],
        p[5],
    )
    _, strip = _shape_of(T)
    row = strip * LANES
    for j in range(blocks):
        source = _at(S, j // strip * panel + j % strip * LANES)
        for k in range(vectors):
            _transpose_tile(_at(T, j * LANES * row + k * LANES), _at(source, k * LANES * row))


def listed(p, now, like):  # pragma: no cover
    """Z, z_row, values, panel, columns, counts, vectors, g0, g1, groups, size, n, pixels, n_bytes.

    The forward pass of the groups g0..g1 of `groups`, `size` samples in all: as multiply_add, with
    the columns and values of the pixels that are not zero. Meanwhile it asks for n_bytes of the
    pixels of each sample that comes in the same place in the next mini-batch.
    """
    Z, z_row, values = _numbers_at(p, 1, like), p[2], _numbers_at(p, 3, like)
    panel, columns, counts, vectors = _numbers_at(p, 4, like), _columns(p, 5), _longs(p, 6), p[7]
    groups, size, n, later, n_later = p[10], p[11], p[12], _longs(now, LATER), now[N_LATER]
    for g in range(p[8], p[9]):
        first, last = g * size // groups, (g + 1) * size // groups
        asked = min(first, n_later - 1)
        _listed_tile(
            _at(Z, first * z_row), z_row, _at(values, first * (n + 1)), panel,
            _at(columns, g * (n + 1 + AT_ONCE)), counts[g], last - first, vectors, _bytes(p, 13),
            _at(later, asked), n_later - asked, p[14],
        )  # fmt: skip


def listed_add(p, now, like):  # pragma: no cover
    """panel, values, S, columns, counts, vectors, groups, size, n.

    The update, on the pixels that are not zero: a row of the panel += value * S[i, :], for the
    samples in their order; S: rate * Delta, rows of a panel.
    """
    panel, values, S = _numbers_at(p, 1, like), _numbers_at(p, 2, like), _numbers_at(p, 3, like)
    columns, counts, vectors, groups, size, n = _columns(p, 4), _longs(p, 5), p[6], p[7], p[8], p[9]
    _, strip = _shape_of(panel)
    for g in range(groups):
        first, last = g * size // groups, (g + 1) * size // groups
        _listed_add_tile(
            panel, _at(values, first * (n + 1)), _at(S, first * strip * LANES),
            _at(columns, g * (n + 1 + AT_ONCE)), counts[g], last - first, vectors,
        )  # fmt: skip


def activate(p, now, like):  # pragma: no cover
    """A, row, vectors, rows, ones, n_ones, activation, n: A becomes f(A), rows `row` apart.

    ones: where the constant input of the next biases is, in n_ones rows; n: neurons (softmax).
    """
    A, row, ones = _numbers_at(p, 1, like), p[2], _numbers_at(p, 5, like)
    if p[7] == SOFTMAX:
        for i in range(p[4]):
            a = _at(A, i * row)
            largest = a[0]
            for j in range(1, p[8]):
                if a[j] > largest or a[j] != a[j]:
                    largest = a[j]
            total = largest - largest
            for j in range(p[8]):
                a[j] = math.exp(a[j] - largest)
                total += a[j]
            for j in range(p[8]):
                a[j] /= total
    else:
        for i in range(p[4]):
            _activate_tile(_at(A, i * row), p[3], p[7])
    for i in range(p[6]):
        ones[i * row] = 1


def drop(p, now, like):  # pragma: no cover
    """A, row, first, vectors, i0, i1, l, key, limit, factor: dropout, see kernels.drop_rows.

    first: the number of the first neuron; limit: the share to leave out, times 2^32; factor: what
    the others are multiplied by.
    """
    A, row, batch, factor = _numbers_at(p, 1, like), p[2], _longs(now, BATCH), _number(p, 10, like)
    for i in range(p[5], p[6]):
        bits = dropout_row(p[8], p[7], batch[i])
        _drop_tile(_at(A, i * row), bits, p[3], p[9], factor, p[4])


def shrink(p, now, like):  # pragma: no cover
    """W, V, rows, vectors, decay, l1, momentum, nesterov: regularisation, before the update.

    Without velocity (V is 0): w = decay * w - l1 * sign(w). With it, v = momentum * v, and what
    regularisation takes from w goes into v; Nesterov's form takes momentum * v from w meanwhile.
    """
    W, V = _numbers_at(p, 1, like), _numbers_at(p, 2, like)
    decay, l1, momentum = _number(p, 5, like), _number(p, 6, like), _number(p, 7, like)
    for v in range(p[4]):
        velocity = V if p[2] == 0 else _at(V, v * LANES)
        _shrink_tile(_at(W, v * LANES), velocity, p[3], decay, l1, momentum, p[8])


def advance(p, now, like):  # pragma: no cover
    """W, V, rows, vectors, factor: w += factor * v."""
    W, V = _numbers_at(p, 1, like), _numbers_at(p, 2, like)
    for v in range(p[4]):
        _advance_tile(_at(W, v * LANES), _at(V, v * LANES), p[3], _number(p, 5, like))


def max_norm(p, now, like):  # pragma: no cover
    """W, rows, vectors, limit: scale the weights into each neuron down to this length at most."""
    W = _numbers_at(p, 1, like)
    for v in range(p[3]):
        _max_norm_tile(_at(W, v * LANES), p[2], _number(p, 4, like))


def output_delta(p, now, like):  # pragma: no cover
    """D, A, Y, row, j0, j1, n, i0, i1: D = A - Y for the neurons j0..j1 and samples i0..i1."""
    D, A, Y, row, n = (
        _numbers_at(p, 1, like),
        _numbers_at(p, 2, like),
        _numbers_at(p, 3, like),
        p[4],
        p[7],
    )
    batch = _longs(now, BATCH)
    for i in range(p[8], p[9]):
        d, a, y = _at(D, i * row), _at(A, i * row), _at(Y, batch[i] * n)
        for j in range(p[5], p[6]):
            d[j] = a[j] - y[j]


def scale_delta(p, now, like):  # pragma: no cover
    """D, A, S, row, rows, rate, slope, keep: D *= f'(z), one vector of each row; S = rate * D.

    S: rows of a panel; keep: what A must be multiplied by to be f(z).
    """
    D, A, S = _numbers_at(p, 1, like), _numbers_at(p, 2, like), _numbers_at(p, 3, like)
    _delta_tile(D, A, S, p[4], _number(p, 6, like), _number(p, 8, like), p[5], p[7])


def gather(p, now, like):  # pragma: no cover
    """A, a_row, pixels, i0, rows, n, kind: the pixels of samples, and the constant input 1."""
    A, row, n, kind = _numbers_at(p, 1, like), p[2], p[6], p[7]
    batch = _at(_longs(now, BATCH), p[4])
    _gather_tile(A, row, _bytes(p, 3), batch, p[5], n, kind)
    if kind != BYTES:
        for i in range(p[5]):
            now[STRANGE] |= _is_strange_tile(_at(A, i * row), n)


def list_pixels(p, now, like):  # pragma: no cover
    """columns, counts, values, masks, mask_row, pixels, g0, g1, groups, size, n, kind.

    For each of the groups g0..g1: the columns of the pixels that are not zero in all samples, and
    then n, the constant input of the biases; how many these are; the values of each, sample by
    sample. Up to AT_ONCE columns beyond them are written.
    """
    columns, counts, values, masks = (
        _columns(p, 1),
        _longs(p, 2),
        _numbers_at(p, 3, like),
        _masks(p, 4),
    )
    mask_row, pixels, groups, size, n, kind = p[5], _bytes(p, 6), p[9], p[10], p[11], p[12]
    for g in range(p[7], p[8]):
        first, last = g * size // groups, (g + 1) * size // groups
        batch, mask = _at(_longs(now, BATCH), first), _at(masks, first * mask_row)
        column, value = _at(columns, g * (n + 1 + AT_ONCE)), _at(values, first * (n + 1))
        _mask_tile(mask, mask_row, pixels, batch, last - first, n, kind)
        count = _list_tile(column, mask, last - first, mask_row // 4)
        column[count] = n
        counts[g] = count + 1
        _values_tile(value, column, count, pixels, batch, last - first, n, kind)
        if kind != BYTES:
            now[STRANGE] |= _is_strange_tile(value, count * (last - first))


def ask_for_rows(p, now, like):  # pragma: no cover
    """Y, n_bytes, i0, i1: ask for the rows of the samples, n_bytes each."""
    Y, n_bytes, batch = _bytes(p, 1), p[2], _longs(now, BATCH)
    for i in range(p[3], p[4]):
        _ask_for(_at(Y, batch[i] * n_bytes))


def copy_outputs(p, now, like):  # pragma: no cover
    """out, A, row, n, i0, i1: the activations of a sample become its row of out."""
    out, A, row, n = _numbers_at(p, 1, like), _numbers_at(p, 2, like), p[3], p[4]
    batch = _longs(now, BATCH)
    for i in range(p[5], p[6]):
        a, to = _at(A, i * row), _at(out, batch[i] * n)
        for j in range(n):
            to[j] = a[j]


STEPS = (
    multiply_add, transpose, listed, listed_add, activate, output_delta, scale_delta, gather,
    list_pixels, ask_for_rows, copy_outputs, drop, shrink, advance, max_norm,
)  # fmt: skip
MEET = len(STEPS)  # the one step that is no tile: wait for the other threads
WIDTH = 16  # of a row of a program


@functools.cache
def _tiles(dtype):
    return np.zeros(len(STEPS), np.int64)


def tiles_for(dtype, program):  # pragma: no cover
    """Return the addresses of the steps for networks of a dtype, those of a program compiled."""
    tiles, longs = _tiles(dtype), types.CPointer(types.intp)
    like = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    needed = [k for k in np.unique(program[:, 0]).tolist() if k != MEET and not tiles[k]]
    if needed:
        with light_optimisation():
            for k in needed:
                function = c_function(types.void(longs, longs, like), STEPS[k])
                _kept.append(function)  # code is freed with the object that owns it
                tiles[k] = function.address
    return tiles


_kept = []


@intrinsic
def _address(typing, array, index):  # pragma: no cover
    """Return the address of array[index]."""

    def build(context, builder, signature, arguments):
        return builder.ptrtoint(_data(context, builder, array, *arguments), INTP)

    return types.intp(array, types.intp), build


@intrinsic
def _call(typing, address, p, now):  # pragma: no cover
    """Call the step at an address, with the addresses of its row and of what is now."""

    def build(context, builder, signature, arguments):
        longs, byte = INTP.as_pointer(), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [longs, longs, byte])
        step, *pointers = (
            builder.inttoptr(address, to)
            for address, to in zip(arguments, (kind.as_pointer(), longs, longs))
        )
        builder.call(step, [*pointers, ir.Constant(byte, None)])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), build


@intrinsic
def float_mode(typing, mode):  # pragma: no cover
    """Set the processor's float mode, and return the one before; 0: flush tiny numbers to zero.

    Saturated neurons have Deltas of 1e-40: each sum with such a number costs 100 cycles, and the
    number changes nothing. On processors other than x86 nothing happens.
    """

    def build(context, builder, signature, arguments):
        if not llvm.get_process_triple().startswith("x86_64"):
            return arguments[0]
        place = cgutils.alloca_once(builder, I32)
        byte = ir.IntType(8).as_pointer()
        kind, pointer = ir.FunctionType(ir.VoidType(), [byte]), builder.bitcast(place, byte)
        store, load = (
            cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}mxcsr")
            for name in ("st", "ld")
        )
        builder.call(store, [pointer])
        before = builder.load(place)
        flushing = builder.or_(before, I32(0x8040))  # flush results, and take operands for zero
        wanted = builder.trunc(arguments[0], I32)
        wanted = builder.select(builder.icmp_signed("==", wanted, I32(0)), flushing, wanted)
        builder.store(wanted, place)
        builder.call(load, [pointer])
        return builder.zext(before, INTP)

    return types.intp(types.intp), build


# ------------------------------------------------ a team of threads


@intrinsic
def _atomic_add(typing, array, index, number):  # pragma: no cover
    """Add to array[index], and return what was there before."""

    def build(context, builder, signature, arguments):
        array_value, index, number = arguments
        place = _data(context, builder, array, array_value, index)
        return builder.atomic_rmw("add", place, number, "seq_cst")

    return types.int64(array, types.intp, types.int64), build


@intrinsic
def _atomic_load(typing, array, index):  # pragma: no cover
    """Return array[index] as it is now, and rest a moment, so that spinning is cheap."""

    def build(context, builder, signature, arguments):
        array_value, index = arguments
        if llvm.get_process_triple().startswith("x86_64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        place = _data(context, builder, array, array_value, index)
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(array, types.intp), build


@intrinsic
def _yield(typing, address):  # pragma: no cover
    """Call the function without arguments at this address: the system's sched_yield."""

    def build(context, builder, signature, arguments):
        function = ir.FunctionType(I32, []).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), [])
        return context.get_dummy_value()

    return types.void(types.intp), build


# In the array `team`, on cache lines of their own
ARRIVED, MEETINGS, YIELD, ABANDONED, TEAM = 0, 16, 32, 33, 48
SPINS = 2000  # tens of microseconds, after which a processor may be needed for others


@kernel(inner=True)
def meet(team, shares):  # pragma: no cover
    """Return when all threads of the team have called this as often as the caller.

    team: int64, all zeros but the address of sched_yield, or 0. Each thread of a team must be a
    thread of the system: tasks that queue for one would wait for ever. Returns whether they met:
    False if one of them will not come.
    """
    if shares > 1:
        meeting = _atomic_load(team, MEETINGS)
        if _atomic_add(team, ARRIVED, 1) == shares - 1:
            team[ARRIVED] = 0
            _atomic_add(team, MEETINGS, 1)
        else:
            spins = 0
            while _atomic_load(team, MEETINGS) == meeting:
                spins += 1
                if spins > SPINS:
                    if _atomic_load(team, ABANDONED) != 0:
                        return False
                    if team[YIELD] != 0:
                        _yield(team[YIELD])
    return True


@functools.cache
def yield_address():  # pragma: no cover
    """Return the address of the system's sched_yield, or 0 where there is none."""
    return llvm.address_of_symbol("sched_yield") or 0


@kernel()
def meet_often(team, share, shares, count):  # pragma: no cover
    """Meet `count` times: what a meeting costs on this machine."""
    for _ in range(count):
        meet(team, shares)


# ------------------------------------------------ the driver


@kernel()
def run_program(team, share, shares, tiles, whole, ragged, now, order, m):  # pragma: no cover
    """Run a program for every m samples of `order`; `ragged` if there are fewer in the end.

    now: (NOW,) int64, for the driver's own use; STRANGE in it tells of pixels that are not finite.
    A team of `shares` threads calls this at the same time, each with programs for its own share;
    they meet where the programs say so.
    """
    if not meet(team, shares):
        return
    mode = float_mode(0)
    for start in range(0, order.size, m):
        following = start + min(m, order.size - start)
        program = whole if following - start == m else ragged
        if following == order.size:  # nothing comes later
            following = 0
        now[N_LATER] = order.size - following
        now[BATCH], now[LATER] = _address(order, start), _address(order, following)
        for step in range(program.shape[0]):
            if program[step, 0] == MEET:
                meet(team, shares)
            else:
                _call(tiles[program[step, 0]], _address(program, step * WIDTH), _address(now, 0))
    float_mode(mode)
