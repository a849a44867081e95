"""The vector type: a few operations as Python functions on NumPy arrays.

The functions are what runs with NUMBA_DISABLE_JIT=1. For each of them @emitted_by tells Numba the
type of the result and which function of emit.py emits the same operation in LLVM.

    place    where something begins in memory: in Python a view of a flat array, in Numba a pointer
    Vector   lanes(place) numbers in four registers: with AVX2 16 float64 or 32 float32
    Tile    1 to MR rows of a vector each, or of half a vector (half), in registers
"""

import inspect

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import lower_builtin, type_callable

from fastbp.kernels import emit
from fastbp.kernels.emit import VECTOR, Tile, Vector, lanes_of

MR = 3  # rows of a tile: 3 x 4 sums, 3 numbers and one register more are all 16 of AVX2

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
    "tile": ("a tile (zero_tile(...))", lambda kind: isinstance(kind, Tile)),
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


def emitted_by(emission, result):
    """Return the decorator that tells Numba what to emit for an operation, and its result's type.

    result: a type; the name of the parameter that has the same; or a function of the types of all
    arguments.
    """

    def decorate(function):
        signature = inspect.signature(function)
        names = list(signature.parameters)

        def typer(*kinds):
            _check(function, names, kinds)
            if isinstance(result, types.Type):
                return result
            return kinds[names.index(result)] if isinstance(result, str) else result(*kinds)

        def lower(context, builder, signature, arguments):
            value = emission(builder, signature.return_type, signature.args, *arguments)
            return context.get_dummy_value() if value is None else value

        typer.__signature__ = signature  # Numba would pass the arguments of *kinds as one tuple
        type_callable(function)(lambda context: typer)
        lower_builtin(function, types.VarArg(types.Any))(lower)
        return function

    return decorate


# ------------------------------------------------ places


def _place_in(array, *rest):
    return types.CPointer(array.dtype)


@emitted_by(emit.address, _place_in)
def at(array, index):
    """Return the place where array[index] stands, counted through all its dimensions."""
    flat = array.reshape(-1)
    if not 0 <= index <= flat.size:
        raise IndexError(f"place {index} of {flat.size}")
    return flat[index:]


@emitted_by(emit.address, _place_in)
def span(array, index, count):
    """Return the place of the `count` numbers from array[index] on; without the JIT, no others."""
    count = max(0, count)
    if not 0 <= index <= index + count <= array.size:
        raise IndexError(f"numbers {index} to {index + count} of {array.size}")
    return array.reshape(-1)[index : index + count]


@emitted_by(emit.address, _place_in)
def open_span(array, index, count):
    """Return the place of 1 to `count` numbers from array[index] on; of none, any place."""
    if count <= 0:
        return array[:0]
    if not 0 <= index < array.size:
        raise IndexError(f"numbers from {index} on of {array.size}")
    return array[index : index + count]


def _as(dtype):
    """Return the function that reads the bytes from a place on as numbers of another type."""

    @emitted_by(emit.reinterpreted, types.CPointer(getattr(types, dtype)))
    def view(array, index):
        size = np.dtype(dtype).itemsize
        return array[index:][: (array.size - index) // size * size].view(dtype)

    return view


as_float32, as_float64 = _as("float32"), _as("float64")


@emitted_by(emit.lanes, types.intp)
def lanes(place):
    """Return how many numbers of this type are a vector."""
    return VECTOR // place.itemsize


@emitted_by(emit.prefetch, types.none)
def prefetch(place, index):
    """Ask for the line of memory that place[index] is in, ahead of its use."""


# ------------------------------------------------ vectors


def _whole(place, index):
    """Return the view of a whole vector at place[index], or raise."""
    numbers = place[index : index + lanes(place)]
    if index < 0 or numbers.size < lanes(place):
        raise IndexError(f"a vector at {index} of {place.size}")
    return numbers


@emitted_by(emit.load, lambda place, index: Vector(place.dtype, lanes_of(place.dtype)))
def load(place, index):
    """Return the vector place[index:]."""
    return _whole(place, index).copy()


@emitted_by(emit.store, types.none)
def store(place, index, vector):
    """Write a vector to place[index:]."""
    _whole(place, index)[...] = vector


@emitted_by(emit.full, "like")
def full(like, number):
    """Return a vector, of the type of another one, of the same number everywhere."""
    return np.full_like(like, number)


@emitted_by(emit.fma, "like")
def fma(a, b, like):
    """Return a * b + like, rounded once where the processor can; only `like` must be a vector."""
    return a * b + like


@emitted_by(emit.where, "like")
def where(condition, a, like):
    """Return a, a number or a vector, where the condition holds, the vector `like` elsewhere."""
    return np.where(condition, a, like).astype(like.dtype)


@emitted_by(emit.any_true, types.boolean)
def any_true(vector):
    """Tell whether a comparison of vectors holds in any lane."""
    return bool(vector.any())


@emitted_by(emit.add_lanes, lambda vector: vector.dtype)
def add_lanes(vector):
    """Return the sum of a vector's numbers: of halves, of halves of these, and so on."""
    while vector.size > 1:
        vector = vector[: vector.size // 2] + vector[vector.size // 2 :]
    return vector[0]


def _rounding(name):
    """Return the function of a vector that NumPy and LLVM have under this name."""

    @emitted_by(emit.rounding(name), "vector")
    def function(vector):
        return getattr(np, name)(vector)

    return function


rint, sqrt = _rounding("rint"), _rounding("sqrt")  # rint: to the nearest whole number, ties to even


@emitted_by(emit.polynomial, "vector")
def polynomial(vector, coefficients):
    """Return a polynomial of x by Horner's rule, the coefficient of the highest power first."""
    p = np.full_like(vector, coefficients[0])
    for c in coefficients[1:]:
        p = fma(p, vector, vector.dtype.type(c))
    return p


@emitted_by(emit.times_power, "vector")
def times_power(vector, like):
    """Return vector * 2**n, the numbers n = like whole, the results neither tiny nor infinite."""
    with np.errstate(invalid="ignore"):  # of NaN
        return np.ldexp(vector, like.astype(np.int32))


# ------------------------------------------------ masks of what is not zero


@emitted_by(emit.nonzero_bits, types.int64)
def nonzero_bits(place, source, target):
    """Return a mask: bit k < 64 tells that number k at one of three places is not zero."""
    some = (place[:64] != 0) | (source[:64] != 0) | (target[:64] != 0)
    return int.from_bytes(np.packbits(some, bitorder="little").tobytes(), "little", signed=True)


@emitted_by(emit.count_bits, types.int64)
def count_bits(mask):
    """Return how many bits of a mask are set."""
    return (int(mask) % 2**64).bit_count()


@emitted_by(emit.store_set_bits, types.none)
def store_set_bits(place, index, mask, count):
    """Write count + k for each bit k < 8 of a mask that is set to place[index:], int32, in order.

    Eight numbers are written, those behind the set bits of no use: there is no branch.
    """
    place[index : index + 8] = emit.SET_BITS[mask & 255] + count


# ------------------------------------------------ tiles of registers


def _tile_type(rows, half, place, stride=None):
    if isinstance(rows, types.Literal):  # Numba asks without the value first
        return Tile(rows.literal_value, half.literal_value, place.dtype)
    return None


@emitted_by(emit.zero_tile, _tile_type)
def zero_tile(rows, half, place):
    """Return a tile of zeros, of numbers like those of a place; rows, half: constants."""
    return np.zeros((rows, lanes(place) // (1 + half)), place.dtype)


@emitted_by(emit.load_tile, _tile_type)
def load_tile(rows, half, place, stride):
    """Return the tile of the vectors place[r * stride:]; rows, half: constants."""
    width = lanes(place) // (1 + half)
    return np.array([_whole(place, r * stride)[:width] for r in range(rows)])


@emitted_by(emit.store_tile, types.none)
def store_tile(place, stride, tile):
    """Write the rows of a tile to place[r * stride:]."""
    for r, row in enumerate(tile):
        _whole(place, r * stride)[: len(row)] = row


@emitted_by(emit.add_outer, "tile")
def add_outer(tile, numbers, stride, place):
    """Return tile[r, :] + numbers[r * stride] * place[:]."""
    a = np.array([numbers[r * stride] for r in range(len(tile))])
    return fma(a[:, None], _whole(place, 0)[: tile.shape[1]], tile)


@emitted_by(emit.add_sum, types.none)
def add_sum(place, numbers, stride, tile):
    """Add to place[:] the sum over r of numbers[r * stride] * tile[r, :], in this order."""
    sums = _whole(place, 0)
    for r, row in enumerate(tile):
        sums[: len(row)] = fma(numbers[r * stride], row, sums[: len(row)])


@emitted_by(emit.transpose, types.none)
def transpose(target, source):
    """Write the transpose of a square of registers: target[k, r] = source[r, k].

    Rows are a vector apart, in both places.
    """
    v, n = lanes(source), lanes(source) // 4  # in a register
    rows = [span(source, r * v, n) for r in range(n)]
    for k in range(n):
        span(target, k * v, n)[...] = [row[k] for row in rows]


# ------------------------------------------------ the processor


@emitted_by(emit.float_mode, types.int64)
def float_mode(index):
    """Set the processor's float mode and return the one before; 0: flush tiny numbers to zero.

    A sum with a number of 1e-40 costs 100 cycles, and the number changes nothing. Each thread has
    a mode of its own. Nothing happens on processors other than x86-64.
    """
    return 0
