"""Reading pickled arrays, and lists of them, without running anything that the pickle names.

Invariants: opcodes and names are on allow-lists, and what they make are classes of this module;
steps, copies and shared arrays are limited in proportion to the bytes that have been read.
"""

import codecs
import pickle
import re

import numpy as np

from fastbp.data import files

FREE_STEPS = 10_000  # of a pickle; the book's mnist.pkl.gz takes some 200
BYTES_PER_STEP = 32  # beyond them; the book's expanded training set has some 90 bytes for each
MOST_STEPS = 1 << 25  # whatever the length; the expanded training set takes 9 million
LONG = 256  # a text of more bytes is an array's and is used once


class Refused(Exception):
    """A pickle wants something that no data set needs."""


NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}
_ESCAPED = re.compile(rb"""(?s:[^\\]++|\\[\\'"nrtx])*+""").fullmatch
# The opcodes of a pickle of tuples, lists and arrays, in all protocols. No dictionaries, no
# instances, no extensions, nothing from outside.
OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""


def _stand_ins(spend):
    """Return what a pickle of arrays may name, and our own classes that it gets instead.

    Made anew for each file: a pickle can write to whatever it is given. spend(n) is called before
    n bytes are copied, and raises where that is more than the file can account for: a pickle may
    ask for a copy of the same bytes again and again. Nothing in a pickle is trusted to be of the
    type that it should have: tuples of tuples may take for ever to print.
    """

    class Dtype:
        __slots__ = ("name", "order")

        def __init__(self, name, *flags):
            if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z]\d{0,4}", name, re.ASCII):
                raise Refused("it holds an array of a strange type, expected numbers")
            self.name, self.order = name, "="

        def __setstate__(self, state):
            if not isinstance(state, tuple) or state[1] not in ("<", ">", "=", "|"):
                raise Refused("it holds an array in a strange order of bytes")
            self.order = state[1]

        def numbers(self):
            """Return the dtype that NumPy has for it, or refuse what is not a type of numbers."""
            if self.name not in NUMBERS:
                raise Refused(f"it holds an array of {self.name}, expected numbers")
            return np.dtype(self.name).newbyteorder(self.order)

    class Array:
        """Takes numbers only, and only as many as there are bytes for."""

        __slots__ = ("array",)

        def __setstate__(self, state):
            _, shape, dtype, fortran, raw = state
            if not isinstance(dtype, Dtype):
                raise Refused("it holds an array that is none")
            numbers = dtype.numbers()
            if not isinstance(raw, (str, bytes, bytearray)):
                raise Refused("it holds an array that is none")
            if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
                raise Refused("it holds an array whose shape is none")
            spend(len(raw))
            raw = raw.encode("latin1") if isinstance(raw, str) else raw
            array = np.frombuffer(raw, numbers).reshape(shape, order="F" if fortran else "C")
            self.array = array.astype(numbers.newbyteorder("="), copy=False)

    def new_array(*arguments):
        return Array()

    def array_from_buffer(raw, dtype, shape, order):
        array = Array()
        array.__setstate__((1, shape, dtype, order == "F", raw))
        return array

    def encode(text, encoding):
        if not isinstance(text, str):
            raise Refused("it encodes what is no text")
        spend(len(text))
        return text.encode("latin1")

    def scalar(dtype, raw):
        """Return one integer, a label, as an int."""
        numbers = dtype.numbers() if isinstance(dtype, Dtype) else None
        if numbers is None or numbers.kind not in "iu":
            raise Refused("it holds a scalar that is not an integer, expected labels")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, bytes) or len(raw) != numbers.itemsize:
            raise Refused("it holds a scalar that is none")
        order = "big" if dtype.order == ">" else "little"
        return int.from_bytes(raw, order, signed=numbers.kind == "i")

    allowed = {("numpy", "ndarray"): Array, ("numpy", "dtype"): Dtype}
    allowed["_codecs", "encode"] = encode
    for core in ("numpy.core", "numpy._core"):  # before and after NumPy 2
        allowed[f"{core}.multiarray", "_reconstruct"] = new_array
        allowed[f"{core}.multiarray", "scalar"] = scalar
        allowed[f"{core}.numeric", "_frombuffer"] = array_from_buffer
    return allowed


class Unpickler(pickle._Unpickler):
    """Reads pickled arrays without a single class of the pickle's own choice.

    The one in Python, not the one in C: the latter allocates a table as large as the largest
    number that a pickle uses for its memo, which a file of ten bytes can set to gigabytes. And
    here the table of opcodes can be cut down to those that are needed, and count them.
    """

    def __init__(self, content):
        super().__init__(content, encoding="latin1")
        self.content, self.spent = content, 0
        self.allowed = _stand_ins(self.spend)
        self.memo = _Memo()
        self.dispatch = _Steps(pickle._Unpickler.dispatch, content)
        self.dispatch[pickle.BYTEARRAY8[0]] = Unpickler.load_bytearray8
        self.dispatch[pickle.STRING[0]] = Unpickler.load_string

    def spend(self, n):
        self.spent += n
        if self.spent > 2 * self.content.taken:  # NumPy's own pickles copy their bytes twice
            raise Refused("refused: it wants copies of the same bytes again and again")

    def load_bytearray8(self):
        """Read first, then make the array: the inherited method does it the other way round."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_string(self):
        """Take only the escapes that repr writes: Python warns of those that mean nothing."""
        text = self.readline()[:-1]
        # Most escapes are \x; without them the expression takes half the time.
        few = text if rb"\\x" in text else text.replace(rb"\x", b"")
        if len(text) < 2 or text[:1] not in b"'\"" or text[:1] != text[-1:] or not _ESCAPED(few):
            raise Refused("it holds a text without quotes or with strange escapes")
        self.append(codecs.escape_decode(text[1:-1])[0].decode("latin1"))

    def find_class(self, module, name):
        try:
            return self.allowed[module, name]
        except KeyError:
            wanted = files.brief(f"{module}.{name}", 100)
            raise Refused(f"refused: it wants to use {wanted}, which no data set needs") from None


class _Memo(dict):
    """What a pickle may refer to again, by number; not long texts, so that they can be freed.

    Nor short tuples with a long text in them: they are arguments, used once.
    """

    def __setitem__(self, number, value):
        short = isinstance(value, tuple) and len(value) <= 8
        long = any(map(_is_long, value)) if short else _is_long(value)
        super().__setitem__(number, _Memo if long else value)

    def __getitem__(self, number):
        value = super().__getitem__(number)
        if value is _Memo:
            raise Refused("refused: it uses one long text twice, which no data set needs")
        return value


def _is_long(value):
    return isinstance(value, (str, bytes, bytearray)) and len(value) > LONG


class _Steps(dict):
    """What a pickle may do, by opcode; limits how often it does."""

    def __init__(self, dispatch, content):
        codes = [getattr(pickle, name)[0] for name in OPCODES.split()]
        super().__init__((code, dispatch[code]) for code in codes)
        self.content, self.granted, self.left = content, FREE_STEPS, FREE_STEPS

    def __getitem__(self, code):
        self.left -= 1
        if self.left < 0:
            self._grant()
        return super().__getitem__(code)

    def _grant(self):
        """Allow more steps, for the bytes that have been read meanwhile, or refuse."""
        allowed = min(FREE_STEPS + self.content.taken // BYTES_PER_STEP, MOST_STEPS)
        if allowed <= self.granted:
            raise Refused(
                f"refused: it takes more than {allowed:,} steps, a limit of fastbp's own for so "
                f"many bytes; pickle arrays instead of lists, numpy.array(images) and "
                f"numpy.array(labels)"
            )
        self.left += allowed - self.granted
        self.granted = allowed

    def __missing__(self, code):
        raise Refused(f"refused: it uses the opcode {bytes([code])!r}, which no data set needs")
