"""The LLVM of the operations in simd.py. No other file emits LLVM.

Each function here is named after the operation that it is for, and takes (builder, result type,
types of the arguments, arguments). The types and models of vectors and tiles are here, too.
"""

import functools
import itertools
import operator

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

I32, INTP = ir.IntType(32), ir.IntType(64)
BYTE_POINTER = ir.IntType(8).as_pointer()
FUSE = ("contract",)  # the fourth argument of builder.fmul is a name: flags go by keyword


def _has_512_bits():
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return not config.CPU_NAME and llvm.get_host_cpu_features().get("avx512f", False)


REGISTER = 64 if _has_512_bits() else 32  # bytes
VECTOR = 4 * REGISTER  # bytes


# ------------------------------------------------ types


class Vector(types.Type):
    """Numbers that are computed with at once; of comparisons, booleans."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")

    def ir(self):
        return ir.VectorType(_ir(self.dtype), self.lanes)


class Tile(types.Type):
    """Rows of registers each, as many as a vector has or half of that."""

    def __init__(self, rows, half, dtype):
        self.rows, self.dtype = rows, dtype
        self.size = lanes_of(dtype, REGISTER)  # numbers in a register
        self.pieces = VECTOR // REGISTER // (1 + half)  # registers in a row
        super().__init__(f"Tile({rows}, {self.pieces}, {dtype})")

    def ir(self):  # by register: LLVM would take a longer vector apart in no good order
        return ir.ArrayType(self.register(), self.rows * self.pieces)

    def register(self):
        return ir.VectorType(_ir(self.dtype), self.size)


@register_model(Vector)
@register_model(Tile)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.ir())


def _ir(dtype):
    names = {"float64": ir.DoubleType(), "float32": ir.FloatType(), "bool": ir.IntType(1)}
    return names[str(dtype)]


def lanes_of(dtype, size=VECTOR):
    return size * 8 // dtype.bitwidth


def call_symbol(context, builder, symbol, signature, arguments):
    """Emit the call of a compiled function that the process knows by a name (see jit.routine)."""
    convention, kinds = context.call_conv, (signature.return_type, signature.args)
    kind = convention.get_function_type(*kinds)
    function = cgutils.get_or_insert_function(builder.module, kind, symbol)
    _, result = convention.call_function(builder, function, *kinds, arguments)  # none raises
    return result


# ------------------------------------------------ places


def address(builder, result, kinds, array, index, *rest):
    if isinstance(kinds[0], types.Array):
        array = builder.extract_value(array, 4)  # where its data begin
    return builder.gep(array, [index])


def reinterpreted(builder, result, kinds, array, index):
    return builder.bitcast(builder.gep(array, [index]), _ir(result.dtype).as_pointer())


def lanes(builder, result, kinds, place):
    return INTP(lanes_of(kinds[0].dtype))


def prefetch(builder, result, kinds, place, index):
    kind = ir.FunctionType(ir.VoidType(), [BYTE_POINTER, I32, I32, I32])
    ask = builder.module.declare_intrinsic("llvm.prefetch", [BYTE_POINTER], kind)
    line = builder.bitcast(builder.gep(place, [index]), BYTE_POINTER)
    builder.call(ask, [line, I32(0), I32(2), I32(1)])


def _numbers_at(builder, place, index, count):
    """Return a pointer to a vector of so many numbers."""
    kind = ir.VectorType(place.type.pointee, count)
    return builder.bitcast(builder.gep(place, [index]), kind.as_pointer())


# ------------------------------------------------ vectors


def _splat(builder, x, kind):
    """Return a number, converted, in all lanes of an LLVM vector type; a vector as it is."""
    if isinstance(x.type, ir.VectorType):
        return x
    if isinstance(x.type, ir.DoubleType) and isinstance(kind.element, ir.FloatType):
        x = builder.fptrunc(x, kind.element)
    if isinstance(x.type, ir.FloatType) and isinstance(kind.element, ir.DoubleType):
        x = builder.fpext(x, kind.element)
    nothing = ir.Constant(kind, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(I32, kind.count), [I32(0)] * kind.count)
    return builder.shuffle_vector(builder.insert_element(nothing, x, I32(0)), nothing, zeros)


def _multiply_add(builder, a, b, c):
    a, b = (_splat(builder, x, c.type) for x in (a, b))
    return builder.fadd(builder.fmul(a, b, flags=FUSE), c, flags=FUSE)


def load(builder, result, kinds, place, index):
    return builder.load(_numbers_at(builder, place, index, result.lanes), align=1)


def store(builder, result, kinds, place, index, vector):
    builder.store(vector, _numbers_at(builder, place, index, vector.type.count), align=1)


def full(builder, result, kinds, like, number):
    return _splat(builder, number, like.type)


def fma(builder, result, kinds, a, b, c):
    return _multiply_add(builder, a, b, c)


def _operator(name, emit, dtype=None):
    """Give vectors one of Python's operators, with a vector or a number on the other side."""

    def vector(*kinds):
        return next((kind for kind in kinds if isinstance(kind, Vector)), None)

    def result_type(a, b):
        v = vector(a, b)
        return Vector(dtype, v.lanes) if v and dtype else v

    def lower(context, builder, signature, arguments):
        kind = vector(*signature.args).ir()
        return emit(builder, *(_splat(builder, x, kind) for x in arguments))

    type_callable(getattr(operator, name))(lambda context: result_type)
    for both in ((Vector, types.Any), (types.Float, Vector)):
        lower_builtin(getattr(operator, name), *both)(lower)


for _name, _emit in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    _operator(_name, getattr(ir.IRBuilder, _emit))
_operator("lt", lambda builder, a, b: builder.fcmp_ordered("<", a, b), types.boolean)
_operator("gt", lambda builder, a, b: builder.fcmp_ordered(">", a, b), types.boolean)


def where(builder, result, kinds, condition, a, b):
    return builder.select(condition, _splat(builder, a, b.type), b)


def any_true(builder, result, kinds, vector):
    bits = ir.IntType(vector.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(vector, bits), bits(0))


def add_lanes(builder, result, kinds, vector):
    while vector.type.count > 1:
        half = vector.type.count // 2
        low, high = (
            ir.Constant(ir.VectorType(I32, half), [I32(k) for k in range(start, start + half)])
            for start in (0, half)
        )
        low, high = (builder.shuffle_vector(vector, vector, order) for order in (low, high))
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, I32(0))


def rounding(name):
    """Return what emits the function of a vector that LLVM has under this name."""

    def emit(builder, result, kinds, vector):
        kind = ir.FunctionType(vector.type, [vector.type])
        symbol = f"llvm.{name}.v{result.lanes}f{result.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), [vector])

    return emit


def polynomial(builder, result, kinds, x, coefficients):
    terms = range(len(kinds[1]))
    p, *rest = (_splat(builder, builder.extract_value(coefficients, k), x.type) for k in terms)
    for c in rest:
        p = _multiply_add(builder, p, x, c)
    return p


def times_power(builder, result, kinds, p, n):
    # The magic number brings n to the low bits: AVX2 does not convert doubles to integers.
    bits, fraction = (32, 23) if result.dtype.bitwidth == 32 else (64, 52)
    whole = ir.VectorType(ir.IntType(bits), result.lanes)
    n = builder.fadd(n, ir.Constant(n.type, [1.5 * 2.0**fraction] * result.lanes))
    n = builder.shl(builder.bitcast(n, whole), ir.Constant(whole, [fraction] * result.lanes))
    return builder.bitcast(builder.add(n, builder.bitcast(p, whole)), p.type)


# ------------------------------------------------ masks of what is not zero


def nonzero_bits(builder, result, kinds, *places):
    # By their bits: that minus zero counts as not zero changes no sum.
    mask, step, whole = INTP(0), 32, ir.IntType(kinds[0].dtype.bitwidth).as_pointer()
    places = [builder.bitcast(place, whole) for place in places]
    for k in range(0, 64, step):
        some = [builder.load(_numbers_at(builder, p, INTP(k), step), align=1) for p in places]
        some = functools.reduce(builder.or_, some)
        some = builder.icmp_unsigned("!=", some, ir.Constant(some.type, None))
        some = builder.zext(builder.bitcast(some, ir.IntType(step)), INTP)
        mask = builder.or_(mask, builder.shl(some, INTP(k)))
    return mask


def count_bits(builder, result, kinds, mask):
    return builder.ctpop(mask)


SET_BITS = np.zeros((256, 8), np.int32)  # for each byte the numbers of the bits that are set
for _byte in range(256):
    _set = [k for k in range(8) if _byte >> k & 1]
    SET_BITS[_byte, : len(_set)] = _set


def store_set_bits(builder, result, kinds, place, index, mask, count):
    byte = ir.IntType(8)
    rows = [ir.Constant(ir.VectorType(byte, 8), [byte(int(k)) for k in row]) for row in SET_BITS]
    table = ir.Constant(ir.ArrayType(ir.VectorType(byte, 8), 256), rows)
    table = cgutils.global_constant(builder.module, "fastbp.set_bits", table)
    row = builder.load(builder.gep(table, [INTP(0), builder.and_(mask, INTP(255))]))
    row = builder.zext(row, ir.VectorType(I32, 8))
    row = builder.add(row, _splat(builder, builder.trunc(count, I32), row.type))
    builder.store(row, _numbers_at(builder, place, index, 8), align=1)


# ------------------------------------------------ tiles of registers


def _row(builder, place, stride, r):
    return builder.gep(place, [builder.mul(stride, INTP(r))])


def _piece(builder, place, k, kind):
    return _numbers_at(builder, place, INTP(k * kind.size), kind.size)


def _numbers(builder, place, stride, kind):
    """Load the numbers place[r * stride], each into all lanes of a register."""
    numbers = [builder.load(_row(builder, place, stride, r)) for r in range(kind.rows)]
    return [_splat(builder, number, kind.register()) for number in numbers]


def zero_tile(builder, result, kinds, rows, half, place):
    return ir.Constant(result.ir(), None)


def load_tile(builder, result, kinds, rows, half, place, stride):
    tile = ir.Constant(result.ir(), ir.Undefined)
    for r, k in itertools.product(range(result.rows), range(result.pieces)):
        piece = builder.load(_piece(builder, _row(builder, place, stride, r), k, result), align=1)
        tile = builder.insert_value(tile, piece, r * result.pieces + k)
    return tile


def store_tile(builder, result, kinds, place, stride, tile):
    kind = kinds[2]
    for r, k in itertools.product(range(kind.rows), range(kind.pieces)):
        to = _piece(builder, _row(builder, place, stride, r), k, kind)
        builder.store(builder.extract_value(tile, r * kind.pieces + k), to, align=1)


def add_outer(builder, result, kinds, tile, numbers, stride, place):
    # All numbers first, then register by register of the place: so no sum is put into memory.
    numbers = _numbers(builder, numbers, stride, result)
    for k in range(result.pieces):
        b = builder.load(_piece(builder, place, k, result), align=1)
        for r, number in enumerate(numbers):
            at_ = r * result.pieces + k
            s = _multiply_add(builder, number, b, builder.extract_value(tile, at_))
            tile = builder.insert_value(tile, s, at_)
    return tile


def add_sum(builder, result, kinds, place, numbers, stride, tile):
    kind = kinds[3]
    numbers = _numbers(builder, numbers, stride, kind)
    for k in range(kind.pieces):
        total = builder.load(_piece(builder, place, k, kind), align=1)
        for r, number in enumerate(numbers):
            row = builder.extract_value(tile, r * kind.pieces + k)
            total = _multiply_add(builder, number, row, total)
        builder.store(total, _piece(builder, place, k, kind), align=1)


def transpose(builder, result, kinds, target, source):
    kind = Tile(1, False, kinds[0].dtype)
    stride = INTP(kind.size * kind.pieces)
    rows = [_row(builder, source, stride, r) for r in range(kind.size)]
    rows = [builder.load(_piece(builder, row, 0, kind), align=1) for row in rows]
    for k, row in enumerate(_transposed(builder, rows)):
        builder.store(row, _piece(builder, _row(builder, target, stride, k), 0, kind), align=1)


def _transposed(builder, rows):
    """Transpose n registers of n numbers: swap the off-diagonal quarters of blocks of n ... 2."""
    n = len(rows)
    step = n // 2
    while step:
        low = [k if not k & step else n + k - step for k in range(n)]
        high = [k + step if not k & step else n + k for k in range(n)]
        for r in (r for r in range(n) if not r & step):
            pair = rows[r], rows[r + step]
            for to, order in ((r, low), (r + step, high)):
                order = ir.Constant(ir.VectorType(I32, n), [I32(k) for k in order])
                rows[to] = builder.shuffle_vector(*pair, order)
        step //= 2
    return rows


# ------------------------------------------------ the processor


def float_mode(builder, result, kinds, mode):
    if not builder.module.triple.startswith("x86_64"):
        return INTP(0)
    place, kind = cgutils.alloca_once(builder, I32), ir.FunctionType(ir.VoidType(), [BYTE_POINTER])
    tell, set_ = (
        cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}mxcsr")
        for name in ("st", "ld")
    )
    builder.call(tell, [builder.bitcast(place, BYTE_POINTER)])
    before = builder.load(place)
    flushing = builder.or_(before, I32(0x8040))  # flush results, and take operands for zero
    is_flushing = builder.icmp_signed("==", mode, INTP(0))
    builder.store(builder.select(is_flushing, flushing, builder.trunc(mode, I32)), place)
    builder.call(set_, [builder.bitcast(place, BYTE_POINTER)])
    return builder.zext(before, INTP)
