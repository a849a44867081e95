"""A fuzzer of all that reads files: python -m tests.fuzz --count 100000 [--reader NAME] [--seed N].

Invariant: whatever the bytes, a reader returns a valid result, or raises ValueError or OSError with
a message of one short line that names the file. It raises no other exception, warns of nothing,
writes no file, runs no command, and takes at most 2 seconds and 3 times the memory that a valid
file of that length takes.

A case is determined by (reader, seed, number). To add a reader, add a line to READERS: valid files,
a function that reads a path and raises AssertionError if the result is invalid, and mutators that
know the format, beyond those of bytes, which all readers have.
"""

import argparse
import codecs
import contextlib
import copy
import dataclasses
import functools
import gzip
import io
import itertools
import json
import os
import pathlib
import pickle
import pickletools
import random
import re
import struct
import sys
import tempfile
import time
import tracemalloc
import types
import warnings
import zipfile
import zlib

import numpy as np

from fastbp import network, network2
from fastbp.cli.model_commands import read_image
from fastbp.data.readers import find
from fastbp.training import chapter1, chapter3, checkpoint
from fastbp.training.settings import MonitorSettings, RuleSettings, RunSettings

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # python -m tests.fuzz has it not
from formats import IDX_NAMES, KERAS_NAMES, digits, expanded, idx, python2_pickle, with_old_names

MOST_SECONDS, MOST_MEMORY, LONGEST = 2.0, 3.0, 500
LITTLE = 1 << 18  # bytes that reading may always take: Python's own objects, pieces of a file
SAMPLE = 50  # memory is measured for one case in 50
INTERESTING = (
    0, 1, 2, 3, 7, 8, 9, 10, 16, 27, 28, 29, 59, 60, 64, 127, 128, 255, 256, 783, 784, 2049, 2051,
    2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1,
    2**63, 2**64 - 1,
)  # fmt: skip


class Violation(AssertionError):
    """A reader has violated the invariant; the message says how, and where the input is kept."""


# ------------------------------------------------ mutators of bytes: (bytes, rng, others) -> bytes


def _place(content, rng):
    """Return a place, half of the time near an end: that is where headers are."""
    where = rng.randrange(4)
    if where == 0:
        return rng.randrange(min(len(content), 64) + 1)
    if where == 1:
        return max(0, len(content) - rng.randrange(128))
    return rng.randrange(len(content) + 1)


def flip_bits(content, rng, others):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[min(_place(changed, rng), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(content, rng, others):
    at, n = _place(content, rng), rng.choice((1, 1, 2, 4, 16))
    fill = rng.choice((b"\0" * n, b"\xff" * n, rng.randbytes(n)))
    return content[:at] + fill + content[at + n :]


def cut(content, rng, others):
    return content[: _place(content, rng)]


def delete(content, rng, others):
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 30, 1000)) :]


def double(content, rng, others):
    at, n, to = _place(content, rng), rng.choice((1, 4, 64, 1000)), _place(content, rng)
    return content[:to] + content[at : at + n] * rng.choice((1, 1, 2, 50)) + content[to:]


def splice(content, rng, others):
    other = rng.choice(others)
    return content[: _place(content, rng)] + other[_place(other, rng) :]


def set_integer(content, rng, others):
    at, code = _place(content, rng), rng.choice("BHIQ")
    n = struct.calcsize(code)
    value = (rng.choice(INTERESTING) * rng.choice((1, 1, 1, -1))) % (1 << 8 * n)
    return content[:at] + struct.pack(rng.choice("<>") + code, value) + content[at + n :]


BYTES = (flip_bits, set_bytes, cut, delete, double, splice, set_integer)


def any_bytes(content, rng, others):
    """Apply one to four mutators of bytes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(BYTES)(content, rng, others)
    return content


# ------------------------------------------------ gzip


@functools.lru_cache(maxsize=64)
def _unpacked(content):
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def packed(content, rng):
    """Return content as gzip with a right checksum; some of it odd, but all of it legal."""
    form = rng.randrange(8)
    if form == 0:  # with a name, a comment and an extra field
        head = b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x03\0abc" + b"name\0" + b"comment" * 9 + b"\0"
        body = zlib.compress(content, 1)[2:-4]
        return head + body + struct.pack("<II", zlib.crc32(content), len(content) % 2**32)
    if form == 1:  # in several parts
        at = _place(content, rng)
        return gzip.compress(content[:at], 1, mtime=0) + gzip.compress(content[at:], 1, mtime=0)
    if form == 2:
        return gzip.compress(content, 1, mtime=0) + bytes(rng.randrange(20))
    return gzip.compress(content, rng.choice((0, 1)), mtime=0)


def inside_gzip(mutate):
    """Return a mutator of what is inside a gzip file, packed again."""

    def mutator(content, rng, others):
        changed = mutate(_unpacked(content), rng, [_unpacked(o) for o in others])
        return packed(changed, rng) if rng.random() < 0.7 else changed

    return mutator


# ------------------------------------------------ IDX


def idx_header(content, rng, others):
    """Set one of the numbers in the header, and sometimes as many bytes as it then promises."""
    numbers = list(struct.unpack(">4I", content[:16].ljust(16, b"\0")))
    numbers[rng.randrange(4)] = rng.choice(INTERESTING) % 2**32
    changed = struct.pack(">4I", *numbers) + content[16:]
    if rng.random() < 0.5:
        changed = changed[: 16 + min(numbers[1], 100) * 784].ljust(16 + 784 * 3, b"\7")
    return changed


# ------------------------------------------------ .npy and .npz

DESCRS = (
    "<f8", "<f4", "<f2", "<f16", ">f8", ">f4", "|u1", "|i1", "<i8", "<u8", "|b1", "<c16", "|S5",
    "<U7", "<U0", "|S0", "|O", "O", "|V8", "<M8[ns]", "<m8", "f8", "=f8", "<f3", "<f99", "", "d",
    "<U9999", "f4,f4", "(2,2)f4", "a5", "\\d", "<f8\n", "\u2603",
)  # fmt: skip
SHAPES = (
    (), (0,), (1,), (3, 4), (4, 3), (3, 1), (28, 28), (784,), (1, 784), (6, 28, 28), (-1,), (-1,
    -1),
    (2**31,), (2**32,), (2**63,), (2**64,), (10**30,), (0, 2**62), (2**32, 2**32), (1,) * 31,
    (1,) * 33, (1,) * 65, (0,) * 64, (True,), (1.5,), ("a",), ((1,),), [3], 3, None, {},
)  # fmt: skip
HEADERS = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3L, 4L), }",
    "{'descr': [('a', '<f8'), ('b', '<f8')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': ('<f8', (2, 2)), 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,), }",
    "{'shape': (3, 4), 'descr': '<f8', 'fortran_order': False}",
    '{"descr": "<f8", "fortran_order": True, "shape": (4,), }',
    "{'descr': '<f8', 'fortran_order': 1, 'shape': (3, 4), }",
    "{'descr': '<f8', 'descr': '<f8', 'shape': (3, 4), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), 'x': 1}",
    "{[]: 1}", "{{}}", "1" * 5000, "(" * 9000, "[" * 90 + "]" * 90, "-" * 9000 + "1",
    "{'descr': '\\d', 'fortran_order': False, 'shape': ()}", "\\", "'", "{", "}" * 99, "\0",
    "__import__('os').system('touch owned')", "{'a': " * 500, "1 if 1 else " * 800, "\n" * 9000,
    "{" + " " * 9000, "{'shape'" + " " * 9000 + ":", "(" + "1, " * 3000 + ")", "9**9**9**9",
)  # fmt: skip


def npy(header, data, version=1, length=None):
    """Return an .npy file with this text as its header."""
    text = header.encode("utf-8")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = len(text) if length is None else length
    if version == 1:
        return b"\x93NUMPY\1\0" + struct.pack("<H", length % 2**16) + text + data
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<I", length % 2**32) + text + data


def npy_array(content, rng, others):
    """Write another header before the data of an .npy file, or other data behind its header."""
    try:
        shape, fortran, dtype = _npy_header(content)
        data = content[128:]
    except ValueError:
        shape, fortran, dtype, data = (3, 4), False, np.dtype("f8"), bytes(96)
    kind, descr = rng.randrange(5), dtype.str
    if kind == 0:
        header = rng.choice(HEADERS)
        return npy(
            header, data, rng.choice((1, 1, 2, 3, 4)), rng.choice((None, None, 9, 2**32 - 1))
        )
    if kind == 1:
        descr = rng.choice(DESCRS)
    elif kind == 2:
        shape = rng.choice(SHAPES)
    elif kind == 3:
        fortran = rng.choice((not fortran, None, 1, "no"))
    if kind == 4 and dtype.kind == "f" and len(data) >= dtype.itemsize:  # a number that is none
        value = rng.choice((np.nan, np.inf, -np.inf, 1e300, -1e-320, 2.0, -1.0))
        with np.errstate(all="ignore"):
            bits = np.array(value).astype(dtype).tobytes()
        if rng.random() < 0.3:
            bits = b"\1" + b"\0" * (dtype.itemsize - 4) + b"\x80\xf0\x7f"[-3:]  # may be signalling
        at = rng.randrange(len(data) // dtype.itemsize) * dtype.itemsize
        data = (data[:at] + bits + data[at + dtype.itemsize :])[: len(data)]
    elif rng.random() < 0.5 and isinstance(shape, tuple):  # with as many bytes as it promises
        with contextlib.suppress(Exception):
            n = int(np.prod(shape)) * np.dtype(descr).itemsize
            data = rng.choice((b"\0", b"\xff", data or b"x")) * min(n, 20_000)
            data = data[: min(n, 20_000)]
    header = repr({"descr": descr, "fortran_order": fortran, "shape": shape})
    return npy(header, data, rng.choice((1, 1, 2, 3)))


@functools.lru_cache(maxsize=256)
def _npy_header(content):
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError
    return np.lib.format.read_array_header_1_0(file)


@functools.lru_cache(maxsize=64)
def _members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return tuple((info.filename, archive.read(info)) for info in archive.infolist())


def _archive(members, rng):
    """Return a .zip file with right checksums."""
    buffer = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED,) * 3 + (zipfile.ZIP_DEFLATED,))
    if rng.random() < 0.02:
        method = rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with warnings.catch_warnings():  # of names that are there already
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in members:
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=rng.random() < 0.1) as m:
                    m.write(data)
            archive.comment = b"PK\5\6" * (rng.random() < 0.02)
    return buffer.getvalue()


def zip_member(content, rng, others):
    """Change, drop, double, rename or exchange a member."""
    members = list(_members(content))
    at, kind = rng.randrange(len(members)), rng.randrange(8)
    name, data = members[at]
    if kind == 0:
        members.pop(at)
    elif kind == 1:
        members.insert(rng.randrange(len(members)), (name, members[0][1]))
    elif kind == 2:
        new = rng.choice(
            ("../" + name, "/" + name, name.upper(), name[:-4], "\0", "x" * 3000, "\u2603")
        )
        members[at] = new, data
    elif kind == 3:
        members[at] = name, rng.choice(members)[1]
    elif kind == 4:
        members[at] = name, any_bytes(data, rng, [d for _, d in members])
    else:
        members[at] = name, npy_array(data, rng, ())
    return _archive(members, rng)


def zip_field(content, rng, others):
    """Set a field of the directory, of a local header or of the end record."""
    marks = [m.start() for m in re.finditer(b"PK(?:\1\2|\3\4|\5\6)", content)]
    at = max(0, rng.choice(marks)) + rng.randrange(4, 46) if marks else 0
    code = rng.choice("HHI")
    value = rng.choice((rng.choice(INTERESTING), rng.randrange(64))) % (
        1 << 8 * struct.calcsize(code)
    )
    return content[:at] + struct.pack("<" + code, value) + content[at + struct.calcsize(code) :]


# ------------------------------------------------ JSON

VALUES = (
    None, True, False, 0, 1, -1, 2.5, 1e300, -1e300, 1e-320, float("nan"), float("inf"), "", "abc",
    "1.5", "line\nfeed", "\x1b[2J", "\ud800", "\u2028", [], [[]], [[[]]], {}, {"a": 1}, [1, 2],
    [None],
    2**31, 2**40, 2**63, 2**64, 10**308, 10**400, -(10**4000), "x" * 5000, [1] * 3000,
    ["QuadraticCost"],
    "float32", "float64", "O", "f4,f4", "sigmoid", "softmax", "CrossEntropyCost", "QuadraticCost",
    "LogLikelihoodCost", ["relu", "softmax"], ["tanh", "tanh"], [["relu"], "sigmoid"],
)  # fmt: skip
TEXTS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b"0x10", b"[" * 2000,
    b"{\"a\":" * 2000,
    b"\"\\ud800\"", b"\"\xff\"", b"\"sizes\": [3, 4, 2],", b"'", b"//", b"\0", b"-", b"1.e5",
    b",", b"]",
)  # fmt: skip


def json_tree(content, rng, others):
    """Put another value at a random place of the tree, or take one out, or rename a key."""
    data = json.loads(content)
    node = data
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(node[key], (list, dict)) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        change = rng.randrange(6)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node, list):
            node.insert(key, node[key])
        elif change == 2 and isinstance(node, dict):
            node[rng.choice((key.upper(), "x", "\n"))] = node.pop(key)
        else:
            node[key] = copy.deepcopy(rng.choice(VALUES))  # the next change may be in it
        if rng.random() < 0.8:
            break
        node = data
    text = json.dumps(data, ensure_ascii=rng.random() < 0.9)
    encoding = rng.choice(("utf-8",) * 12 + ("utf-16", "utf-32", "utf-8-sig"))
    return text.encode(encoding, "surrogatepass")


def json_text(content, rng, others):
    """Put a text of JSON's, or of nearly JSON, between two tokens or in the place of one."""
    places = [i for i, c in enumerate(content) if c in b",:[]{} "]
    start = rng.choice(places)
    end = rng.choice((start, start + 1, *[i for i in places if i > start][:1]))
    return content[: start + 1] + rng.choice(TEXTS) + content[max(end, start + 1) :]


# ------------------------------------------------ pickles


@functools.lru_cache(maxsize=64)
def _operations(content):
    """Return a pickle as a tuple of its operations, each the bytes of it."""
    places = [place for _, _, place in pickletools.genops(content)] + [len(content)]
    return tuple(content[a:b] for a, b in itertools.pairwise(places))


GLOBALS = (
    b"numpy\nndarray\n", b"numpy\ndtype\n", b"_codecs\nencode\n",
    b"numpy.core.multiarray\n_reconstruct\n",
    b"numpy._core.numeric\n_frombuffer\n", b"os\nsystem\n", b"builtins\neval\n",
    b"copyreg\n_reconstructor\n",
    b"x" * 3000 + b"\ny\n", b"\xff\n\xff\n", b"\x1b[2J\nx\n", b"builtins\nobject\n",
)  # fmt: skip


def operation(rng):
    """Return a random operation of a pickle, with an argument of a legal form."""
    op = rng.choice(pickletools.opcodes)
    code, kind = op.code.encode("latin1"), op.arg
    if code in (b"c", b"i"):
        return code + rng.choice(GLOBALS)
    if kind is None:
        return code
    n = rng.choice((0, 1, 2, 5, 30))
    text = rng.choice(
        (b"1", b"01", b"00", b"-5L", b"9" * 5000, b"'a'", b"''", b"f4", b"a\\", b"'\\d'")
    )
    if kind.n == pickletools.UP_TO_NEWLINE:
        return code + text + b"\n"
    lengths = {
        pickletools.TAKEN_FROM_ARGUMENT1: "<B",
        pickletools.TAKEN_FROM_ARGUMENT4: "<i",
        pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
        pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
    }
    if kind.n in lengths:
        form, body = lengths[kind.n], rng.choice((bytes(n), b"f" * n, rng.randbytes(n), b"<"))
        claimed = len(body)
        if rng.random() < 0.3:
            claimed = rng.choice(INTERESTING) % (1 << 8 * struct.calcsize(form) - 1)
        return code + struct.pack(form, claimed) + body
    value = rng.choice((rng.randrange(256), rng.choice(INTERESTING)))
    return code + (value % (1 << 8 * kind.n)).to_bytes(kind.n, "little")


def pickle_operations(content, rng, others):
    """Delete, double, move, exchange or insert operations."""
    try:
        operations = list(_operations(content))
    except Exception:  # it is no whole pickle
        return any_bytes(content, rng, others)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, kind = rng.randrange(len(operations)), rng.randrange(6)
        if kind == 0:
            del operations[at]
        elif kind == 1:
            operations.insert(at, operations[at])
        elif kind == 2:
            operations.insert(at, operations.pop(rng.randrange(len(operations))))
        elif kind == 3:
            operations.insert(at, operation(rng))
        elif kind == 4:
            operations[at] = operation(rng)
        else:
            operations[at] = any_bytes(operations[at], rng, operations)
        if not operations:
            break
    return b"".join(operations)


def pickle_of_anything(content, rng, others):
    """Make a pickle of random operations, mostly with enough on the stack."""
    parts = [rng.choice((b"", b"\x80\2", b"\x80\5"))]
    for _ in range(rng.randrange(40)):
        parts.append(rng.choice((b"K\x05", b"(", b")", b"]", b"X\1\0\0\0a", operation(rng))))
    return b"".join(parts) + b"."


# ------------------------------------------------ valid files, and checks of what is read


RAW = (*digits(6, 1), *digits(2, 2))
IDX_FILES = {name: idx(array) for name, array in zip(IDX_NAMES, RAW)}


def check_sets(sets):
    """Raise AssertionError unless these are three sets of images and labels."""
    assert len(sets) == 3
    for images, labels in sets:
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        assert images.shape == (len(labels), 784)
        assert not images.size or (images.min() >= 0 and images.max() <= 1)
        assert not labels.size or (labels.min() >= 0 and labels.max() <= 999)


def check_csv(sets):
    """As check_sets, for images of any size."""
    n_in = sets[0][0].shape[1]
    check_sets([(np.resize(images, (len(labels), 784)), labels) for images, labels in sets])
    assert {images.shape for images, _ in sets} == {(len(labels), n_in) for _, labels in sets}


def check_network(net):
    """Raise AssertionError unless the parameters fit the sizes and are finite."""
    assert len(net.sizes) == net.num_layers == len(net.weights) + 1 == len(net.biases) + 1
    for w, b, n_in, n_out in zip(net.weights, net.biases, net.sizes, net.sizes[1:]):
        assert (w.shape, b.shape, w.dtype, b.dtype) == (
            (n_out, n_in), (n_out, 1), net.dtype, net.dtype,
        )  # fmt: skip
        assert np.isfinite(w).all()
        assert np.isfinite(b).all()


def check_image(image):
    assert image.shape == (784, 1)
    assert image.min() >= 0
    assert image.max() < 2  # resizing may go a little beyond 1


def _saved(save):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file"
        save(path)
        return path.read_bytes()


def _npz_files():
    names = dict(zip(KERAS_NAMES, RAW))
    wide = names | {"y_train": RAW[1].astype(np.int64), "x_test": np.asfortranarray(RAW[2])}
    for save, arrays in ((np.savez, names), (np.savez_compressed, names), (np.savez, wide)):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        yield buffer.getvalue()


def _pickles():
    x, y = RAW[0][:2].reshape(2, 784).astype(np.float32) / np.float32(256), RAW[1][:2]
    for protocol in range(6):
        sets = tuple((x[: 1 + k % 2], y[: 1 + k % 2].astype(np.int64)) for k in range(3))
        content = pickle.dumps(sets, protocol)
        yield with_old_names(content) if protocol == 2 else content
    yield gzip.compress(pickle.dumps(sets, 2), mtime=0)
    yield python2_pickle(sets)
    yield pickle.dumps(tuple((np.asfortranarray(u).astype(">f8"), v) for u, v in sets), 2)


def _expanded_files():
    x, y = RAW[0].reshape(6, 784).astype(np.float32) / np.float32(256), RAW[1].astype(np.int64)
    sets = [(x, y), (x[:1], y[:1]), (x[:2], y[:2])]
    for protocol in (("2", 0), ("2", 2), 0, 2, 4, 5):
        yield gzip.compress(expanded(sets, protocol), 1, mtime=0)


def _csv_files():
    lines = [f"{y}," + ",".join(map(str, x.ravel())) for x, y in zip(RAW[0], RAW[1])] * 2
    yield "\n".join(lines).encode()
    yield "\r\n".join(["label," + "p," * 783 + "p", *lines, ""]).encode()
    yield gzip.compress("\n".join(lines).encode(), mtime=0)


CELLS = ("", " ", "256", "-1", "1000", "9" * 400, "0.5", "1e2", "nan", "inf", "x", "0x1", "1_0",
         "+7", " 7 ", '"7"', "#", ";", "\t", "\r", "\0", "\x1b[2J", "\xb2", "\x85", "7,7", "7\n7",
         "-0", "\x1c7", "32768", "65541", "4294967301", "18446744073709551621", "\n\n", ",",
         "'")  # fmt: skip


def csv_cell(content, rng, others):
    """Put something else in the place of a cell, or between two."""
    commas = [m.start() for m in re.finditer(b"[,\n]", content)] or [0]
    at = rng.choice(commas) + 1
    end = at if rng.random() < 0.2 else (content + b",").find(b",", at)
    return content[:at] + rng.choice(CELLS).encode("latin1") + content[end:]


def _models():
    for sizes, dtype in (([3, 4, 2], np.float64), ([2, 1], np.float32), ([5, 1, 1, 3], np.float32)):
        yield _saved(network.Network(sizes, dtype=dtype).save)


def _json_files():
    yield _saved(network2.Network([3, 4, 2]).save)
    log = network2.LogLikelihoodCost
    yield _saved(network2.Network([2, 3, 3], log, activation="relu", dtype=np.float32).save)
    book = json.loads(_saved(network2.Network([2, 1], network2.QuadraticCost).save))
    yield json.dumps({k: book[k] for k in ("sizes", "weights", "biases", "cost")}).encode()


def _images():
    image = RAW[0][0]
    for array in (image, image / 256, image.reshape(784, 1) / np.float32(256), image > 9,
                  np.asfortranarray(image.astype(">i4")),
                  image.astype(np.float16) / 256):  # fmt: skip
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield buffer.getvalue()


TRAINING = np.linspace(0, 1, 60).reshape(12, 5), np.arange(12) % 3


def _run_of(module, path=None, epochs=2):
    """Return a small network's run and its Checkpointer: it writes checkpoints, or has to begin."""
    net = module.Network([5, 3, 3])
    settings = RunSettings(net.dtype, epochs, 5, 0.1)
    if module is network:
        run = chapter1.run_of(net, settings, TRAINING, TRAINING)
    else:
        rules = RuleSettings(net.dtype, 3, momentum=0.9, dropout=0.1)
        wanted = {"evaluation_cost", "evaluation_accuracy"}
        monitors = MonitorSettings(wanted)
        run = chapter3.run_of(net, settings, rules, monitors, TRAINING, TRAINING)
    return run, checkpoint.Checkpointer(path, 1)


def _train(module, path):
    run, checkpointer = _run_of(module, path)
    run.train(checkpointer, False)


def _checkpoints():
    state = random.getstate()
    for module in (network, network2):
        with contextlib.redirect_stdout(io.StringIO()):
            yield _saved(lambda path, module=module: _train(module, path))
    random.setstate(state)


def checkpoint_content(content, rng, others):
    """Change what a checkpoint says, with a checksum that fits."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file"
        path.write_bytes(content)
        try:
            about, arrays = checkpoint.read(path)
        except (OSError, ValueError):
            return any_bytes(content, rng, others)
        if rng.random() < 0.6:
            text = json_tree(json.dumps(about).encode(), rng, others)
            with contextlib.suppress(ValueError, RecursionError):
                about = json.loads(text)
            about = about if isinstance(about, dict) else {"facts": about}
        else:
            name = rng.choice(sorted(arrays))
            changed = rng.choice(
                [arrays[name][:-1], arrays[name].astype(np.float32), np.array(np.nan),
                 np.full_like(arrays[name], rng.choice([0, 1, 5, 127])), arrays[name][None]]
            )  # fmt: skip
            arrays = arrays | {name: changed} if rng.random() < 0.8 else dict([*arrays.items()][1:])
        checkpoint.write(path, about, arrays)
        return path.read_bytes()


def _resumed(path):
    """Resume from a checkpoint, as both networks would; nothing is trained or written."""
    states, refused = (random.getstate(), np.random.get_state()), []
    try:
        for module in (network, network2):
            run, run.checkpointer = _run_of(module)
            run.callers_list.note()
            run.bar = types.SimpleNamespace(write=lambda line: None, update=lambda n: None)
            run.checkpointer.path = path
            try:
                about, content = checkpoint.read(path)
                run._resume(about.get("state"), content)
                check_network(run.net)
                return
            except ValueError as error:
                refused.append(error)
        raise refused[-1]
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@dataclasses.dataclass(frozen=True)
class Reader:
    """valid: a function that yields valid files; file: the name that the input gets; read(path):
    reads it, and raises AssertionError if the result is invalid; mutators: those that know the
    format; beside: other files in the folder."""

    valid: callable
    file: str
    read: callable
    mutators: tuple
    beside: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def files(self):
        state = np.random.get_state()
        np.random.seed(0)
        try:
            return list(self.valid())
        finally:
            np.random.set_state(state)


def _without(name):
    return _beside(IDX_FILES, name)


def _idx_reader(name, pack):
    def valid():
        yield gzip.compress(IDX_FILES[name], mtime=0) if pack else IDX_FILES[name]

    mutators = (idx_header,)
    if pack:
        mutators = inside_gzip(idx_header), inside_gzip(any_bytes)
    file = f"{name}.gz" if pack else name
    return Reader(valid, file, _read_folder, mutators, _without(name))


def _npz_of(array):
    buffer = io.BytesIO()
    np.savez(buffer, array)
    return buffer.getvalue()


QMNIST = dict(
    zip(
        ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int",
         "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
        (idx(a if a.ndim == 3 else np.outer(a, [1] * 8).astype(np.int32)) for a in RAW),
    )
)  # fmt: skip
KMNIST = {
    f"kmnist-{name}.npz": _npz_of(array)
    for name, array in zip(("train-imgs", "train-labels", "test-imgs", "test-labels"), RAW)
}


def _beside(contents, name):
    return {other: content for other, content in contents.items() if other != name}


def _qmnist_labels():
    yield QMNIST["qmnist-train-labels-idx2-int"]
    yield gzip.compress(QMNIST["qmnist-train-labels-idx2-int"], mtime=0)


def _read_folder(path):
    check_sets(find.load(path.parent))


def _read_file(path):
    check_sets(find.load(path))


ZIP = zip_member, zip_field
READERS = {
    "idx images": _idx_reader("train-images-idx3-ubyte", False),
    "idx images.gz": _idx_reader("t10k-images-idx3-ubyte", True),
    "idx labels.gz": _idx_reader("train-labels-idx1-ubyte", True),
    "mnist.pkl.gz": Reader(_pickles, "mnist.pkl.gz", _read_file, (
        inside_gzip(pickle_operations), inside_gzip(pickle_operations),
        inside_gzip(pickle_of_anything), inside_gzip(any_bytes))),
    "qmnist labels": Reader(
        _qmnist_labels, "qmnist-train-labels-idx2-int", _read_folder,
        (idx_header, inside_gzip(idx_header), inside_gzip(any_bytes)),
        _beside(QMNIST, "qmnist-train-labels-idx2-int")),
    "mnist_expanded.pkl.gz": Reader(_expanded_files, "mnist_expanded.pkl.gz", _read_file, (
        inside_gzip(pickle_operations), inside_gzip(pickle_operations), inside_gzip(any_bytes))),
    "train.csv": Reader(
        _csv_files, "train.csv", lambda path: check_csv(find.load(path)),
        (inside_gzip(csv_cell), inside_gzip(csv_cell), inside_gzip(any_bytes))),
    "kmnist images": Reader(
        lambda: iter([KMNIST["kmnist-train-imgs.npz"]]), "kmnist-train-imgs.npz", _read_folder,
        ZIP, _beside(KMNIST, "kmnist-train-imgs.npz")),
    "mnist.npz": Reader(_npz_files, "mnist.npz", _read_file, ZIP),
    "network.load": Reader(
        _models, "model.npz", lambda path: check_network(network.load(path)), ZIP),
    "network2.load": Reader(
        _json_files, "model.json", lambda path: check_network(network2.load(path)),
        (json_tree, json_tree, json_text)),
    "checkpoint": Reader(
        _checkpoints, "run.npz", _resumed, (*ZIP, checkpoint_content, checkpoint_content)),
    "predict": Reader(
        _images, "image.npy", lambda path: check_image(read_image(path, 784)), (npy_array,)),
}  # fmt: skip


# ------------------------------------------------ the invariant, and the loop


_watched = {"on": False, "seen": []}
FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "exec", "compile", "pickle.", "ctypes.",
             "urllib.", "ftplib.", "code.")  # fmt: skip
HARMLESS = ("os.listdir", "os.scandir")


def _watch(event, arguments):
    """Note an audit event of a kind that no reader needs."""
    if not _watched["on"]:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o103
    if writes or (event.startswith(FORBIDDEN) and event not in HARMLESS):
        _watched["seen"].append((event, arguments))


@functools.cache
def _hook():
    """Install the audit hook; import the encodings that a file may ask for before."""
    for encoding in ("cp437", "raw-unicode-escape", "unicode-escape", "latin1", "ascii",
    "utf-8-sig",
                     "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le",
                     "utf-32-be"):  # fmt: skip
        codecs.lookup(encoding)
    sys.addaudithook(_watch)


class _Place:
    """A folder, in memory where there is one, in which a reader's input is put."""

    def __init__(self, reader):
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory)
        self.path = pathlib.Path(self._folder.name) / reader.file
        for name, content in reader.beside.items():
            (self.path.parent / name).write_bytes(content)

    def __enter__(self):
        return self.path

    def __exit__(self, *error):
        self._folder.cleanup()


def read(reader, path):
    """Read a file; return "accepted" or "refused", or raise Violation, without its traceback."""
    _watched["seen"].clear()
    _watched["on"] = True
    try:
        reader.read(path)
        verdict = "accepted"
    except (ValueError, OSError) as error:
        verdict, text = "refused", str(error)
        if isinstance(error, UnicodeError):
            raise Violation(f"raised {error!r}") from None
        if not text.strip() or "\n" in text or "\r" in text or not text.isprintable():
            raise Violation(f"the message is not one line: {text!r}") from None
        if len(text) > LONGEST:
            raise Violation(f"the message has {len(text)} characters: {text!r}") from None
        if str(path.parent) not in text:
            raise Violation(f"the message does not name the file: {text!r}") from None
    except Exception as error:
        raise Violation(f"raised {error!r}") from None
    finally:
        _watched["on"] = False
    if _watched["seen"]:
        raise Violation(f"did what no reader has to: {_watched['seen'][0]}")
    return verdict


def peak(reader, path):
    """Read a file as `read` does; return the verdict and the most bytes that were held."""
    tracemalloc.start()
    try:
        verdict = read(reader, path)
        return verdict, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def allowed_memory(reader, path):
    """Return, as a function of a file's length, what a valid one takes."""
    needs = []
    for content in reader.files:
        path.write_bytes(content)
        read(reader, path)  # once for whatever is made at the first time
        verdict, most = peak(reader, path)
        assert verdict == "accepted", reader
        needs.append((len(content), most))
    length, most = max(need[0] for need in needs), max(need[1] for need in needs)
    return lambda n: most * max(1.0, n / length) + LITTLE


def case(reader, name, number, seed):
    """Return the input of this number."""
    rng = random.Random(f"{name}/{seed}/{number}")
    content = rng.choice(reader.files)
    if number < len(reader.files):
        return reader.files[number]
    if rng.random() < 0.65:
        content = rng.choice(reader.mutators)(content, rng, reader.files)
        if rng.random() < 0.8:
            return content
    return any_bytes(content, rng, reader.files)


def run(name, count, seed=0, first=0):
    """Try inputs; return their counts as a dictionary. Raises Violation."""
    reader, total = READERS[name], dict(tried=0, accepted=0, refused=0, slowest=0.0, memory=0.0)
    _hook()
    with _Place(reader) as path, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        allowed = allowed_memory(reader, path)
        for number in range(first, first + count):
            content = case(reader, name, number, seed)
            said.clear()  # a mutator may have said something
            path.write_bytes(content)
            try:
                if number % SAMPLE == 0:
                    verdict, most = peak(reader, path)
                    ratio = most / allowed(len(content))
                    total["memory"] = max(total["memory"], ratio)
                    if ratio > MOST_MEMORY:
                        raise Violation(f"took {most:,} bytes, {ratio:.1f} times a valid file's")
                else:
                    began = time.perf_counter()
                    verdict = read(reader, path)
                    seconds = time.perf_counter() - began
                    total["slowest"] = max(total["slowest"], seconds)
                    if seconds > MOST_SECONDS:
                        raise Violation(f"took {seconds:.1f} s")
                if said:
                    raise Violation(f"warned: {said[0].message!r}")
            except Violation as violation:
                handle, kept = tempfile.mkstemp(prefix="fuzz-", suffix=f"-{reader.file}")
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                raise Violation(
                    f"{name}, seed {seed}, number {number}: {violation}; the input is in {kept}"
                ) from None
            total["tried"] += 1
            total[verdict] += 1
    return total


def main():
    parser = argparse.ArgumentParser(description="Fuzz all that reads files.")
    parser.add_argument("--count", type=int, default=100_000, help="inputs for each reader")
    parser.add_argument("--reader", choices=READERS, action="append", help="(default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| reader | tried | accepted | refused | slowest, s | memory, of a valid file's |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.reader or READERS:
        total = run(name, options.count, options.seed)
        print(
            f"| {name} | {total['tried']:,} | {total['accepted']:,} | {total['refused']:,} | "
            f"{total['slowest']:.3f} | {total['memory']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
