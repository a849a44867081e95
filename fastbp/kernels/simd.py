"""The vector type: a few operations, each a Python function with a twin that emits LLVM.

What stands under `def` works on NumPy arrays, so the same kernels run with NUMBA_DISABLE_JIT=1. The
function after it, marked @twin_of, emits the same operation for Numba. No other file emits LLVM.

    place    where something begins in memory: in Python a view of a flat array, in Numba a pointer
    Vector   lanes(place) numbers in four registers: with AVX2 16 float64 or 32 float32
    Block    1 to MR rows of a vector each, or of half a vector (narrow): the sums of a tile
"""

import functools
import inspect
import itertools
import operator

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
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
MR = 3  # rows of a tile: 3 x 4 sums, 3 numbers and one register more are all 16 of AVX2


# ------------------------------------------------ types


class Vector(types.Type):
    """Numbers that are computed with at once; of comparisons, booleans."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")

    def ir(self):
        return ir.VectorType(_ir(self.dtype), self.lanes)


class Block(types.Type):
    """Rows of registers each, as many as a vector has or half of that."""

    def __init__(self, rows, narrow, dtype):
        self.rows, self.dtype = rows, dtype
        self.size = _lanes(dtype, REGISTER)  # numbers in a register
        self.pieces = VECTOR // REGISTER // (1 + narrow)  # registers in a row
        super().__init__(f"Block({rows}, {self.pieces}, {dtype})")

    def ir(self):  # by register: LLVM would take a longer vector apart in no good order
        return ir.ArrayType(self.register(), self.rows * self.pieces)

    def register(self):
        return ir.VectorType(_ir(self.dtype), self.size)


@register_model(Vector)
@register_model(Block)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.ir())


def _ir(dtype):
    names = {"float64": ir.DoubleType(), "float32": ir.FloatType(), "bool": ir.IntType(1)}
    return names[str(dtype)]


def _lanes(dtype, size=VECTOR):
    return size * 8 // dtype.bitwidth


# What an argument must be, by the name of a parameter: in words, and as a test of its Numba type.
_PLACE = "a place (at(array, index))", lambda kind: isinstance(kind, types.CPointer)
_NUMBER = "a float", lambda kind: isinstance(kind, types.Float)
_VECTOR = "a vector (load(place, index))", lambda kind: isinstance(kind, Vector)
_INDEX = "an integer", lambda kind: isinstance(kind, types.Integer)
_EITHER = "a vector or a float", lambda kind: _VECTOR[1](kind) or _NUMBER[1](kind)
ARGUMENTS = {
    **dict.fromkeys(("place", "source", "target", "numbers"), _PLACE),
    **dict.fromkeys(("index", "stride", "count"), _INDEX),
    **dict.fromkeys(("vector", "like"), _VECTOR),
    **dict.fromkeys(("a", "b"), _EITHER),
    "array": ("an array or a place", lambda k: isinstance(k, (types.Array, types.CPointer))),
    "block": ("a block (zero_block(...))", lambda kind: isinstance(kind, Block)),
    "number": _NUMBER,
    "mask": _INDEX,
}


def _check(function, names, kinds):
    """Raise a TypingError that says which argument of a call is wrong."""
    for name, kind in zip(names, kinds):
        wanted, fits = ARGUMENTS.get(name, (None, None))
        if fits and not fits(kind):
            call = f"{function.__name__}({', '.join(names)})"
            raise TypingError(f"{call}: {name} is {kind}, expected {wanted}")


def twin_of(function, result_type):
    """Tell Numba what type a call has, result_type(types of the arguments), and what to emit.

    The decorated function takes (builder, result type, types of the arguments, arguments).
    """
    signature = inspect.signature(function)

    def typer(*kinds):
        _check(function, list(signature.parameters), kinds)
        return result_type(*kinds)

    typer.__signature__ = signature  # Numba would pass the arguments of *kinds as one tuple

    def decorate(emit):
        def lower(context, builder, signature, arguments):
            result = emit(builder, signature.return_type, signature.args, *arguments)
            return context.get_dummy_value() if result is None else result

        type_callable(function)(lambda context: typer)
        lower_builtin(function, types.VarArg(types.Any))(lower)
        return emit

    return decorate


def call_symbol(context, builder, symbol, signature, arguments):
    """Emit the call of a C function that the process knows by a name (see jit.routine)."""
    kinds = [context.get_value_type(kind) for kind in signature.args]
    kind = ir.FunctionType(context.get_value_type(signature.return_type), kinds)
    function = cgutils.get_or_insert_function(builder.module, kind, symbol)
    return builder.call(function, arguments)


# ------------------------------------------------ places


def at(array, index):
    """Return the place where array[index] stands, counted through all its dimensions."""
    flat = array.reshape(-1)
    if not 0 <= index <= flat.size:
        raise IndexError(f"place {index} of {flat.size}")
    return flat[index:]


def _gep(builder, result, kinds, array, index, *rest):
    if isinstance(kinds[0], types.Array):
        array = builder.extract_value(array, 4)  # where its data begin
    return builder.gep(array, [index])


twin_of(at, lambda array, index: types.CPointer(array.dtype))(_gep)


def part(array, index, count):
    """Return the place of the `count` numbers from array[index] on; without the JIT, no others."""
    count = max(0, count)
    if not 0 <= index <= index + count <= array.size:
        raise IndexError(f"numbers {index} to {index + count} of {array.size}")
    return array.reshape(-1)[index : index + count]


twin_of(part, lambda array, index, count: types.CPointer(array.dtype))(_gep)


def rest(array, index, count):
    """Return the place of up to `count` numbers from array[index] on; of none, any place."""
    return at(array, index)[:count] if count > 0 else array[:0]


twin_of(rest, lambda array, index, count: types.CPointer(array.dtype))(_gep)


def _as(dtype):
    """Return the function that reads the bytes from a place on as numbers of another type."""

    def view(array, index):
        bytes_ = array[index:]
        return bytes_[: bytes_.size // dtype.itemsize * dtype.itemsize].view(dtype)

    kind = types.CPointer({4: types.float32, 8: types.float64}[dtype.itemsize])

    @twin_of(view, lambda array, index: kind)
    def _(builder, result, kinds, array, index):
        return builder.bitcast(builder.gep(array, [index]), _ir(kind.dtype).as_pointer())

    return view


as_float32, as_float64 = _as(np.dtype(np.float32)), _as(np.dtype(np.float64))


def lanes(place):
    """Return how many numbers of this type are a vector."""
    return VECTOR // place.itemsize


@twin_of(lanes, lambda place: types.intp)
def _(builder, result, kinds, place):
    return INTP(_lanes(kinds[0].dtype))


def prefetch(place, index):
    """Ask for the line of memory that place[index] is in, ahead of its use."""


@twin_of(prefetch, lambda place, index: types.none)
def _(builder, result, kinds, place, index):
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


def _whole(place, index):
    """Return the view of a whole vector at place[index], or raise."""
    numbers = place[index : index + lanes(place)]
    if index < 0 or numbers.size < lanes(place):
        raise IndexError(f"a vector at {index} of {place.size}")
    return numbers


def load(place, index):
    """Return the vector place[index:]."""
    return _whole(place, index).copy()


@twin_of(load, lambda place, index: Vector(place.dtype, _lanes(place.dtype)))
def _(builder, result, kinds, place, index):
    return builder.load(_numbers_at(builder, place, index, result.lanes), align=1)


def store(place, index, vector):
    """Write a vector to place[index:]."""
    _whole(place, index)[...] = vector


@twin_of(store, lambda place, index, vector: types.none)
def _(builder, result, kinds, place, index, vector):
    builder.store(vector, _numbers_at(builder, place, index, vector.type.count), align=1)


def full(like, number):
    """Return a vector, of the type of another one, of the same number everywhere."""
    return np.full_like(like, number)


@twin_of(full, lambda like, number: like)
def _(builder, result, kinds, like, number):
    return _splat(builder, number, like.type)


def fma(a, b, like):
    """Return a * b + like, rounded once where the processor can; only `like` must be a vector."""
    return a * b + like


@twin_of(fma, lambda a, b, like: like)
def _(builder, result, kinds, a, b, c):
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


def where(condition, a, like):
    """Return a, a number or a vector, where the condition holds, the vector `like` elsewhere."""
    return np.where(condition, a, like).astype(like.dtype)


@twin_of(where, lambda condition, a, like: like)
def _(builder, result, kinds, condition, a, b):
    return builder.select(condition, _splat(builder, a, b.type), b)


def any_true(vector):
    """Tell whether a comparison of vectors holds in any lane."""
    return bool(vector.any())


@twin_of(any_true, lambda vector: types.boolean)
def _(builder, result, kinds, vector):
    bits = ir.IntType(vector.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(vector, bits), bits(0))


def add_lanes(vector):
    """Return the sum of a vector's numbers: of halves, of halves of these, and so on."""
    while vector.size > 1:
        vector = vector[: vector.size // 2] + vector[vector.size // 2 :]
    return vector[0]


@twin_of(add_lanes, lambda vector: vector.dtype)
def _(builder, result, kinds, vector):
    while vector.type.count > 1:
        half = vector.type.count // 2
        low, high = (
            ir.Constant(ir.VectorType(I32, half), [I32(k) for k in range(start, start + half)])
            for start in (0, half)
        )
        low, high = (builder.shuffle_vector(vector, vector, order) for order in (low, high))
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, I32(0))


def _rounding(name):
    """Return the function of a vector that LLVM has under this name, as NumPy does."""

    def function(vector):
        return getattr(np, name)(vector)

    @twin_of(function, lambda vector: vector)
    def _(builder, result, kinds, vector):
        kind = ir.FunctionType(vector.type, [vector.type])
        symbol = f"llvm.{name}.v{result.lanes}f{result.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), [vector])

    return function


rint, sqrt = _rounding("rint"), _rounding("sqrt")  # rint: to the nearest whole number, ties to even


def polynomial(vector, coefficients):
    """Return a polynomial of x by Horner's rule, the coefficient of the highest power first."""
    p = np.full_like(vector, coefficients[0])
    for c in coefficients[1:]:
        p = fma(p, vector, vector.dtype.type(c))
    return p


@twin_of(polynomial, lambda vector, coefficients: vector)
def _(builder, result, kinds, x, coefficients):
    terms = range(len(kinds[1]))
    p, *rest = (_splat(builder, builder.extract_value(coefficients, k), x.type) for k in terms)
    for c in rest:
        p = _multiply_add(builder, p, x, c)
    return p


def times_power(vector, like):
    """Return vector * 2**n, the numbers n = like whole, the results neither tiny nor infinite."""
    with np.errstate(invalid="ignore"):  # of NaN
        return np.ldexp(vector, like.astype(np.int32))


@twin_of(times_power, lambda vector, like: vector)
def _(builder, result, kinds, p, n):
    # The magic number brings n to the low bits: AVX2 does not convert doubles to integers.
    bits, fraction = (32, 23) if result.dtype.bitwidth == 32 else (64, 52)
    whole = ir.VectorType(ir.IntType(bits), result.lanes)
    n = builder.fadd(n, ir.Constant(n.type, [1.5 * 2.0**fraction] * result.lanes))
    n = builder.shl(builder.bitcast(n, whole), ir.Constant(whole, [fraction] * result.lanes))
    return builder.bitcast(builder.add(n, builder.bitcast(p, whole)), p.type)


# ------------------------------------------------ masks of what is not zero


def nonzero_bits(place, source, target):
    """Return a mask: bit k < 64 tells that number k at one of three places is not zero."""
    some = (place[:64] != 0) | (source[:64] != 0) | (target[:64] != 0)
    return int.from_bytes(np.packbits(some, bitorder="little").tobytes(), "little")


@twin_of(nonzero_bits, lambda place, source, target: types.int64)
def _(builder, result, kinds, *places):
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


def count_bits(mask):
    """Return how many bits of a mask are set."""
    return int(mask).bit_count()


@twin_of(count_bits, lambda mask: types.int64)
def _(builder, result, kinds, mask):
    return builder.ctpop(mask)


SET_BITS = np.zeros((256, 8), np.int32)  # for each byte the numbers of the bits that are set
for _byte in range(256):
    _set = [k for k in range(8) if _byte >> k & 1]
    SET_BITS[_byte, : len(_set)] = _set


def store_set_bits(place, index, mask, count):
    """Write count + k for each bit k < 8 of a mask that is set to place[index:], int32, in order.

    Eight numbers are written, those behind the set bits of no use: without a branch.
    """
    place[index : index + 8] = SET_BITS[mask & 255] + count


@twin_of(store_set_bits, lambda place, index, mask, count: types.none)
def _(builder, result, kinds, place, index, mask, count):
    byte = ir.IntType(8)
    rows = [ir.Constant(ir.VectorType(byte, 8), [byte(int(k)) for k in row]) for row in SET_BITS]
    table = ir.Constant(ir.ArrayType(ir.VectorType(byte, 8), 256), rows)
    table = cgutils.global_constant(builder.module, "fastbp.set_bits", table)
    row = builder.load(builder.gep(table, [INTP(0), builder.and_(mask, INTP(255))]))
    row = builder.zext(row, ir.VectorType(I32, 8))
    row = builder.add(row, _splat(builder, builder.trunc(count, I32), row.type))
    builder.store(row, _numbers_at(builder, place, index, 8), align=1)


# ------------------------------------------------ blocks of registers


def _row(builder, place, stride, r):
    return builder.gep(place, [builder.mul(stride, INTP(r))])


def _piece(builder, place, k, kind):
    return _numbers_at(builder, place, INTP(k * kind.size), kind.size)


def _numbers(builder, place, stride, kind):
    """Load the numbers place[r * stride], each into all lanes of a register."""
    numbers = [builder.load(_row(builder, place, stride, r)) for r in range(kind.rows)]
    return [_splat(builder, number, kind.register()) for number in numbers]


def _block_type(rows, narrow, place, stride=None):
    if isinstance(rows, types.Literal):  # Numba asks without the value first
        return Block(rows.literal_value, narrow.literal_value, place.dtype)
    return None


def zero_block(rows, narrow, place):
    """Return a block of zeros, of numbers like those of a place; rows, narrow: constants."""
    return np.zeros((rows, lanes(place) // (1 + narrow)), place.dtype)


@twin_of(zero_block, _block_type)
def _(builder, result, kinds, rows, narrow, place):
    return ir.Constant(result.ir(), None)


def load_block(rows, narrow, place, stride):
    """Return the block of the vectors place[r * stride:]; rows, narrow: constants."""
    width = lanes(place) // (1 + narrow)
    return np.array([_whole(place, r * stride)[:width] for r in range(rows)])


@twin_of(load_block, _block_type)
def _(builder, result, kinds, rows, narrow, place, stride):
    block = ir.Constant(result.ir(), ir.Undefined)
    for r, k in itertools.product(range(result.rows), range(result.pieces)):
        piece = builder.load(_piece(builder, _row(builder, place, stride, r), k, result), align=1)
        block = builder.insert_value(block, piece, r * result.pieces + k)
    return block


def store_block(place, stride, block):
    """Write the rows of a block to place[r * stride:]."""
    for r, row in enumerate(block):
        _whole(place, r * stride)[: len(row)] = row


@twin_of(store_block, lambda place, stride, block: types.none)
def _(builder, result, kinds, place, stride, block):
    kind = kinds[2]
    for r, k in itertools.product(range(kind.rows), range(kind.pieces)):
        to = _piece(builder, _row(builder, place, stride, r), k, kind)
        builder.store(builder.extract_value(block, r * kind.pieces + k), to, align=1)


def add_outer(block, numbers, stride, place):
    """Return block[r, :] + numbers[r * stride] * place[:]."""
    a = np.array([numbers[r * stride] for r in range(len(block))])
    return fma(a[:, None], _whole(place, 0)[: block.shape[1]], block)


@twin_of(add_outer, lambda block, numbers, stride, place: block)
def _(builder, result, kinds, block, numbers, stride, place):
    # All numbers first, then register by register of the place: so no sum is put into memory.
    numbers = _numbers(builder, numbers, stride, result)
    for k in range(result.pieces):
        b = builder.load(_piece(builder, place, k, result), align=1)
        for r, number in enumerate(numbers):
            at_ = r * result.pieces + k
            s = _multiply_add(builder, number, b, builder.extract_value(block, at_))
            block = builder.insert_value(block, s, at_)
    return block


def add_sum(place, numbers, stride, block):
    """Add to place[:] the sum over r of numbers[r * stride] * block[r, :], in this order."""
    sums = _whole(place, 0)
    for r, row in enumerate(block):
        sums[: len(row)] = fma(numbers[r * stride], row, sums[: len(row)])


@twin_of(add_sum, lambda place, numbers, stride, block: types.none)
def _(builder, result, kinds, place, numbers, stride, block):
    kind = kinds[3]
    numbers = _numbers(builder, numbers, stride, kind)
    for k in range(kind.pieces):
        total = builder.load(_piece(builder, place, k, kind), align=1)
        for r, number in enumerate(numbers):
            row = builder.extract_value(block, r * kind.pieces + k)
            total = _multiply_add(builder, number, row, total)
        builder.store(total, _piece(builder, place, k, kind), align=1)


def register(place):
    """Return how many numbers of this type fill a register: a quarter of a vector."""
    return lanes(place) // 4


@twin_of(register, lambda place: types.intp)
def _(builder, result, kinds, place):
    return INTP(_lanes(kinds[0].dtype, REGISTER))


def transpose(target, source):
    """Write the transpose of a square of registers: target[k, r] = source[r, k].

    Rows are a vector apart, in both places.
    """
    v, n = lanes(source), register(source)
    rows = [part(source, r * v, n) for r in range(n)]
    for k in range(n):
        part(target, k * v, n)[...] = [row[k] for row in rows]


@twin_of(transpose, lambda target, source: types.none)
def _(builder, result, kinds, target, source):
    kind = Block(1, False, kinds[0].dtype)
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


def float_mode(index):
    """Set the processor's float mode and return the one before; 0: flush tiny numbers to zero.

    A sum with a number of 1e-40 costs 100 cycles, and the number changes nothing. Each thread has
    a mode of its own. Nothing happens on processors other than x86-64.
    """
    return 0


@twin_of(float_mode, lambda index: types.int64)
def _(builder, result, kinds, mode):
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
