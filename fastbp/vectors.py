"""The engine room's second hall: the panel form of training and evaluation, on vector tiles.

Laws: those of kernels.py. It takes no compiled function from there: Numba's cache watches the file
that defines a function, and not the files of the functions that it calls.

For the length of a call the weights stand in panels of 32 neurons, one input a row:

    layout      (L+1, 6) int64, a row per layer, the input layer first: the number of neurons; how
                far apart two rows of activations are; where its panels begin; where its A, its
                Delta and its rate * Delta begin in a workspace of one sample (in a workspace of m
                samples: m times that)
    panels      the network in one flat vector: a layer is (panels, n_in + 1, PANEL), the last row
                of a panel the biases, whose input is the constant 1
    work        one flat workspace, all zeros at the start. A and Delta: one row per sample, padded
                with zeros to whole vectors; A has the constant 1 behind its neurons. rate * Delta:
                (panels, m, PANEL), as the update reads it
    starts, columns, values
                the data set as lists of the pixels that are not zero (of MNIST's, four fifths
                are): sample i has values[t] in column columns[t], t = starts[i] .. starts[i+1]
    v           a vector of LANES neurons: two are a panel
    team, share, shares
                threads that run the same driver at once, each on its share of every step

Forward pass, backward pass and update are one tile: C[r, :] = sum over t of A[r, t] * B[t, :],
with numbers of A times vectors of B. The backward pass turns the weights over for it, 16 x 16 at a
time. With lists, the first layer has two tiles of its own. The twin of all this on plain loops is
the row-major form in kernels.py: FASTBP_LOOPS=1 selects it.
"""

import contextlib
import functools
import math

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import cfunc, config, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from fastbp.kernels import SIZE, kernel, uncached

AVAILABLE = not config.DISABLE_JIT  # vectors live in compiled code only

LANES = 16  # numbers in a vector
PANEL = 2 * LANES  # neurons in a panel
STRIDE, PANELS_AT, ROWS_AT, DELTAS_AT, SCALED_AT = range(1, 6)  # columns of the layout, after SIZE
AHEAD = 32  # samples that are worked on while the list of another comes from memory
LISTED = -1  # the kind of data that are lists of pixels
SHARED_BY_NEURONS = 8  # vectors per thread from which on a layer is shared out by neurons


def _has_512_bits():  # pragma: no cover
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return not config.CPU_NAME and llvm.get_host_cpu_features().get("avx512f", False)


# Rows and vectors of a tile, by the bytes of a number: as many sums as the registers can hold. Sums
# do not depend on it.
ROWS_32, ROWS_64, STRIP_32, STRIP_64 = (10, 5, 2, 2) if _has_512_bits() else (3, 3, 2, 1)
TILE_ROWS = {4: ROWS_32, 8: ROWS_64}


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


def c_function(signature, function):  # pragma: no cover
    """Compile a function to be called by its address, with the same options and cache."""
    options = dict(error_model="numpy", _nrt=False)
    try:
        return cfunc(signature, cache=True, **options)(function)
    except RuntimeError:
        uncached.append(function.__name__)
        return cfunc(signature, **options)(function)


# ------------------------------------------------ vector tiles
#
# Tiles of the panel form, written as LLVM vectors: loops over 16 or 32 neurons are too short for
# the loop vectoriser, whose checks that arrays do not overlap cost more than the arithmetic, and
# which uses half of a 512-bit register. An intrinsic is called like a function: array, index of
# its first number, then steps.

INTP, I32 = ir.IntType(64), ir.IntType(32)


def _data(context, builder, array_type, array, index):  # pragma: no cover
    return builder.gep(make_array(array_type)(context, builder, array).data, [index])


def _vector_at(builder, data, offset, count=LANES):  # pragma: no cover
    vector = ir.VectorType(data.type.pointee, count)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _load(builder, data, offset, count=LANES):  # pragma: no cover
    return builder.load(_vector_at(builder, data, offset, count), align=1)


def _store(builder, vector, data, offset):  # pragma: no cover
    builder.store(vector, _vector_at(builder, data, offset, vector.type.count), align=1)


def _constants(numbers):  # pragma: no cover
    return ir.Constant(ir.VectorType(I32, len(numbers)), [I32(x) for x in numbers])


def _splat(builder, number, count=LANES):  # pragma: no cover
    nothing = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(nothing, number, I32(0))
    return builder.shuffle_vector(first, nothing, _constants([0] * count))


def _multiply_add(builder, total, number, vector):  # pragma: no cover
    product = builder.fmul(_splat(builder, number), vector, flags=("contract",))
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
    typing, C, c_row, A, a_row, a_step, B, b_step, count, rows, vectors, adding
):
    def build(context, builder, signature, arguments):
        to, c_row, left, a_row, a_step, right, b_step, count, rows, vectors, adding = arguments
        adding = builder.icmp_signed("!=", adding, INTP(0))

        def variant(rows, vectors):
            lanes = [INTP(v * LANES) for v in range(vectors)]
            c_rows = [builder.gep(to, [builder.mul(c_row, INTP(r))]) for r in range(rows)]
            a_rows = [builder.gep(left, [builder.mul(a_row, INTP(r))]) for r in range(rows)]
            places = [(row, lane) for row in c_rows for lane in lanes]

            def body(t, carried):
                a, b, *sums = carried
                vectors = [_load(builder, right, builder.add(b, lane)) for lane in lanes]
                numbers = [builder.load(builder.gep(row, [a])) for row in a_rows]
                terms = [(number, vector) for number in numbers for vector in vectors]
                sums = [_multiply_add(builder, s, *term) for s, term in zip(sums, terms)]
                return [builder.add(a, a_step), builder.add(b, b_step), *sums]

            zero = ir.Constant(ir.VectorType(to.type.pointee, LANES), None)
            sums = [builder.select(adding, _load(builder, *place), zero) for place in places]
            _, _, *sums = _loop(builder, count, [INTP(0), INTP(0), *sums], body)
            for s, place in zip(sums, places):
                _store(builder, s, *place)

        shapes = [(r, v) for r in range(1, TILE_ROWS[C.dtype.bitwidth // 8] + 1) for v in (1, 2)]
        code = builder.add(builder.mul(rows, INTP(4)), vectors)
        _switch(builder, code, {4 * r + v: lambda r=r, v=v: variant(r, v) for r, v in shapes})
        return context.get_dummy_value()

    i = types.intp
    return types.void(C, i, A, i, i, B, i, i, i, i, i), build


@intrinsic
def _transpose_tile(typing, T, S):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, source = arguments
        rows = [_load(builder, source, INTP(i * PANEL)) for i in range(LANES)]
        step = LANES // 2
        while step:  # swap the off-diagonal quarters of blocks of 16, 8, 4 and 2
            low = [j if not j & step else LANES + j - step for j in range(LANES)]
            high = [j + step if not j & step else LANES + j for j in range(LANES)]
            for i in range(LANES):
                if not i & step:
                    pair = rows[i], rows[i + step]
                    rows[i] = builder.shuffle_vector(*pair, _constants(low))
                    rows[i + step] = builder.shuffle_vector(*pair, _constants(high))
            step //= 2
        for j in range(LANES):
            _store(builder, rows[j], to, INTP(j * PANEL))
        return context.get_dummy_value()

    return types.void(T, S), build


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


def _pairs(builder, number_type, columns, values, count, carried, body):  # pragma: no cover
    """Emit a loop over a list of pixels, two at a time: body(which of them, row, value, ...)."""

    def two(t, carried):
        for which in range(2):
            at = builder.add(builder.shl(t, INTP(1)), INTP(which))
            column = builder.zext(builder.load(builder.gep(columns, [at])), INTP)
            number = _as_number(builder, builder.load(builder.gep(values, [at])), number_type)
            carried = body(which, builder.mul(column, INTP(PANEL)), number, carried)
        return carried

    return _loop(builder, builder.lshr(count, INTP(1)), carried, two)


def _samples(builder, starts, batch, size, each):  # pragma: no cover
    """Emit each(i, t, count) for the samples of a batch: their lists are `count` from t on."""

    def one(i, nothing):
        sample = builder.gep(starts, [builder.load(builder.gep(batch, [i]))])
        t, end = builder.load(sample), builder.load(builder.gep(sample, [INTP(1)]))
        each(i, t, builder.sub(end, t))
        return []

    _loop(builder, size, [], one)


def _prefetch(builder, data, count):  # pragma: no cover
    """Ask for the cache lines of `count` numbers, ahead of their use."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    step = {"i16": 32, "float": 16, "double": 8}[str(data.type.pointee)]

    def line(t, nothing):
        place = builder.gep(data, [builder.mul(t, INTP(step))])
        builder.call(ask, [builder.bitcast(place, byte), I32(0), I32(2), I32(1)])
        return []

    _loop(builder, builder.add(builder.udiv(count, INTP(step)), INTP(1)), [], line)


@intrinsic
def _listed_tile(  # pragma: no cover
    typing, Z, z_row, panel, columns, values, starts, batch, later, size, n_later, vectors
):
    def build(context, builder, signature, arguments):
        to, z_row, panel, columns, values, starts, batch, later, size, n_later, vectors = arguments

        def variant(vectors):
            lanes = [INTP(v * LANES) for v in range(vectors)]
            zero = ir.Constant(ir.VectorType(to.type.pointee, LANES), None)

            def each(i, t, count):
                def body(which, row, number, sums):
                    for v, lane in enumerate(lanes):
                        vector = _load(builder, panel, builder.add(row, lane))
                        s = 2 * v + which
                        sums[s] = _multiply_add(builder, sums[s], number, vector)
                    return sums

                with builder.if_then(builder.icmp_signed("<", i, n_later)):
                    ahead = builder.gep(later, [i])
                    _samples(builder, starts, ahead, INTP(1), ask)
                lists = builder.gep(columns, [t]), builder.gep(values, [t]), count
                sums = _pairs(builder, to.type.pointee, *lists, [zero] * (2 * vectors), body)
                z = builder.gep(to, [builder.mul(z_row, i)])
                for v, lane in enumerate(lanes):
                    _store(builder, builder.fadd(sums[2 * v], sums[2 * v + 1]), z, lane)

            def ask(i, t, count):
                for data in (columns, values):
                    _prefetch(builder, builder.gep(data, [t]), count)

            _samples(builder, starts, batch, size, each)

        _switch(builder, vectors, {1: lambda: variant(1), 2: lambda: variant(2)})
        return context.get_dummy_value()

    i = types.intp
    return types.void(Z, i, panel, columns, values, starts, batch, later, i, i, i), build


@intrinsic
def _listed_add_tile(  # pragma: no cover
    typing, panel, D, columns, values, starts, batch, size, vectors
):
    def build(context, builder, signature, arguments):
        panel, source, columns, values, starts, batch, size, vectors = arguments

        def variant(vectors):
            lanes = [INTP(v * LANES) for v in range(vectors)]

            def each(i, t, count):
                delta = builder.gep(source, [builder.mul(i, INTP(PANEL))])
                deltas = [_load(builder, delta, lane) for lane in lanes]

                def body(which, row, number, carried):
                    for delta, lane in zip(deltas, lanes):
                        place = builder.add(row, lane)
                        vector = _load(builder, panel, place)
                        _store(builder, _multiply_add(builder, vector, number, delta), panel, place)
                    return carried

                lists = builder.gep(columns, [t]), builder.gep(values, [t]), count
                _pairs(builder, panel.type.pointee, *lists, [], body)

            _samples(builder, starts, batch, size, each)

        _switch(builder, vectors, {1: lambda: variant(1), 2: lambda: variant(2)})
        return context.get_dummy_value()

    i = types.intp
    return types.void(panel, D, columns, values, starts, batch, i, i), build


@intrinsic
def _delta_tile(typing, D, A, S, row, rate, rows):  # pragma: no cover
    def build(context, builder, signature, arguments):
        deltas, activations, scaled, row, rate, rows = arguments

        def one(i, nothing):
            at = builder.mul(row, i)
            a = _load(builder, activations, at)
            slope = builder.fmul(a, builder.fsub(ir.Constant(a.type, [1.0] * LANES), a))
            delta = builder.fmul(_load(builder, deltas, at), slope)
            _store(builder, delta, deltas, at)
            step = builder.fmul(delta, _splat(builder, rate))
            _store(builder, step, scaled, builder.mul(i, INTP(PANEL)))
            return []

        _loop(builder, rows, [], one)
        return context.get_dummy_value()

    return types.void(D, A, S, types.intp, rate, types.intp), build


@intrinsic
def _gather_tile(typing, A, a_row, pixels, batch, rows, n, kind):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, a_row, pixels, batch, rows, n, kind = arguments
        number = to.type.pointee
        groups = builder.udiv(n, INTP(LANES))
        done = builder.mul(groups, INTP(LANES))

        def variant(stored, size):
            def each(i, nothing):
                sample = builder.mul(builder.load(builder.gep(batch, [i])), n)
                data = builder.gep(pixels, [builder.mul(sample, INTP(size))])
                data = builder.bitcast(data, stored.as_pointer())
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

        stored = ((ir.DoubleType(), 8), (ir.FloatType(), 4), (ir.IntType(8), 1))  # PIXEL_KINDS
        _switch(builder, kind, {k: lambda s=s: variant(*s) for k, s in enumerate(stored)})
        return context.get_dummy_value()

    i = types.intp
    return types.void(A, i, pixels, batch, i, i, i), build


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
def _sigmoid_tile(typing, A, count):  # pragma: no cover
    def build(context, builder, signature, arguments):
        to, count = arguments

        def body(t, carried):
            at = builder.mul(t, INTP(LANES))
            _store(builder, _sigmoid(builder, _load(builder, to, at)), to, at)
            return carried

        _loop(builder, count, [], body)
        return context.get_dummy_value()

    return types.void(A, types.intp), build


# Each tile is compiled once, as a C function, and called by its address: a function that Numba
# calls by name is compiled anew in every storey above it, which made 15 seconds of 4.


def _add_tile_body(  # pragma: no cover
    C, c_row, A, a_row, a_step, B, b_step, count, rows, vectors, adding
):
    _add_tile(C, c_row, A, a_row, a_step, B, b_step, count, rows, vectors, adding)


def _transpose_tile_body(T, S):  # pragma: no cover
    _transpose_tile(T, S)


def _listed_tile_body(  # pragma: no cover
    Z, z_row, panel, columns, values, starts, batch, later, size, n_later, vectors
):
    _listed_tile(
        Z, z_row, panel, columns, values, starts, batch, later, size, n_later, vectors
    )  # fmt: skip


def _listed_add_tile_body(  # pragma: no cover
    panel, D, columns, values, starts, batch, size, vectors
):
    _listed_add_tile(panel, D, columns, values, starts, batch, size, vectors)


def _delta_tile_body(D, A, S, row, rate, rows):  # pragma: no cover
    _delta_tile(D, A, S, row, rate, rows)


def _gather_tile_body(A, a_row, pixels, batch, rows, n, kind):  # pragma: no cover
    _gather_tile(A, a_row, pixels, batch, rows, n, kind)


def _sigmoid_tile_body(A, count):  # pragma: no cover
    _sigmoid_tile(A, count)


def _caller(which, operands):  # pragma: no cover
    """Return an intrinsic that calls tile number `which`: `*` an array and an index, `i` a step."""

    @intrinsic(prefer_literal=False)
    def call(typing, tiles, arguments):
        def build(context, builder, signature, values):
            tiles_value, packed = values
            values = cgutils.unpack_tuple(builder, packed)
            kinds = list(arguments)
            passed, at = [], 0
            for operand in operands:
                if operand == "*":
                    passed.append(_data(context, builder, kinds[at], values[at], values[at + 1]))
                    at += 2
                else:
                    passed.append(values[at])
                    at += 1
            address = _data(context, builder, tiles, tiles_value, INTP(which))
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in passed])
            function = builder.inttoptr(builder.load(address), kind.as_pointer())
            builder.call(function, passed)
            return context.get_dummy_value()

        return types.void(tiles, arguments), build

    return call


# C[r, :] = sum over t < count of A[r, t] * B[t, :], for `rows` rows r of 1 or 2 vectors, added to
# what is there or not: C[r, :] begins at c + r * c_row, A[r, t] is at a + r * a_row + t * a_step,
# B[t, :] begins at b + t * b_step. Sums run in the order of t, whatever the shape of the tile.
#     add_tile(tiles, (C, c, c_row, A, a, a_row, a_step, B, b, b_step, count, rows, vectors,
#         adding))
add_tile = _caller(0, "*i*ii*iiiii")
# The transpose of a 16 x 16 block: T[t + j * PANEL + i] = S[s + i * PANEL + j].
#     transpose_tile(tiles, (T, t, S, s))
transpose_tile = _caller(1, "**")
# Z[i, :] = sum over the list of sample batch[i] of value * panel[column, :], for 1 or 2 vectors;
# Z[i, :] begins at z + i * z_row. Lists have an even length; even and odd pixels are summed apart,
# so that one sum need not wait for the other. Meanwhile it asks for the lists of `later`.
#     listed_tile(tiles, (Z, z, z_row, panels, p, columns, 0, values, 0, starts, 0, batch, 0,
#         later, 0, size, n_later, vectors))
listed_tile = _caller(2, "*i******iii")
# panel[column, :] += value * D[i, :] for every pixel of the samples of a batch, in their order;
# D[i, :] begins at d + i * PANEL.
#     listed_add_tile(tiles, (panels, p, D, d, columns, 0, values, 0, starts, 0, batch, 0, size,
#         vectors))
listed_add_tile = _caller(3, "******ii")
# A becomes sigmoid(A), `count` vectors of it.
#     sigmoid_tile(tiles, (A, a, count))
sigmoid_tile = _caller(4, "*i")


# D *= A (1 - A), one vector of each of `rows` rows, `row` apart; S becomes rate * D, rows PANEL
# apart.
#     delta_tile(tiles, (D, d, A, a, S, s, row, rate, rows))
delta_tile = _caller(5, "***iii")
# A[i, :n] becomes the pixels of sample batch[i], converted to A's type, and A[i, n] the constant 1.
#     gather_tile(tiles, (A, a, a_row, pixels, 0, batch, i, rows, n, kind))
gather_tile = _caller(6, "*i**iii")


@functools.cache
def tiles_for(dtype, listed):  # pragma: no cover
    """Return the addresses of the tiles for arrays of dtype and lists of dtype `listed`."""
    scalars = [types.float32 if t == np.float32 else types.float64 for t in (dtype, listed)]
    number, values = map(types.CPointer, scalars)
    columns, pixels, i = types.CPointer(types.uint16), types.CPointer(types.uint8), types.intp
    starts = batch = types.CPointer(types.intp)
    lists = columns, values, starts, batch
    signatures = {
        _add_tile_body: types.void(number, i, number, i, i, number, i, i, i, i, i),
        _transpose_tile_body: types.void(number, number),
        _listed_tile_body: types.void(number, i, number, *lists, batch, i, i, i),
        _listed_add_tile_body: types.void(number, number, *lists, i, i),
        _sigmoid_tile_body: types.void(number, i),
        _delta_tile_body: types.void(number, number, number, i, scalars[0], i),
        _gather_tile_body: types.void(number, i, pixels, batch, i, i, i),
    }
    with light_optimisation():
        compiled = [c_function(signature, body) for body, signature in signatures.items()]
        _kept.extend(compiled)  # code is freed with the object that owns it
        addresses = np.array([function.address for function in compiled])
        _compile_driver(addresses, dtype, listed)
    return addresses


def _compile_driver(tiles, dtype, listed):  # pragma: no cover
    """Compile run_batches for these types, by calling it with nothing to do."""
    order, none, square = np.empty(0, np.int64), np.empty(0, dtype), np.empty((0, 1), dtype)
    pixels, Y = np.empty(0, np.uint8), np.empty((0, 1), dtype)
    pixels.flags.writeable = Y.flags.writeable = False
    lists = np.empty(0, np.uint16), np.empty(0, listed), order
    layout = np.zeros((2, SCALED_AT + 1), np.int64)
    run_batches(
        np.zeros(TEAM, np.int64), 0, 1, tiles, square, none, none, square, pixels, LISTED, *lists,
        Y, order, layout, 1, 0.0, True,
    )  # fmt: skip


_kept = []


@intrinsic
def list_row(typing, columns, values, t, pixels, start, n):  # pragma: no cover
    """List the pixels of pixels[start : start + n] that are not zero; return the list's end.

    Writes columns[t:], values[t:] and up to 16 numbers beyond what is listed.
    """

    def build(context, builder, signature, arguments):
        array_c, array_v, t, array_p, start, n = arguments
        c = _data(context, builder, columns, array_c, INTP(0))
        v = _data(context, builder, values, array_v, INTP(0))
        source = _data(context, builder, pixels, array_p, start)
        number, stored = v.type.pointee, source.type.pointee
        lanes = 64 // (values.dtype.bitwidth // 8)  # of one register of 512 bits

        def is_listed(pixel):
            zero = ir.Constant(pixel.type, None)
            if isinstance(stored, ir.IntType):
                return builder.icmp_unsigned("!=", pixel, zero)
            return builder.fcmp_unordered("!=", pixel, zero)

        def compress(vector, mask):
            kind = vector.type
            name = f"llvm.experimental.vector.compress.v{lanes}{_SHORT[str(kind.element)]}"
            compressed = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind, mask.type, kind]), name
            )
            return builder.call(compressed, [vector, mask, ir.Constant(kind, ir.Undefined)])

        i16 = ir.IntType(16)
        numbered = ir.Constant(ir.VectorType(i16, lanes), [i16(k) for k in range(lanes)])

        def many(group, carried):
            (t,) = carried
            k = builder.mul(group, INTP(lanes))
            pixel = _load(builder, source, k, lanes)
            mask = is_listed(pixel)
            column = builder.add(_splat(builder, builder.trunc(k, i16), lanes), numbered)
            _store(builder, compress(column, mask), c, t)
            _store(builder, compress(_as_number(builder, pixel, number), mask), v, t)
            bits = builder.bitcast(mask, ir.IntType(lanes))
            return [builder.add(t, builder.zext(builder.ctpop(bits), INTP))]

        groups = builder.udiv(n, INTP(lanes))
        (t,) = _loop(builder, groups, [t], many)
        done = builder.mul(groups, INTP(lanes))

        def one(i, carried):
            (t,) = carried
            k = builder.add(done, i)
            pixel = builder.load(builder.gep(source, [k]), align=1)
            builder.store(builder.trunc(k, i16), builder.gep(c, [t]))
            builder.store(_as_number(builder, pixel, number), builder.gep(v, [t]))
            return [builder.add(t, builder.zext(is_listed(pixel), INTP))]

        (t,) = _loop(builder, builder.sub(n, done), [t], one)
        return t

    i = types.intp
    return i(columns, values, i, pixels, i, i), build


_SHORT = {"i16": "i16", "float": "f32", "double": "f64"}


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


# ------------------------------------------------ the panel form: lists of pixels


@kernel()
def list_pixels(columns, values, starts, pixels, n_in):  # pragma: no cover
    """Write the columns and values of all pixels that are not zero; bytes become v/256.

    columns uint16, values: as many as may be listed at most; starts (n + 1,): where each sample's
    list begins; pixels: the samples, n_in numbers each. Every list ends with the constant input of
    the biases, and has an even length. Returns whether all fitted in.
    """
    one, zero = values.dtype.type(1), values.dtype.type(0)
    t = 0
    for i in range(starts.size - 1):
        starts[i] = t
        if t + n_in + PANEL > values.size:
            return False
        t = list_row(columns, values, t, pixels, i * n_in, n_in)
        columns[t], values[t] = n_in, one
        t += 1
        if (t - starts[i]) % 2:
            columns[t], values[t] = n_in, zero
            t += 1
    starts[starts.size - 1] = t
    return True


# ------------------------------------------------ the panel form: layer kernels
#
# Each writes one block of its result, the neurons of the vectors v0..v1 for the samples i0..i1, and
# each number of it is one sum in one order: whoever computes a block, the bits are the same.


@kernel(inner=True)
def part_of(count, share, shares):  # pragma: no cover
    """Return the range (first, last) of `count` things that is number `share` of `shares`."""
    return share * count // shares, (share + 1) * count // shares


@kernel(inner=True)
def block_of(layout, l, count, by_neurons, share, shares):  # pragma: no cover
    """Return the block (v0, v1, i0, i1) of layer l's neurons and `count` samples for one share."""
    vectors = (layout[l, SIZE] + LANES - 1) // LANES
    if by_neurons or vectors >= SHARED_BY_NEURONS * shares:
        v0, v1 = part_of(vectors, share, shares)
        return v0, v1, np.intp(0), count
    i0, i1 = part_of(count, share, shares)
    return np.intp(0), vectors, i0, i1


@kernel(inner=True)
def strip_of(v, v1, panels):  # pragma: no cover
    """Return how many vectors a tile may take at once from v on: to the end of a panel at most."""
    strip = STRIP_32 if panels.itemsize == 4 else STRIP_64
    return min(strip, 2 - v % 2, v1 - v)


@kernel(inner=True)
def tiles_of(count, panels):  # pragma: no cover
    """Return how many tiles cover `count` rows, evenly."""
    rows = ROWS_32 if panels.itemsize == 4 else ROWS_64
    return (count + rows - 1) // rows


@kernel(inner=True)
def vector_at(layout, l, v):  # pragma: no cover
    """Return where vector v of the neurons of layer l begins in panels."""
    panel = (layout[l - 1, SIZE] + 1) * PANEL
    return layout[l, PANELS_AT] + v // 2 * panel + v % 2 * LANES


@kernel(inner=True)
def gather_panels(tiles, work, pixels, kind, batch, layout, m, i0, i1):  # pragma: no cover
    """Copy the samples batch[i0:i1] into the input layer, and set the biases' constant input."""
    n, stride = layout[0, SIZE], layout[0, STRIDE]
    a = m * layout[0, ROWS_AT] + i0 * stride
    gather_tile(tiles, (work, a, stride, pixels, 0, batch, i0, i1 - i0, n, kind))


@kernel(inner=True)
def forward_panels(tiles, work, panels, layout, m, l, v0, v1, i0, i1):  # pragma: no cover
    """Write z = w a + b of layer l, block v0..v1, i0..i1, into its activations."""
    n_in, stride_in, stride = layout[l - 1, SIZE], layout[l - 1, STRIDE], layout[l, STRIDE]
    a_in, a_out = m * layout[l - 1, ROWS_AT], m * layout[l, ROWS_AT]
    many = tiles_of(i1 - i0, panels)
    v = v0
    while v < v1:  # a panel stays in the second-level cache while the samples go past it
        vectors = strip_of(v, v1, panels)
        p = vector_at(layout, l, v)
        for tile in range(many):
            first, last = part_of(i1 - i0, tile, many)
            a, z = a_in + (i0 + first) * stride_in, a_out + (i0 + first) * stride + v * LANES
            add_tile(tiles, (
                work, z, stride, work, a, stride_in, 1, panels, p, PANEL,
                n_in + 1, last - first, vectors, 0,
            ))  # fmt: skip
        v += vectors


@kernel(inner=True)
def forward_listed(  # pragma: no cover
    tiles, work, panels, columns, values, starts, batch, later, layout, m, v0, v1
):
    """Write z of the first layer from the lists of pixels, neurons of the vectors v0..v1.

    later: the samples of a later mini-batch, whose lists are asked for one by one meanwhile.
    """
    stride, a_out, n_later = layout[1, STRIDE], m * layout[1, ROWS_AT], later.size
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        listed_tile(tiles, (
            work, a_out + v * LANES, stride, panels, vector_at(layout, np.intp(1), v), columns, 0,
            values, 0, starts, 0, batch, 0, later, 0, batch.size, n_later, vectors,
        ))  # fmt: skip
        n_later = 0
        v += vectors


@kernel(inner=True)
def activate(tiles, work, layout, m, l, v0, v1, i0, i1):  # pragma: no cover
    """Turn z into sigmoid(z) in a block of layer l; set the constant input of the next biases."""
    n, stride = layout[l, SIZE], layout[l, STRIDE]
    vectors = (n + LANES - 1) // LANES
    whole = v0 == 0 and v1 == vectors  # then the rows are one run
    rows, count = (1, (i1 - i0) * stride // LANES) if whole else (i1 - i0, v1 - v0)
    begin = m * layout[l, ROWS_AT] + i0 * stride + v0 * LANES
    for i in range(rows):
        sigmoid_tile(tiles, (work, begin + i * stride, count))
    if v1 == vectors:  # beyond the neurons: 1 for the biases, then zeros
        for i in range(i0, i1):
            a = m * layout[l, ROWS_AT] + i * stride
            for j in range(n, stride):
                work[a + j] = work.dtype.type(j == n)


@kernel(inner=True)
def output_delta_panels(tiles, work, Y, batch, layout, m, rate, v0, v1, i0, i1):  # pragma: no cover
    """BP1, quadratic cost: write (A - Y) A (1 - A) of the output layer, and rate times that."""
    top = layout.shape[0] - 1
    n, stride = layout[top, SIZE], layout[top, STRIDE]
    a, d = m * layout[top, ROWS_AT], m * layout[top, DELTAS_AT]
    for i in range(i0, i1):
        for j in range(v0 * LANES, min(v1 * LANES, n)):
            work[d + i * stride + j] = work[a + i * stride + j] - Y[batch[i], j]
    scale_deltas(tiles, work, layout, m, top, rate, v0, v1, i0, i1)


@kernel(inner=True)
def scale_deltas(tiles, work, layout, m, l, rate, v0, v1, i0, i1):  # pragma: no cover
    """Multiply a block of layer l's Deltas by sigmoid'(z); write rate times that in panels.

    So the update reads it in the order of memory.
    """
    stride, s = layout[l, STRIDE], m * layout[l, SCALED_AT]
    for v in range(v0, v1):
        at = i0 * stride + v * LANES
        d, a = m * layout[l, DELTAS_AT] + at, m * layout[l, ROWS_AT] + at
        to = s + (v // 2 * m + i0) * PANEL + v % 2 * LANES
        delta_tile(tiles, (work, d, work, a, work, to, stride, rate, i1 - i0))


@kernel(inner=True)
def backward_panels(  # pragma: no cover
    tiles, work, scratch, panels, layout, m, l, rate, v0, v1, i0, i1
):
    """BP2: write (Delta @ w) A (1 - A) of layer l, block v0..v1, i0..i1, and rate times that.

    w is turned over, two vectors of its inputs at a time, so that the sum runs over rows again.
    scratch: (n_out rounded up to a vector) * PANEL numbers.
    """
    n_out = layout[l + 1, SIZE]
    stride, stride_out = layout[l, STRIDE], layout[l + 1, STRIDE]
    d_in, d_out = m * layout[l, DELTAS_AT], m * layout[l + 1, DELTAS_AT]
    many = tiles_of(i1 - i0, panels)
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        for j in range((n_out + LANES - 1) // LANES):
            for k in range(vectors):
                row = vector_at(layout, l + 1, j) + (v + k) * LANES * PANEL
                transpose_tile(tiles, (scratch, j * LANES * PANEL + k * LANES, panels, row))
        for tile in range(many):
            first, last = part_of(i1 - i0, tile, many)
            d, to = d_out + (i0 + first) * stride_out, d_in + (i0 + first) * stride + v * LANES
            add_tile(tiles, (
                work, to, stride, work, d, stride_out, 1, scratch, 0, PANEL,
                n_out, last - first, vectors, 0,
            ))  # fmt: skip
        scale_deltas(tiles, work, layout, m, l, rate, v, v + vectors, i0, i1)
        v += vectors


@kernel(inner=True)
def update_panels(tiles, work, panels, layout, m, size, l, v0, v1, k0, k1):  # pragma: no cover
    """BP3 + BP4 with the step: add the scaled Deltas times the inputs to w and b.

    For the neurons of the vectors v0..v1 and the inputs k0..k1, the last of which is the biases'.
    """
    stride, a, s = layout[l - 1, STRIDE], m * layout[l - 1, ROWS_AT], m * layout[l, SCALED_AT]
    many = tiles_of(k1 - k0, panels)
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        p, d = vector_at(layout, l, v), s + v // 2 * m * PANEL + v % 2 * LANES
        for tile in range(many):
            first, last = part_of(k1 - k0, tile, many)
            k = k0 + first
            add_tile(tiles, (
                panels, p + k * PANEL, PANEL, work, a + k, 1, stride, work, d, PANEL,
                size, last - first, vectors, 1,
            ))  # fmt: skip
        v += vectors


@kernel(inner=True)
def update_listed(  # pragma: no cover
    tiles, work, panels, columns, values, starts, batch, layout, m, v0, v1
):
    """update_panels for the first layer, on the lists of pixels."""
    s = m * layout[1, SCALED_AT]
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        listed_add_tile(tiles, (
            panels, vector_at(layout, np.intp(1), v), work,
            s + v // 2 * m * PANEL + v % 2 * LANES, columns, 0, values, 0, starts, 0, batch, 0,
            batch.size, vectors,
        ))  # fmt: skip
        v += vectors


# ------------------------------------------------ the panel form: drivers


@kernel(inner=True)
def copy_outputs(out, start, work, layout, m, i0, i1):  # pragma: no cover
    """Copy the output layer of the samples i0..i1 of the workspace into rows of out."""
    top = layout.shape[0] - 1
    a = m * layout[top, ROWS_AT]
    for i in range(i0, i1):
        for j in range(out.shape[1]):
            out[start + i, j] = work[a + i * layout[top, STRIDE] + j]


@kernel()
def run_batches(  # pragma: no cover
    team, share, shares, tiles, out, panels, work, scratch, pixels, kind, columns, values, starts,
    Y, order, layout, m, eta, train,
):  # fmt: skip
    """Carry every m samples of `order` through the network: one driver, to train or to evaluate.

    train: take a step of gradient descent after each mini-batch, divided by its own length; else
    write the outputs into out (n, n_out). kind: LISTED to read columns, values and starts; else
    pixels of that kind. work: m samples, zeros at the start; scratch: see backward_panels, a row
    per share.

    A team of `shares` threads calls this at the same time, each with the number of its own share
    and the same arrays; they meet after every layer. A wide layer is shared out by neurons, so
    that its weights stay with their core, a narrow one by samples; the first layer on lists always
    by neurons, since a list is read from its beginning.
    """
    top = layout.shape[0] - 1
    if not meet(team, shares):
        return
    mode = float_mode(0)
    for start in range(0, order.size, m):
        size = min(m, order.size - start)
        batch = order[start : start + size]
        first, last = part_of(size, share, shares)
        following = order[start + size + AHEAD : start + size + AHEAD + m]
        listed = kind == LISTED
        if not listed:
            gather_panels(tiles, work, pixels, kind, batch, layout, m, first, last)
            meet(team, shares)
        rate = panels.dtype.type(-eta / size)
        for l in range(1, top + 1):
            v0, v1, i0, i1 = block_of(layout, l, size, listed and l == 1, share, shares)
            if listed and l == 1:
                forward_listed(
                    tiles, work, panels, columns, values, starts, batch, following, layout, m,
                    v0, v1,
                )  # fmt: skip
            else:
                forward_panels(tiles, work, panels, layout, m, l, v0, v1, i0, i1)
            activate(tiles, work, layout, m, l, v0, v1, i0, i1)
            if train and l == top:
                output_delta_panels(tiles, work, Y, batch, layout, m, rate, v0, v1, i0, i1)
            meet(team, shares)
        if not train:
            copy_outputs(out, start, work, layout, m, first, last)
            meet(team, shares)
            continue
        for l in range(top - 1, 0, -1):
            v0, v1, i0, i1 = block_of(layout, l, size, listed and l < 1, share, shares)
            backward_panels(
                tiles, work, scratch[share], panels, layout, m, l, rate, v0, v1, i0, i1
            )  # fmt: skip
            meet(team, shares)
        for l in range(1, top + 1):
            n_in = layout[l - 1, SIZE] + 1
            v0, v1, k0, k1 = block_of(layout, l, n_in, listed and l == 1, share, shares)
            if listed and l == 1:
                update_listed(
                    tiles, work, panels, columns, values, starts, batch, layout, m, v0, v1
                )
            else:
                update_panels(tiles, work, panels, layout, m, size, l, v0, v1, k0, k1)
        meet(team, shares)
    float_mode(mode)
