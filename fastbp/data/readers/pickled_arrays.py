"""Reading pickled arrays, and lists of them, without running anything that the pickle names.

Invariants: opcodes and names are on allow-lists, and names stand for classes of this module; the
numbers of opcodes and of copied bytes are limited in proportion to the bytes that have been read.
"""

import codecs
import pickle
import re

import numpy as np

from fastbp.data import messages

FREE_STEPS = 10_000  # opcodes that any pickle may have; the book's mnist.pkl.gz has some 200
BYTES_PER_STEP = 32  # for each further opcode; the book's expanded training set has some 90
MAX_STEPS = 1 << 25  # for any number of bytes; the expanded training set has 9 million opcodes
LONG = 256  # a string of more bytes holds the numbers of an array, and is used once


class DisallowedError(Exception):
    """A pickle uses something that no data set needs."""


NUMBER_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}
_ESCAPED = re.compile(rb"""(?s:[^\\]++|\\[\\'"nrtx])*+""").fullmatch
# The opcodes of a pickle of tuples, lists and arrays, in all protocols; none for dictionaries,
# instances, extensions, persistent objects and buffers outside the pickle.
OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""


class _Dtype:
    """What a pickle gets in place of numpy.dtype."""

    __slots__ = ("name", "order")

    def __init__(self, name, *flags):
        if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z]\d{0,4}", name, re.ASCII):
            raise DisallowedError("it holds an array of an unknown type, expected numbers")
        self.name, self.order = name, "="

    def __setstate__(self, state):
        if not isinstance(state, tuple) or state[1] not in ("<", ">", "=", "|"):
            raise DisallowedError("it holds an array of an unknown byte order")
        self.order = state[1]

    def numbers(self):
        """Return NumPy's dtype of the same name, or raise if it is not one of numbers."""
        if self.name not in NUMBER_TYPES:
            raise DisallowedError(f"it holds an array of {self.name}, expected numbers")
        return np.dtype(self.name).newbyteorder(self.order)


def _allowed_names(count_copied):
    """Return {(module, name): a replacement} for all that a pickle of arrays may name.

    The functions are made anew for each file, because a pickle can assign to their attributes.
    count_copied(n) is called before n bytes are copied, and raises beyond a limit: a pickle may
    copy the same bytes many times. The types of arguments are checked before these are used or
    printed: the repr of nested tuples may be exponentially long.
    """

    class Array:
        """In place of numpy.ndarray; `array` exists once the state has been set."""

        __slots__ = ("array",)

        def __setstate__(self, state):
            _, shape, dtype, fortran_order, raw = state
            if not isinstance(dtype, _Dtype):
                raise DisallowedError("it holds an array without a dtype")
            numbers = dtype.numbers()
            if not isinstance(raw, (str, bytes, bytearray)):
                raise DisallowedError("it holds an array without bytes")
            if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
                raise DisallowedError("it holds an array whose shape is not a tuple of integers")
            count_copied(len(raw))
            raw = raw.encode("latin1") if isinstance(raw, str) else raw
            array = np.frombuffer(raw, numbers).reshape(shape, order="F" if fortran_order else "C")
            self.array = array.astype(numbers.newbyteorder("="), copy=False)

    def new_array(*arguments):
        """Return an Array for the arguments of NumPy's _reconstruct, which say nothing about it."""
        return Array()

    def array_from_buffer(raw, dtype, shape, order):
        """Return an Array with its content; NumPy's _frombuffer of pickle protocol 5."""
        array = Array()
        array.__setstate__((1, shape, dtype, order == "F", raw))
        return array

    def encode(text, encoding):
        """Return the bytes of a string in Latin-1, as pickles of protocol 2 hold them."""
        if not isinstance(text, str):
            raise DisallowedError("it encodes something that is not a string")
        count_copied(len(text))
        return text.encode("latin1")

    def scalar(dtype, raw):
        """Return one integer, a label, as an int."""
        numbers = dtype.numbers() if isinstance(dtype, _Dtype) else None
        if numbers is None or numbers.kind not in "iu":
            raise DisallowedError("it holds a scalar that is not an integer, expected labels")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, bytes) or len(raw) != numbers.itemsize:
            raise DisallowedError("it holds a scalar of the wrong size")
        order = "big" if dtype.order == ">" else "little"
        return int.from_bytes(raw, order, signed=numbers.kind == "i")

    allowed = {("numpy", "ndarray"): Array, ("numpy", "dtype"): _Dtype}
    allowed["_codecs", "encode"] = encode
    for core in ("numpy.core", "numpy._core"):  # before and after NumPy 2
        allowed[f"{core}.multiarray", "_reconstruct"] = new_array
        allowed[f"{core}.multiarray", "scalar"] = scalar
        allowed[f"{core}.numeric", "_frombuffer"] = array_from_buffer
    return allowed


class ArrayUnpickler(pickle._Unpickler):
    """Unpickles arrays; never loads a class or function that the pickle names.

    Based on the implementation in Python: the one in C allocates a table for the largest memo
    number, which a pickle of ten bytes can set to billions. In this one the table of opcodes can be
    replaced by one that holds only the allowed opcodes and counts them.
    """

    def __init__(self, content):
        super().__init__(content, encoding="latin1")
        self.content, self.n_copied = content, 0
        self.allowed = _allowed_names(self.count_copied)
        self.memo = _Memo()
        self.dispatch = _AllowedOpcodes(pickle._Unpickler.dispatch, content)
        self.dispatch[pickle.BYTEARRAY8[0]] = ArrayUnpickler.load_bytearray8
        self.dispatch[pickle.STRING[0]] = ArrayUnpickler.load_string

    def count_copied(self, n):
        """Count n copied bytes; raise beyond twice those that were read, which NumPy needs."""
        self.n_copied += n
        if self.n_copied > 2 * self.content.n_read:
            raise DisallowedError("refused: it copies the same bytes again and again")

    def load_bytearray8(self):
        """Read the bytes, then make the array; the inherited method allocates first."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_string(self):
        """Load a string with the escapes that repr writes; Python warns about unknown ones."""
        text = self.readline()[:-1]
        # Most escapes are \x; without them the regular expression takes half the time.
        rest = text if rb"\\x" in text else text.replace(rb"\x", b"")
        if len(text) < 2 or text[:1] not in b"'\"" or text[:1] != text[-1:] or not _ESCAPED(rest):
            raise DisallowedError("it holds a string without quotes or with unknown escapes")
        self.append(codecs.escape_decode(text[1:-1])[0].decode("latin1"))

    def find_class(self, module, name):
        try:
            return self.allowed[module, name]
        except KeyError:
            seen = messages.shorten(f"{module}.{name}", 100)
            raise DisallowedError(f"refused: it uses {seen}, which no data set needs") from None


class _Memo(dict):
    """The objects that a pickle may refer to by number.

    Long strings are not kept, nor short tuples that hold one (the arguments of a call): they are
    used once, and are freed while the next ones are read.
    """

    _NOT_KEPT = object()

    def __setitem__(self, number, value):
        is_short_tuple = isinstance(value, tuple) and len(value) <= 8
        long = any(map(_is_long, value)) if is_short_tuple else _is_long(value)
        super().__setitem__(number, self._NOT_KEPT if long else value)

    def __getitem__(self, number):
        value = super().__getitem__(number)
        if value is self._NOT_KEPT:
            raise DisallowedError("refused: it uses one long string twice, which no data set needs")
        return value


def _is_long(value):
    return isinstance(value, (str, bytes, bytearray)) and len(value) > LONG


class _AllowedOpcodes(dict):
    """The methods of the allowed opcodes; each look-up counts as one step of a limited number."""

    def __init__(self, dispatch, content):
        codes = [getattr(pickle, name)[0] for name in OPCODES.split()]
        super().__init__((code, dispatch[code]) for code in codes)
        self.content, self.granted, self.left = content, FREE_STEPS, FREE_STEPS

    def __getitem__(self, code):
        self.left -= 1
        if self.left < 0:
            self._grant_steps()
        return super().__getitem__(code)

    def _grant_steps(self):
        """Allow more steps for the bytes that have been read since, or raise."""
        allowed = min(FREE_STEPS + self.content.n_read // BYTES_PER_STEP, MAX_STEPS)
        if allowed <= self.granted:
            raise DisallowedError(
                f"refused: it takes more than {allowed:,} steps, fastbp's limit for so many bytes; "
                f"pickle arrays instead of lists, numpy.array(images) and numpy.array(labels)"
            )
        self.left += allowed - self.granted
        self.granted = allowed

    def __missing__(self, code):
        seen = bytes([code])
        raise DisallowedError(f"refused: it uses the opcode {seen!r}, which no data set needs")
