"""The engine room's second hall: the panel form of training and evaluation, on vector tiles.

Laws: those of kernels.py. It takes no compiled function from there: Numba's cache watches the file
that defines a function, and not the files of the functions that it calls.

For the length of a call the weights stand in panels of 16 or 32 neurons, one input a row:

    layout      (L+1, 6) int64, a row per layer, the input layer first: the number of neurons; how
                far apart two rows of activations are; where its panels begin; where its A, its
                Delta and its rate * Delta begin in a workspace of one sample (in a workspace of m
                samples: m times that)
    panels      the network in one flat vector: a layer is (panels, n_in + 1, width), the last row
                of a panel the biases, whose input is the constant 1
    work        one flat workspace, all zeros at the start. A and Delta: one row per sample, padded
                to whole vectors, Delta with zeros; A has the constant 1 behind its neurons. rate * Delta:
                (panels, m, width), as the update reads it
    masks, columns, counts, values
                what of a mini-batch is not zero (of MNIST's pixels, a fifth). A bit per pixel and
                sample, one sample a row; then for each group of samples the columns of the pixels
                that are not zero in all of them, how many these are, and their values, which
                stand sample by sample for each column
    v           a vector of LANES neurons; a panel is STRIP of them, which makes its width
    team, share, shares
                threads that run the same driver at once, each on its share of every step

Forward pass, backward pass and update are one tile: C[r, :] = sum over t of A[r, t] * B[t, :],
with numbers of A times vectors of B. The backward pass turns the weights over for it, 16 x 16 at a
time. The first layer leaves out the pixels that are zero in all samples of a group, which changes no
bit of the result. The twin of all this on plain loops is the row-major form in kernels.py:
FASTBP_LOOPS=1 selects it.
"""

import contextlib
import functools
import itertools
import math

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import cfunc, config, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastbp.kernels import SIZE, kernel, uncached

AVAILABLE = not config.DISABLE_JIT  # vectors live in compiled code only

LANES = 16  # numbers in a vector
STRIDE, PANELS_AT, ROWS_AT, DELTAS_AT, SCALED_AT = range(1, 6)  # columns of the layout, after SIZE
AT_ONCE = 8  # columns that are listed at once
SHARED_BY_NEURONS = 8  # vectors per thread from which on a layer is shared out by neurons


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
    if not isinstance(number.type, ir.VectorType):
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
            _store(builder, step, scaled, builder.mul(i, INTP(_width(scaled))))
            return []

        _loop(builder, rows, [], one)
        return context.get_dummy_value()

    return types.void(D, A, S, types.intp, rate, types.intp), build


STORED = ((ir.DoubleType(), 8), (ir.FloatType(), 4), (ir.IntType(8), 1))  # PIXEL_KINDS


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


@intrinsic
def _at(typing, data, index):  # pragma: no cover
    """Return the place data[index]."""

    def build(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return data(data, types.intp), build


@intrinsic
def _shape_of(typing, data):  # pragma: no cover
    """Return the most rows that a tile of such numbers has, and the width of a panel of them."""
    rows, width = ROWS[data.dtype.bitwidth // 8], LANES * STRIP[data.dtype.bitwidth // 8]

    def build(context, builder, signature, arguments):
        return context.make_tuple(builder, signature.return_type, [INTP(rows), INTP(width)])

    return types.UniTuple(types.intp, 2)(data), build


def _multiply_add_body(  # pragma: no cover
    C, c_row, A, a_row, a_step, B, count, rows, vectors, adding
):
    # The rows are shared out among tiles evenly, and the terms taken DEPTH at a time: as much of B
    # as stays in the first-level cache while all tiles go past it.
    most, width = _shape_of(C)
    many = (rows + most - 1) // most
    for t in range(0, count, DEPTH):
        terms, r = min(DEPTH, count - t), 0
        for smaller in range(2):  # the first rows % many tiles have one row more
            tiles = many - rows % many if smaller else rows % many
            each = rows // many + 1 - smaller
            c, a, b = _at(C, r * c_row), _at(A, r * a_row + t * a_step), _at(B, t * width)
            _add_tile(c, c_row, a, a_row, a_step, b, terms, tiles, each, vectors, adding)
            r += tiles * each
        adding = 1


def _transpose_tile_body(T, S):  # pragma: no cover
    _transpose_tile(T, S)


def _listed_tile_body(  # pragma: no cover
    Z, z_row, values, panel, columns, count, rows, vectors, pixels, later, n_later, n_bytes
):
    _listed_tile(
        Z, z_row, values, panel, columns, count, rows, vectors, pixels, later, n_later, n_bytes
    )


def _listed_add_tile_body(  # pragma: no cover
    panel, values, D, columns, count, rows, vectors
):
    _listed_add_tile(panel, values, D, columns, count, rows, vectors)


def _delta_tile_body(D, A, S, row, rate, rows):  # pragma: no cover
    _delta_tile(D, A, S, row, rate, rows)


def _gather_tile_body(A, a_row, pixels, batch, rows, n, kind):  # pragma: no cover
    _gather_tile(A, a_row, pixels, batch, rows, n, kind)


def _list_tile_body(  # pragma: no cover
    columns, counts, values, masks, mask_row, pixels, batch, rows, n, kind
):
    _mask_tile(masks, mask_row, pixels, batch, rows, n, kind)
    count = _list_tile(columns, masks, rows, mask_row // 4)
    columns[count] = n
    counts[0] = count + 1
    _values_tile(values, columns, count, pixels, batch, rows, n, kind)


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
# B[t, :] begins at b + t * width. Sums run in the order of t, whatever the shape of the tiles.
#     multiply_add(tiles, (C, c, c_row, A, a, a_row, a_step, B, b, count, rows, vectors, adding))
multiply_add = _caller(0, "*i*ii*iiii")
# The transpose of a 16 x 16 block: T[t + j * width + i] = S[s + i * width + j].
#     transpose_tile(tiles, (T, t, S, s))
transpose_tile = _caller(1, "**")
# Z[r, :] = sum over t < count of values[t, r] * panel[k, :], k = columns[t], for the `rows` samples
# of a group and 1 or 2 vectors: Z[r, :] begins at z + r * z_row, values[t, r] is at
# x + t * rows + r. Meanwhile it asks for the pixels, n_bytes each, of n_later samples later[l:].
#     listed_tile(tiles, (Z, z, z_row, values, x, panels, p, columns, c, count, rows, vectors,
#         pixels, 0, later, l, n_later, n_bytes))
listed_tile = _caller(2, "*i***iii**ii")
# panel[k, :] += values[t, r] * D[r, :] for the `rows` samples r of a group, in their order, for each
# k in the list; D[r, :] begins at d + r * width.
#     listed_add_tile(tiles, (panels, p, values, x, D, d, columns, c, count, rows, vectors))
listed_add_tile = _caller(3, "****iii")
# A becomes sigmoid(A), `count` vectors of it.
#     sigmoid_tile(tiles, (A, a, count))
sigmoid_tile = _caller(4, "*i")


# D *= A (1 - A), one vector of each of `rows` rows, `row` apart; S becomes rate * D, rows `width`
# apart.
#     delta_tile(tiles, (D, d, A, a, S, s, row, rate, rows))
delta_tile = _caller(5, "***iii")
# A[i, :n] becomes the pixels of sample batch[i], converted to A's type, and A[i, n] the constant 1.
#     gather_tile(tiles, (A, a, a_row, pixels, 0, batch, i, rows, n, kind))
gather_tile = _caller(6, "*i**iii")
# columns[c:] become the columns of the pixels that are not zero in all of a group's samples
# batch[i : i + rows], and then n, the constant input of the biases; counts[g] how many these are;
# values[x:] the values of each, sample by sample. Up to AT_ONCE columns beyond them are written.
#     list_tile(tiles, (columns, c, counts, g, values, x, masks, at, mask_row, pixels, 0, batch, i,
#         rows, n, kind))
list_tile = _caller(7, "****i**iii")


@intrinsic
def ask_for(typing, array, index):  # pragma: no cover
    """Ask for the line of memory that array[index] is in, ahead of its use."""

    def build(context, builder, signature, arguments):
        _prefetch(builder, _data(context, builder, array, *arguments))
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@functools.cache
def tiles_for(dtype):  # pragma: no cover
    """Return the addresses of the tiles for arrays of dtype."""
    scalar = types.float32 if dtype == np.float32 else types.float64
    number, i = types.CPointer(scalar), types.intp
    pixels, masks, columns = map(types.CPointer, (types.uint8, types.uint16, types.int32))
    batch = counts = types.CPointer(types.intp)
    signatures = {
        _multiply_add_body: types.void(number, i, number, i, i, number, i, i, i, i),
        _transpose_tile_body: types.void(number, number),
        _listed_tile_body: types.void(
            number, i, number, number, columns, i, i, i, pixels, batch, i, i
        ),
        _listed_add_tile_body: types.void(number, number, number, columns, i, i, i),
        _sigmoid_tile_body: types.void(number, i),
        _delta_tile_body: types.void(number, number, number, i, scalar, i),
        _gather_tile_body: types.void(number, i, pixels, batch, i, i, i),
        _list_tile_body: types.void(
            columns, counts, number, masks, i, pixels, batch, i, i, i
        ),
    }  # fmt: skip
    with light_optimisation():
        compiled = [c_function(signature, body) for body, signature in signatures.items()]
        _kept.extend(compiled)  # code is freed with the object that owns it
        addresses = np.array([function.address for function in compiled])
        _compile_driver(addresses, dtype)
    return addresses


def _compile_driver(tiles, dtype):  # pragma: no cover
    """Compile run_batches for this type, by calling it with nothing to do."""
    order, none, square = np.empty(0, np.int64), np.empty(0, dtype), np.empty((0, 1), dtype)
    pixels, Y = np.empty(0, np.uint8), np.empty((0, 1), dtype)
    pixels.flags.writeable = Y.flags.writeable = False
    lists = np.empty(0, np.uint16), np.empty(0, np.int32), order, none
    layout = np.zeros((2, SCALED_AT + 1), np.int64)
    run_batches(
        np.zeros(TEAM, np.int64), 0, 1, tiles, square, none, none, square, *lists, pixels, 0,
        True, Y, order, layout, 1, 0.0, True,
    )  # fmt: skip


_kept = []


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


# ------------------------------------------------ the panel form: layer kernels
#
# Each writes one block of its result, the neurons of the vectors v0..v1 for the samples i0..i1, and
# each number of it is one sum in one order: whoever computes a block, the bits are the same.


@kernel(inner=True)
def part_of(count, share, shares):  # pragma: no cover
    """Return the range (first, last) of `count` things that is number `share` of `shares`."""
    return share * count // shares, (share + 1) * count // shares


@kernel(inner=True)
def vectors_of(layout, l):  # pragma: no cover
    """Return how many vectors hold the neurons of layer l."""
    return (layout[l, SIZE] + LANES - 1) // LANES


@kernel(inner=True)
def block_of(layout, l, count, share, shares):  # pragma: no cover
    """Return the block (v0, v1, i0, i1) of layer l's neurons and `count` samples for one share."""
    vectors = vectors_of(layout, l)
    if vectors >= SHARED_BY_NEURONS * shares:
        v0, v1 = part_of(vectors, share, shares)
        return v0, v1, np.intp(0), count
    i0, i1 = samples_of(count, share, shares)
    return np.intp(0), vectors, i0, i1


@kernel(inner=True)
def groups_of(count):  # pragma: no cover
    """Return how many groups `count` samples make, all of about the same size."""
    return (count + GROUP - 1) // GROUP


@kernel(inner=True)
def samples_of(count, share, shares):  # pragma: no cover
    """Return the samples (i0, i1) of `count` for one share, in whole groups."""
    groups = groups_of(count)
    g0, g1 = part_of(groups, share, shares)
    return g0 * count // groups, g1 * count // groups


@kernel(inner=True)
def width_in(panels):  # pragma: no cover
    """Return width_of the type of an array."""
    return np.intp(LANES * STRIP_32 if panels.itemsize == 4 else LANES * STRIP_64)


@kernel(inner=True)
def strip_of(v, v1, panels):  # pragma: no cover
    """Return how many vectors a tile may take at once from v on: to the end of a panel at most."""
    strip = STRIP_32 if panels.itemsize == 4 else STRIP_64
    return min(strip - v % strip, v1 - v)


@kernel(inner=True)
def vector_at(panels, v, rows):  # pragma: no cover
    """Return where vector v of neurons begins among panels of so many rows."""
    strip = STRIP_32 if panels.itemsize == 4 else STRIP_64
    return (v // strip * rows * strip + v % strip) * LANES


@kernel(inner=True)
def mask_row(n):  # pragma: no cover
    """Return how many numbers of 16 bits, always whole 64 bits, hold a bit for each of n pixels."""
    return (n // 64 + 1) * 4


@kernel(inner=True)
def column_row(n):  # pragma: no cover
    """Return how many columns there is room for in the list of a group."""
    return n + 1 + AT_ONCE


@kernel(inner=True)
def gather_panels(tiles, work, pixels, kind, batch, layout, m, i0, i1):  # pragma: no cover
    """Copy the samples i0..i1 of the batch into the input layer, and the biases' constant input."""
    n, stride = layout[0, SIZE], layout[0, STRIDE]
    a = m * layout[0, ROWS_AT] + i0 * stride
    gather_tile(tiles, (work, a, stride, pixels, 0, batch, i0, i1 - i0, n, kind))


@kernel(inner=True)
def list_panels(  # pragma: no cover
    tiles, masks, columns, counts, values, pixels, kind, batch, layout, i0, i1
):
    """List what is not zero in the groups of the samples i0..i1 of the batch."""
    n, groups = layout[0, SIZE], groups_of(batch.size)
    for g in range(groups):
        first, last = part_of(batch.size, g, groups)
        if i0 <= first and last <= i1:
            list_tile(tiles, (
                columns, g * column_row(n), counts, g, values, first * (n + 1), masks,
                first * mask_row(n), mask_row(n), pixels, 0, batch, first, last - first, n, kind,
            ))  # fmt: skip


@kernel(inner=True)
def forward_panels(tiles, work, panels, layout, m, l, v0, v1, i0, i1):  # pragma: no cover
    """Write z = w a + b of layer l, block v0..v1, i0..i1, into its activations."""
    n_in, stride_in, stride = layout[l - 1, SIZE], layout[l - 1, STRIDE], layout[l, STRIDE]
    a, z = m * layout[l - 1, ROWS_AT] + i0 * stride_in, m * layout[l, ROWS_AT] + i0 * stride
    v = v0
    while v < v1:
        vectors, p = strip_of(v, v1, panels), layout[l, PANELS_AT] + vector_at(panels, v, n_in + 1)
        multiply_add(tiles, (
            work, z + v * LANES, stride, work, a, stride_in, 1, panels, p, n_in + 1, i1 - i0,
            vectors, 0,
        ))  # fmt: skip
        v += vectors


@kernel(inner=True)
def forward_listed(  # pragma: no cover
    tiles, work, panels, columns, counts, values, pixels, n_bytes, later, layout, m, size, v0, v1,
    i0, i1,
):  # fmt: skip
    """forward_panels for the first layer, on the lists of pixels of the groups in i0..i1.

    later: the samples that take the places of these in the next mini-batch, n_bytes each.
    """
    n_in, stride, z = layout[0, SIZE], layout[1, STRIDE], m * layout[1, ROWS_AT]
    groups = groups_of(size)
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        p = layout[1, PANELS_AT] + vector_at(panels, v, n_in + 1)
        for g in range(groups):
            first, last = part_of(size, g, groups)
            if i0 <= first and last <= i1:
                asked, n_asked = min(first, later.size - 1), n_bytes if v == v0 else 0
                listed_tile(tiles, (
                    work, z + first * stride + v * LANES, stride, values, first * (n_in + 1),
                    panels, p, columns, g * column_row(n_in), counts[g], last - first, vectors,
                    pixels, 0, later, asked, later.size - asked, n_asked,
                ))  # fmt: skip
        v += vectors


@kernel(inner=True)
def activate(tiles, work, layout, m, l, v0, v1, i0, i1):  # pragma: no cover
    """Turn z into sigmoid(z) in a block of layer l; set the constant input of the next biases."""
    n, stride, vectors = layout[l, SIZE], layout[l, STRIDE], vectors_of(layout, l)
    whole = v0 == 0 and v1 == vectors  # then the rows are one run
    rows, count = (1, (i1 - i0) * stride // LANES) if whole else (i1 - i0, v1 - v0)
    begin = m * layout[l, ROWS_AT] + i0 * stride + v0 * LANES
    for i in range(rows):
        sigmoid_tile(tiles, (work, begin + i * stride, count))
    if v1 == vectors:  # beyond the neurons
        for i in range(i0, i1):
            work[m * layout[l, ROWS_AT] + i * stride + n] = work.dtype.type(1)


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
    width = width_in(work)
    for v in range(v0, v1):
        at = i0 * stride + v * LANES
        d, a = m * layout[l, DELTAS_AT] + at, m * layout[l, ROWS_AT] + at
        to = s + vector_at(work, v, m) + i0 * width
        delta_tile(tiles, (work, d, work, a, work, to, stride, rate, i1 - i0))


@kernel(inner=True)
def backward_panels(  # pragma: no cover
    tiles, work, scratch, panels, layout, m, l, rate, v0, v1, i0, i1
):
    """BP2: write (Delta @ w) A (1 - A) of layer l, block v0..v1, i0..i1, and rate times that.

    w is turned over, two vectors of its inputs at a time, so that the sum runs over rows again.
    scratch: (n_out rounded up to a vector) * width numbers.
    """
    n_in, n_out = layout[l, SIZE], layout[l + 1, SIZE]
    stride, stride_out = layout[l, STRIDE], layout[l + 1, STRIDE]
    d_in, d_out = m * layout[l, DELTAS_AT], m * layout[l + 1, DELTAS_AT]
    width = width_in(work)
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        for j in range((n_out + LANES - 1) // LANES):
            p = layout[l + 1, PANELS_AT] + vector_at(panels, j, n_in + 1)
            for k in range(vectors):
                row = p + (v + k) * LANES * width
                transpose_tile(tiles, (scratch, j * LANES * width + k * LANES, panels, row))
        multiply_add(tiles, (
            work, d_in + i0 * stride + v * LANES, stride, work, d_out + i0 * stride_out,
            stride_out, 1, scratch, 0, n_out, i1 - i0, vectors, 0,
        ))  # fmt: skip
        scale_deltas(tiles, work, layout, m, l, rate, v, v + vectors, i0, i1)
        v += vectors


@kernel(inner=True)
def update_panels(tiles, work, panels, layout, m, size, l, v0, v1, k0, k1):  # pragma: no cover
    """BP3 + BP4 with the step: add the scaled Deltas times the inputs to w and b.

    For the neurons of the vectors v0..v1 and the inputs k0..k1, the last of which is the biases'.
    """
    stride, a, s = layout[l - 1, STRIDE], m * layout[l - 1, ROWS_AT], m * layout[l, SCALED_AT]
    width = width_in(work)
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        p = layout[l, PANELS_AT] + vector_at(panels, v, layout[l - 1, SIZE] + 1)
        multiply_add(tiles, (
            panels, p + k0 * width, width, work, a + k0, 1, stride, work,
            s + vector_at(work, v, m), size, k1 - k0, vectors, 1,
        ))  # fmt: skip
        v += vectors


@kernel(inner=True)
def update_listed(  # pragma: no cover
    tiles, work, panels, columns, counts, values, layout, m, size, v0, v1
):
    """update_panels for the first layer, on the lists of pixels."""
    n_in, s = layout[0, SIZE], m * layout[1, SCALED_AT]
    width = width_in(work)
    groups = groups_of(size)
    v = v0
    while v < v1:
        vectors = strip_of(v, v1, panels)
        p = layout[1, PANELS_AT] + vector_at(panels, v, n_in + 1)
        d = s + vector_at(work, v, m)
        for g in range(groups):
            first, last = part_of(size, g, groups)
            listed_add_tile(tiles, (
                panels, p, values, first * (n_in + 1), work, d + first * width, columns,
                g * column_row(n_in), counts[g], last - first, vectors,
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
    team, share, shares, tiles, out, panels, work, scratch, masks, columns, counts, values, pixels,
    kind, listed, Y, order, layout, m, eta, train,
):  # fmt: skip
    """Carry every m samples of `order` through the network: one driver, to train or to evaluate.

    listed: leave out the pixels that are zero; no bit of the result depends on it. train: take a
    step of gradient descent after each mini-batch, divided by its own length; else write the
    outputs into out (n, n_out). work, and the lists: for m samples, zeros at the start; scratch:
    see backward_panels, a row per share.

    A team of `shares` threads calls this at the same time, each with the number of its own share
    and the same arrays; they meet after every layer. A wide layer is shared out by neurons, so
    that its weights stay with their core, a narrow one by samples.
    """
    top = layout.shape[0] - 1
    if not meet(team, shares):
        return
    mode = float_mode(0)
    n_bytes = layout[0, SIZE] * (8 if kind == 0 else 4 if kind == 1 else 1)
    for start in range(0, order.size, m):
        size = min(m, order.size - start)
        batch = order[start : start + size]
        later = order[start + size if start + size < order.size else 0 :]
        first, last = samples_of(size, share, shares)
        if listed:
            list_panels(
                tiles, masks, columns, counts, values, pixels, kind, batch, layout, first, last
            )
        else:
            gather_panels(tiles, work, pixels, kind, batch, layout, m, first, last)
        if train:
            for i in range(first, last):
                ask_for(Y, batch[i] * Y.shape[1])
        meet(team, shares)
        rate = panels.dtype.type(-eta / size)
        for l in range(1, top + 1):
            v0, v1, i0, i1 = block_of(layout, l, size, share, shares)
            if listed and l == 1:
                forward_listed(
                    tiles, work, panels, columns, counts, values, pixels, n_bytes, later, layout,
                    m, size, v0, v1, i0, i1,
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
            v0, v1, i0, i1 = block_of(layout, l, size, share, shares)
            backward_panels(
                tiles, work, scratch[share], panels, layout, m, l, rate, v0, v1, i0, i1
            )  # fmt: skip
            meet(team, shares)
        for l in range(1, top + 1):
            if listed and l == 1:
                v0, v1 = part_of(vectors_of(layout, l), share, shares)
                update_listed(
                    tiles, work, panels, columns, counts, values, layout, m, size, v0, v1
                )
            else:
                n_in = layout[l - 1, SIZE] + 1
                v0, v1, k0, k1 = block_of(layout, l, n_in, share, shares)
                update_panels(tiles, work, panels, layout, m, size, l, v0, v1, k0, k1)
        meet(team, shares)
    float_mode(mode)
