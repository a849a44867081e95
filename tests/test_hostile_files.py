"""Damaged and malicious files: each reader returns a valid result or raises one short line."""

import gzip
import io
import json
import pathlib
import pickle
import pickletools
import random
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib

import fuzz
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp import mnist_loader, network, network2
from fastbp.cli.model_commands import read_image
from fastbp.data import files
from fastbp.data.readers import find

MEGABYTE = 1 << 20
IMAGES = "train-images-idx3-ubyte"


def refusal(name, content, tmp_path):
    """Read bytes as fuzz.py does; return the message with which they are refused."""
    reader = fuzz.READERS[name]
    for other, data in reader.beside.items():
        (tmp_path / other).write_bytes(data)
    path = tmp_path / reader.file
    path.write_bytes(content)
    fuzz._hook()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fuzz.read(reader, path) == "refused"
    with pytest.raises((ValueError, OSError)) as raised:
        reader.read(path)
    return str(raised.value)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 200), pytest.param(200, 1000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", fuzz.READERS)
def test_mutated_files(name, first, count):
    total = fuzz.run(name, count, seed=0, first=first)
    assert total["tried"] == count
    assert total["accepted"] >= count // 120  # some mutations leave a file that can be read
    assert total["refused"] >= count // 2


def test_cases_are_those_of_their_seed_and_a_violation_keeps_its_input(monkeypatch):
    reader = fuzz.READERS["network2.load"]
    cases = [fuzz.case(reader, "network2.load", 7, seed) for seed in (1, 1, 2)]
    assert cases[0] == cases[1] != cases[2]
    faults = {
        lambda path: 1 / 0: "raised ZeroDivisionError",
        lambda path: (_ for _ in ()).throw(ValueError("a\nb")): "not one line",
        lambda path: (_ for _ in ()).throw(ValueError("oh")): "does not name the file",
        lambda path: (_ for _ in ()).throw(ValueError("x" * 501)): "has 501 characters",
        lambda path: warnings.warn("oh", stacklevel=1): "warned",
        lambda path: eval("1"): "did what no reader has to",
        lambda path: bytearray(10 * MEGABYTE): "times a valid file's",
    }
    for fault, message in faults.items():
        bad = fuzz.Reader(reader.valid, reader.file, fault, reader.mutators)
        monkeypatch.setitem(fuzz.READERS, "bad", bad)
        monkeypatch.setattr(fuzz, "allowed_memory", lambda reader, path: lambda n: MEGABYTE)
        with pytest.raises(fuzz.Violation, match=f"bad, seed 3, number 0: .*{message}") as raised:
            fuzz.run("bad", 1 + (message == "warned"), seed=3)
        kept = pathlib.Path(str(raised.value).rpartition(" ")[2])
        assert kept.read_bytes() == reader.files[0]
        kept.unlink()


# ------------------------------------------------ files that unpack to far more, in little memory


def zeros(n, before=b""):
    """Return gzip of `before` and n megabytes of zeros, packed a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = head + block * n + b"\3\0"
    check = zlib.crc32(before)
    for _ in range(n):
        check = zlib.crc32(bytes(MEGABYTE), check)
    end = struct.pack("<II", check, (len(before) + n * MEGABYTE) % 2**32)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\3" + body + end


def archive_of_zeros(members):
    """Return a .zip file of {name: (start, megabytes)}: the start, then zeros, deflated."""
    out, directory = b"", b""
    for name, (start, n) in members.items():
        packed = zeros(n, start)
        check, _ = struct.unpack("<II", packed[-8:])
        body, size, name = packed[10:-8], len(start) + n * MEGABYTE, name.encode()
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, check, len(body), size, len(name), 0)
        directory += b"PK\1\2\x14\0" + fields + bytes(10) + struct.pack("<I", len(out)) + name
        out += b"PK\3\4" + fields + name + body
    counts = len(members), len(members), len(directory), len(out)
    return out + directory + b"PK\5\6\0\0\0\0" + struct.pack("<HHIIH", *counts, 0)


def header(shape, descr="<f8", version=1):
    return fuzz.npy(repr({"descr": descr, "fortran_order": False, "shape": shape}), b"", version)


def small(value):
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue(), 0


def model(**changes):
    """A model's members for archive_of_zeros; a change is (start, megabytes)."""
    members = {
        "format_version": small(1), "kind": small("network"), "sizes": small(np.array([3, 2])),
        "dtype": small("float64"), "weights_0": small(np.ones((2, 3))),
        "biases_0": small(np.ones((2, 1))),
    } | changes  # fmt: skip
    return archive_of_zeros({f"{name}.npy": content for name, content in members.items()})


def keras(**changes):
    names = ("x_train", "y_train", "x_test", "y_test")
    members = {name: small(array) for name, array in zip(names, fuzz.RAW)} | changes
    return archive_of_zeros({f"{name}.npy": content for name, content in members.items()})


def directory_of(n):
    """A .zip file of n empty members."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    return entry * n + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 9, 9, len(entry) * n, 0, 0)


def doubled(n):
    """Pickle operations for tuples of tuples: n of them print as 2^n."""
    return b"\x80\2N" + b"q\0h\0\x86" * n


COPIES = (  # of one text, which is 100,000 bytes long in the file
    b"\x80\2(X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\0"
    + b"c_codecs\nencode\n(h\0X\6\0\0\0latin1tR" * 2000 + b"t."
)  # fmt: skip
SHARED = (  # one image a million times
    b"\x80\2((cnumpy.core.multiarray\n_reconstruct\n)R(K\1M\x10\3\x85cnumpy\ndtype\nU\2f4K\0K\1\x87R"
    + b"\x89T" + struct.pack("<i", 3136) + bytes(3136) + b"tbq\0\x30](" + b"h\0" * 1_000_000
    + b"e](" + b"K\1" * 1_000_000 + b"etNNt."
)  # fmt: skip
BOMBS = {
    "idx images.gz": lambda: {
        "zeros": zeros(300),
        "as its header says": zeros(300, struct.pack(">4I", 2051, 300 * MEGABYTE // 784, 28, 28)),
        "absurd": zeros(300, struct.pack(">4I", 2051, 2**32 - 1, 28, 28)),
        "more than it says": zeros(300, struct.pack(">4I", 2051, 9, 28, 28)),
    },
    "idx labels.gz": lambda: {
        "as its header says": zeros(300, struct.pack(">2I", 2049, 300 * MEGABYTE)),
        "a name": b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 30 * MEGABYTE,
        "empty parts": gzip.compress(b"") * 300_000,
        "empty blocks": b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\0\0\0\xff\xff" * 4 * MEGABYTE,
        "padding": gzip.compress(fuzz.idx(fuzz.RAW[1])) + bytes(30 * MEGABYTE),
    },
    "mnist.pkl.gz": lambda: {
        "a string": zeros(300, b"\x80\2T" + struct.pack("<i", 300 * MEGABYTE)),
        "a long string": zeros(300, b"\x80\2\x8d" + struct.pack("<Q", 2**62)),
        "bytes": zeros(300, b"\x80\4\x8e" + struct.pack("<Q", 300 * MEGABYTE)),
        "a frame": zeros(300, b"\x80\4\x95" + struct.pack("<Q", 2**62)),
        "an array of bytes": b"\x80\5\x96" + struct.pack("<Q", 2**40) + b".",
        "a line": zeros(300, b"\x80\2S'"),
        "lists": gzip.compress(b"\x80\2" + b"]" * 30 * MEGABYTE + b".", 9),
        "nothings": b"\x80\2" + b"N" * 30 * MEGABYTE + b".",
        "marks": b"\x80\2" + b"(" * 30 * MEGABYTE + b".",
        "pops": b"\x80\2" + b"N0" * 15 * MEGABYTE + b".",
        "a memo": b"\x80\2Nr\xff\xff\xff\x7f.",
        "copies": COPIES,
        "sharing": doubled(3000) + b".",
        "a shared name": b"\x80\2cnumpy\ndtype\n" + doubled(60)[2:] + b"K\0K\1\x87R.",
        "a shared shape": b"\x80\2cnumpy\nndarray\n)R(K\1" + doubled(60)[2:] + b"NNNtb.",
        "a great integer": zeros(200, b"\x80\2\x8b" + struct.pack("<i", 200 * MEGABYTE)),
        "digits": b"L" + b"9" * 30 * MEGABYTE + b"L\n.",
        "hexadecimal digits": b"L0x" + b"9" * 30 * MEGABYTE + b"L\n.",
    },
    "qmnist labels": lambda: {
        "as its header says": zeros(300, struct.pack(">3I", 0xC02, 300 * MEGABYTE // 32, 8)),
        "absurd": zeros(300, struct.pack(">3I", 0xC02, 2**32 - 1, 8)),
        "wide": zeros(300, struct.pack(">3I", 0xC02, 6, 2**32 - 1)),
        "255 dimensions": zeros(1, b"\0\0\x0c\xff"),
    },
    "mnist_expanded.pkl.gz": lambda: {
        "one image again and again": SHARED,
        "one list again and again": b"\x80\2]" + b"q\0(h\0" + b"h\0" * 5000 + b"e.",
        "labels": gzip.compress(b"\x80\2](" + b"K\1" * 30 * MEGABYTE + b"e."),
        "a great tuple again and again": b"\x80\2(" + b"N" * 9000 + b"t" + b"q\1" * 9000 + b".",
        "escapes": zeros(300, b"S'" + b"\\x00" * 99),
    },
    "train.csv": lambda: {
        "zeros": zeros(300),
        "a line": b"7" * 30 * MEGABYTE,
        "commas": b"," * 30 * MEGABYTE,
        "wide lines": (b"0" + b",0" * 120_000 + b"\n") * 40 + b"x",
        "blank lines": b"\n" * 30 * MEGABYTE,
        "blank lines, packed": gzip.compress(b"\n" * 30 * MEGABYTE),
        "lines of one cell": b"1\n" * 15 * MEGABYTE,
        "short lines, packed": gzip.compress(b"1,1\n" * 9 * MEGABYTE),
        "spaces": b" " * 30 * MEGABYTE,
        "texts": b"1,a\n" * 5 * MEGABYTE,
    },
    "kmnist images": lambda: {
        "images": archive_of_zeros(
            {"arr_0.npy": (header((300 * MEGABYTE // 784, 28, 28), "|u1"), 300)}
        ),
        "a header": archive_of_zeros(
            {"arr_0.npy": (b"\x93NUMPY\2\0" + struct.pack("<I", 300 * MEGABYTE), 300)}
        ),
    },
    "mnist.npz": lambda: {
        "images": keras(x_train=(header((300 * MEGABYTE // 784, 28, 28), "|u1"), 300)),
        "labels": keras(y_train=(header((300 * MEGABYTE,), "|u1"), 300)),
        "a header": keras(x_test=(b"\x93NUMPY\2\0" + struct.pack("<I", 300 * MEGABYTE), 300)),
        "a directory": directory_of(600_000),
    },
    "network.load": lambda: {
        "weights": model(weights_0=(header((300 * MEGABYTE // 8,)), 300)),
        "weights that fit": model(
            sizes=small(np.array([300 * MEGABYTE // 16, 2])),
            weights_0=(header((2, 300 * MEGABYTE // 16)), 300),
        ),
        "sizes": model(sizes=(header((300 * MEGABYTE // 8,), "<i8"), 300)),
        "sizes, believable": model(sizes=(header((MEGABYTE // 8,), "<i8"), 1)),
        "a text": model(kind=(header((), "<U9999"), 1)),
        "texts": model(kind=(header((300 * MEGABYTE // 4,), "<U1"), 300)),
        "a header": model(kind=(b"\x93NUMPY\3\0" + struct.pack("<I", 300 * MEGABYTE), 300)),
        "no width": model(kind=(header((2**40,), "<U0"), 0)),
        "a directory": directory_of(600_000),
        "one after another": model(**{f"x{n}": (b"", 9) for n in range(99)}, sizes=small(2)),
    },
    "network2.load": lambda: {
        "lists": b"[" * 30 * MEGABYTE,
        "objects": b'{"a":' * 4 * MEGABYTE,
        "digits": b'{"sizes": [' + b"9" * 30 * MEGABYTE + b"]}",
        "sizes": b'{"sizes": [1099511627775, 1], "weights": [[[1]]], "biases": [[[0]]],'
        b' "cost": "QuadraticCost"}',
        "a text among numbers": b'{"sizes": [2, 1], "weights": [[["%s", 1]]], "biases": [[[0]]],'
        b' "cost": "QuadraticCost"}' % (b"x" * MEGABYTE),
    },
    "predict": lambda: {
        "a header": b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(MEGABYTE),
        "a shape": header((2**40,)) + bytes(MEGABYTE),
        "no width": header((2**40,), "|S0"),
        "nothing, in a large shape": header((0, 2**62)),
        "parentheses": fuzz.npy("(" * 60_000, b""),
    },
}
CHILD = """
import json, pathlib, resource, sys, time, warnings
sys.path.insert(0, sys.argv[2])
import fuzz
warnings.simplefilter("error")
fuzz._hook()
folder = pathlib.Path(sys.argv[1])
for reader in fuzz.READERS.values():
    with fuzz._Place(reader) as path:
        path.write_bytes(reader.files[0])
        reader.read(path)
text = pathlib.Path("/proc/self/status").read_text()
now = int(text.partition("VmSize:")[2].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[3]), -1))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for case in sorted(folder.iterdir()):
    name, _, which = case.name.partition(";")
    reader = fuzz.READERS[name]
    for other, content in reader.beside.items():
        (case / other).write_bytes(content)
    began = time.perf_counter()
    verdict = fuzz.read(reader, case / reader.file)
    seconds = time.perf_counter() - began
    try:
        reader.read(case / reader.file)
    except (ValueError, OSError) as error:
        message = str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    print(json.dumps([name, which, verdict, seconds, grown << 10, message]))
"""


IN_EVERY_RUN = ("idx images.gz", "mnist.pkl.gz")  # the others take a second or two each


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in IN_EVERY_RUN else pytest.mark.slow) for n in BOMBS],
)
def test_files_that_unpack_to_far_more_are_refused_with_little_memory(name, tmp_path):
    """The process has memory for a few copies of the file, but not for what it unpacks to."""
    folder, largest = tmp_path / "bombs", 0
    bombs = BOMBS[name]()
    for which, content in bombs.items():
        (folder / f"{name};{which}").mkdir(parents=True)
        (folder / f"{name};{which}" / fuzz.READERS[name].file).write_bytes(content)
        largest = max(largest, len(content))
    room = 30 * MEGABYTE + 4 * largest
    done = subprocess.run(
        [sys.executable, "-c", CHILD, folder, pathlib.Path(__file__).parent, str(room)],
        capture_output=True, text=True, cwd=pathlib.Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(seen) == len(bombs)
    for _, which, verdict, seconds, grown, message in seen:
        assert verdict == "refused", which
        assert seconds < 2, which
        assert grown <= room, which
        assert "allocate" not in message, (which, message)  # refused by size, not by the system
        assert "MemoryError" not in message, (which, message)


# ------------------------------------------------ IDX


def test_gzip_that_is_odd(tmp_path):
    good = gzip.compress(fuzz.IDX_FILES[IMAGES], mtime=0)
    path = tmp_path / f"{IMAGES}.gz"
    for other, data in fuzz._without(IMAGES).items():
        (tmp_path / other).write_bytes(data)
    named = b"\x1f\x8b\x08\x18" + good[4:10] + b"name\0comment\0" + good[10:]
    path.write_bytes(named)
    assert len(find.load(tmp_path)[0][0]) == 5
    for content, message in (
        (good + b"\0", "goes on after its end"),
        (good + good, "goes on after its end"),
        (good[:-1], "cut off: its end is missing"),
        (good[:-8] + b"\0" + good[-7:], "damaged or cut off: .*data check"),
        (good[:-4] + b"\0" + good[-3:], "damaged or cut off: .*length check"),
        (good[:2] + b"\7" + good[3:], "damaged or cut off: .*unknown compression method"),
        (gzip.compress(fuzz.IDX_FILES[IMAGES] + b"x"), r"has 4,721 bytes or more, its"),
        (gzip.compress(fuzz.IDX_FILES[IMAGES][:-1]), r"has 4,719 bytes, its header promises 4,720"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            find.load(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_files_longer_than_any_data_set_are_refused_before_they_are_read(packed, tmp_path):
    """A file with a hole in it: 2 GB long, on the disk a few bytes."""
    for other, data in fuzz._without(IMAGES).items():
        (tmp_path / other).write_bytes(data)
    n = 2**31 // 784
    start = struct.pack(">4I", 2051, n, 28, 28)
    path = tmp_path / (f"{IMAGES}.gz" if packed else IMAGES)
    with open(path, "wb") as file:
        file.write(gzip.compress(start) if packed else start)
        file.truncate(16 + 784 * n)
    # What is not packed is mapped, however long it is; here there are not as many labels.
    message = "its header promises 2,147,48" if packed else r"holds 2739137 images and .* 6 labels"
    with pytest.raises(ValueError, match=message):
        find.load(tmp_path)
    path.rename(tmp_path / "mnist.pkl")
    with pytest.raises(ValueError, match="refused: it uses the opcode"):
        find.load(tmp_path / "mnist.pkl")


# ------------------------------------------------ .npy

HEADERS = {
    "objects": (header((784,), "|O"), "holds Python objects"),
    "records": (fuzz.npy(fuzz.HEADERS[1], bytes(24)), "its header is .*expected that of an array"),
    "arrays in an array": (fuzz.npy(fuzz.HEADERS[2], bytes(24)), "its header is"),
    "two keys alike": (fuzz.npy(fuzz.HEADERS[7], bytes(96)), "its header is"),
    "a negative shape": (header((-784,)), "its header is"),
    "an empty shape": (header((0,)), r"shape \(0,\) and dtype float64, expected 784 numbers"),
    "33 dimensions": (header((1,) * 33), "its header is"),
    "too large": (header((10**30,)) + bytes(8), "promises 8,000.* bytes, 8 are there"),
    "dates": (header((784,), "<M8[ns]") + bytes(6272), "its header is"),
    "complex numbers": (header((784,), "<c16") + bytes(16 * 784), "dtype complex128, expected 784"),
    "texts": (header((784,), "<U1") + bytes(4 * 784), "dtype <U1, expected 784 numbers"),
    "no type": (header((784,), "<f3") + bytes(3 * 784), "it holds '<f3', expected numbers"),
    "a program": (fuzz.npy("__import__('os').system('touch owned')", b""), "its header is"),
    "version 4": (header((784,), version=4), "does not begin as an .npy file does"),
    "a long header": (fuzz.npy(" " * 20_000, b"", 2), r"is 20,0\d\d bytes long, expected at most"),
    "escapes that warn": (fuzz.npy(fuzz.HEADERS[12], bytes(8)), "its header is"),
    "a line feed": (fuzz.npy("\n{\n\x1b[2J", b""), r"its header is '\{ \?\[2J"),
    "NaN": (header((784,)) + np.full(784, np.nan).tobytes(), "has values from nan to nan"),
    "a signalling NaN": (
        header((784,), "<f4") + b"\1\0\x80\x7f" * 784, "has values from nan to nan"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_npy_files(name, tmp_path):
    content, message = HEADERS[name]
    seen = refusal("predict", content, tmp_path)
    assert re.search(message, seen), seen
    assert not pathlib.Path("owned").exists()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (28, 28), }", 1),
        ("{'descr': '|u1', 'fortran_order': True, 'shape': (28, 28), }", 2),
        ('{"shape":(784,),"fortran_order":False,"descr":"|u1"}', 3),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (28L, 28L), }", 1),
        (" { 'shape' : ( 28 , 28 , ) , 'descr' : 'u1' , 'fortran_order' : False } ", 1),
    ],
)
def test_headers_that_others_write(text, version, tmp_path):
    path, data = tmp_path / "image.npy", np.arange(784).astype(np.uint8)
    path.write_bytes(fuzz.npy(text, data.tobytes(), version))
    wanted = data.reshape(28, 28, order="F" if "True" in text else "C").reshape(784, 1)
    np.testing.assert_array_equal(read_image(path, 784), wanted / 256)


# ------------------------------------------------ .npz

MODEL = network.Network([3, 4, 2])


def stored(tmp_path):
    MODEL.save(tmp_path / "model.npz")
    return (tmp_path / "model.npz").read_bytes()


def rewritten(content, change, method=zipfile.ZIP_STORED):
    """A .zip file whose list of (name, bytes) was given to a function."""
    buffer = io.BytesIO()
    members = list(fuzz._members(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in change(members):
                archive.writestr(name, data)
    return buffer.getvalue()


def patched(content, mark, at, form, value, which=0):
    """Set a field after the signature number `which` of this kind."""
    start = -1
    for _ in range(which + 1):
        start = content.index(mark, start + 1)
    content = bytearray(content)
    struct.pack_into(form, content, start + at, value)
    return bytes(content)


ARCHIVES = {
    "a name twice": (lambda c: rewritten(c, lambda m: [*m, m[3]]), "twice"),
    "members that share bytes": (
        lambda c: patched(c, b"PK\1\2", 42, "<I", 40, 2), "overlaps with the array before it"),
    "encrypted": (lambda c: patched(c, b"PK\1\2", 8, "<H", 1), "encrypted"),
    "another method": (lambda c: rewritten(c, list, zipfile.ZIP_LZMA), "by method 14"),
    "lengths that differ": (
        lambda c: patched(c, b"PK\1\2", 24, "<I", 2**31), "promises 2,147,483,648 bytes"),
    "longer than the file": (
        lambda c: patched(patched(c, b"PK\1\2", 24, "<I", 2**31, 7), b"PK\1\2", 20, "<I", 2**31, 7),
        "cut off"),
    "a wrong checksum": (lambda c: patched(c, b"PK\1\2", 16, "<I", 7, 4), "Bad CRC-32"),
    "a directory elsewhere": (lambda c: patched(c, b"PK\5\6", 16, "<I", 2**31), "model.npz"),
    "a directory of 4 GB": (lambda c: patched(c, b"PK\5\6", 12, "<I", 2**32 - 1), "model.npz"),
    "nested paths": (
        lambda c: rewritten(c, lambda m: [(f"../{n}", d) for n, d in m]), "no format_version"),
    "a name that is no text": (
        lambda c: c.replace(b"kind.npy", b"\xff\xfe\n\x1b.npy"), "model.npz"),
    "a zip64 record": (
        lambda c: c[: c.index(b"PK\5\6")] + b"PK\6\6" + struct.pack(
            "<QHHIIQQQQ", 44, 45, 45, 0, 0, 9, 9, 2**62, 2**61)
        + b"PK\6\7" + struct.pack("<IQI", 0, c.index(b"PK\5\6"), 1) + c[c.index(b"PK\5\6") :],
        "model.npz"),
    "an impossible text": (
        lambda c: rewritten(c, lambda m: [
            (n, d.replace(b"n\0\0\0", b"n\0\x11\0") if n == "kind.npy" else d) for n, d in m]),
        "holds a string with invalid code points"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name, tmp_path):
    change, message = ARCHIVES[name]
    assert message in refusal("network.load", change(stored(tmp_path)), tmp_path)


def test_a_valid_model_may_be_compressed_and_hold_more(tmp_path):
    content = rewritten(stored(tmp_path), lambda m: [*m, ("notes/a.txt", b"x")], 8)
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    np.testing.assert_array_equal(network.load(path).weights[1], MODEL.weights[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_0": np.full((4, 3), np.nan)}, r"weights[0] is nan at [0, 0], expected"),
        ({"biases_1": np.array([[0.0], [-np.inf]])}, r"biases[1] is -inf at [1, 0]"),
        ({"weights_0": np.full((4, 3), 1e300), "dtype": "float32"}, "finite numbers in float32"),
        ({"weights_1": np.zeros((4, 2))}, "weights[1] has shape (4, 2), expected (2, 4)"),
        ({"weights_1": np.zeros((2, 4), complex)}, "weights[1] has dtype complex128"),
        ({"kind": np.array("a\n" * 300)}, "holds a 'a a a a a"),
        ({"kind": np.array(["network"])}, "kind has shape (1,) and dtype <U7, expected one value"),
        ({"format_version": 1.0}, "format_version has shape () and dtype float64"),
        ({"dtype": "f4,f4"}, "dtype is 'f4,f4', expected float64 or float32"),
        ({"sizes": np.arange(1, 99)}, "sizes has shape (98,)"),
        ({"sizes": np.array([3, 2**40, 2])}, "a network of"),
    ],
)
def test_invalid_models(change, message, tmp_path):
    MODEL.save(tmp_path / "model.npz")
    members = dict(np.load(tmp_path / "model.npz"))
    buffer = io.BytesIO()
    np.savez(buffer, **(members | change))
    assert message in refusal("network.load", buffer.getvalue(), tmp_path)


def test_shapes_are_compared_before_numbers_are_read(tmp_path):
    sizes = np.array([3, 2])
    path = tmp_path / "model.npz"
    np.savez(
        path, format_version=1, kind="network", sizes=sizes, dtype="float64",
        weights_0=np.zeros((2, 3)), biases_0=np.zeros((2, 2_000_000)),
    )  # fmt: skip
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"biases\[0\] has shape"):
            network.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * MEGABYTE  # of 32
    finally:
        tracemalloc.stop()


# ------------------------------------------------ JSON

NET = '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": "QuadraticCost"}'
JSON = {
    "NaN": (("1, 1", "1, NaN"), "weights[0] is nan at [0, 1], expected finite numbers"),
    "infinity": (("[[[0]]]", "[[[-Infinity]]]"), "biases[0] is -inf at [0, 0]"),
    "null": (("1, 1", "null, 1"), "weights[0] holds null at [0, 0], expected a number"),
    "true": (("1, 1", "1, true"), "weights[0] holds true at [0, 1], expected a number"),
    "a text": (("1, 1", '"1", 1'), 'weights[0] holds "1" at [0, 0], expected a number'),
    "1e999": (("1, 1", "1, 1e999"), "weights[0] is inf at [0, 1]"),
    "a long integer": (("1, 1", "1, " + "9" * 400), "an integer too large for a float at [0, 1]"),
    "a longer integer": (("1, 1", "1, " + "9" * 9000), "model.json is not a network"),
    "too large for float32": (
        ('"cost"', '"dtype": "float32", "cost"', "1, 1", "1, 1e300"),
        "weights[0] is 1e+300 at [0, 1], expected finite numbers in float32"),
    "two keys alike": (('"cost"', '"sizes": [2, 1], "cost"'), "holds the key 'sizes' twice"),
    "a long row": (("1, 1", "1, 1, 1"), "weights[0][0] is not a list of 2 numbers"),
    "rows missing": (("[[1, 1]]", "[]"), "weights[0] is not a list of 1 rows"),
    "a list in a row": (("1, 1", "1, [1]"), "weights[0] holds [1] at [0, 1]"),
    "layers missing": (("[[[0]]]", "[]"), "biases has 0 layers, expected 1"),
    "sizes in words": (("[2, 1]", '"21"'), 'sizes is "21", expected a list'),
    "sizes that are true": (("[2, 1]", "[2, true]"), "sizes is [2, true], expected integers"),
    "great sizes": (("[2, 1]", "[2" + "0" * 4000 + ", 1" + "0" * 4000 + "]"),
        "not a network saved as JSON"),
    "a cost with line feeds": (('"QuadraticCost"', '"a\\nb\\u001b[2J"'), "the cost 'a b?[2J'"),
    "a cost without a name": (('"QuadraticCost"', '""'), "saved with the cost '', expected"),
    "a long cost": (("QuadraticCost", "x" * 9000), "saved with the cost 'xxx"),
    "a cost without an encoding": (("QuadraticCost", "\\ud800"), "saved with the cost '?'"),
    "a cost in a list": (('"QuadraticCost"', '["QuadraticCost"]'), "cost is ["),
    "dtype null": (('"cost"', '"dtype": null, "cost"'), "dtype is null, expected a str"),
    "a program as dtype": (('"cost"', '"dtype": "f4,(1)f4", "cost"'), "dtype is 'f4,(1)f4'"),
    "own_cost in words": (('"cost"', '"own_cost": "no", "cost"'), 'own_cost is "no", expected'),
    "a format": (('"cost"', '"fastbp_format": [1], "cost"'), "it is in format [1], expected 1"),
    "activations": (('"cost"', '"activations": {"a": 1}, "cost"'), "not a network saved as JSON"),
    "activations in lists": (('"cost"', '"activations": [["tanh"]], "cost"'),
        "not a network saved as JSON"),
    "depth": (('"cost"', '"x": ' + "[" * 100_000 + ', "cost"'), "recursion"),
}  # fmt: skip


@pytest.mark.parametrize("name", JSON)
def test_json(name, tmp_path):
    changes, message = JSON[name]
    text = NET
    for old, new in zip(changes[::2], changes[1::2]):
        assert old in text
        text = text.replace(old, new)
    assert message in refusal("network2.load", text.encode(), tmp_path)


def test_a_nan_is_reported_with_its_place(tmp_path):
    net = network2.Network([6, 4, 2])
    net.save(tmp_path / "model.json")
    data = json.loads((tmp_path / "model.json").read_text())
    data["weights"][0][3][5] = float("nan")
    content = json.dumps(data).encode()
    assert "weights[0] is nan at [3, 5]" in refusal("network2.load", content, tmp_path)


# ------------------------------------------------ pickles

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n)R"
DTYPE = b"cnumpy\ndtype\n"
FLOAT = DTYPE + b"U\2f4K\0K\1\x87R"
PICKLES = {
    "INST": b"(inumpy\nndarray\n.",
    "OBJ": b"(cnumpy\nndarray\no.",
    "NEWOBJ": b"\x80\2cnumpy\nndarray\n)\x81.",
    "NEWOBJ_EX": b"\x80\4cnumpy\nndarray\n)}\x92.",
    "an extension": b"\x80\2\x82\1.",
    "a persistent id": b"Pabc\n.",
    "a buffer from outside": b"\x80\5\x97.",
    "a read-only buffer": b"\x80\5\x97\x98.",
    "a dictionary": b"\x80\2}.",
    "a set": b"\x80\4\x8f.",
    "LONG4": b"\x80\2\x8a\4\1\2\3\4\x8b\xff\xff\xff\x7f.",
    "an unknown opcode": b"\xff.",
    "nothing on the stack": b"\x80\2\x86.",
    "no mark": b"\x80\2t.",
    "nothing in the memo": b"\x80\2h\7.",
    "no end": b"\x80\2N",
    "a frame cut off": b"\x80\4\x95\xff\0\0\0\0\0\0\0N.",
    "protocol 9": b"\x80\x09N.",
    "two values": pickle.dumps([1], 2) + b"N.",
    "text after its end": pickle.dumps([1], 2) + b"more",
    "an unknown escape": b"S'\\d'\n.",
    "no quotes": b"Sabc\n.",
    "a type that is a program": DTYPE + b"U\5f4,f4K\0K\1\x87R.",
    "a type that is a number": DTYPE + b"K\1K\0K\1\x87R.",
    "a type without arguments": DTYPE + b")R.",
    "a state of nothing": FLOAT + b"Nb.",
    "an unknown order of bytes": FLOAT + b"(K\3U\1?tb.",
    "an order in a tuple": FLOAT + b"(K\3)tb.",
    "an array of nothing": ARRAY + b"Nb.",
    "an array without a type": ARRAY + b"(K\1)NNNtb.",
    "an array without bytes": ARRAY + b"(K\1)" + FLOAT + b"\x89K\7tb.",
    "a shape of texts": ARRAY + b"(K\1U\1a\x85" + FLOAT + b"\x89U\4abcdtb.",
    "a shape that counts itself": ARRAY + b"(K\1J\xff\xff\xff\xff\x85" + FLOAT + b"\x89U\4abcdtb.",
    "a great shape": ARRAY + b"(K\1\x8a\x09" + b"\xff" * 8 + b"\0\x85" + FLOAT + b"\x89U\4abcdtb.",
    "a shape of 40 dimensions": ARRAY + b"(K\1(" + b"K\1" * 40 + b"t" + FLOAT + b"\x89U\4abcdtb.",
    "a state for a function": b"c_codecs\nencode\nNN\x86b.",
    "a state for a class": b"cnumpy\nndarray\n(K\1)NNNtb.",
    "a state for a list": b"](NNtb.",
    "a call of a text": b"U\1a)R.",
    "appending to an array": ARRAY + b"Na.",
    "an array that is called": ARRAY + b")R.",
    "encoding a number": b"c_codecs\nencode\nK\1U\6latin1\x86R.",
    "another codec": b"c_codecs\nencode\nX\2\0\0\0\xc4\x80U\4idna\x86R.",
    "a list in itself": b"\x80\2]q\0h\0ah\0ah\0a.",
    "a name with line feeds": b"\x80\4\x8c\3a\nb\x8c\3c\x1bd\x93.",
    "a name of a great length": b"c" + b"a" * 9000 + b"\nb\n.",
    "a name that is a tuple": b"\x80\4))\x93.",
    "a negative length": b"\x80\2T\xff\xff\xff\xff.",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", PICKLES)
def test_pickles(name, packed, tmp_path):
    content = PICKLES[name]
    message = refusal("mnist.pkl.gz", gzip.compress(content) if packed else content, tmp_path)
    if name in ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "LONG4", "a dictionary", "a set"):
        assert "opcode" in message


def test_every_opcode_alone_and_within_a_valid_file(tmp_path):
    reader, rng = fuzz.READERS["mnist.pkl.gz"], random.Random(1)
    path = tmp_path / "mnist.pkl.gz"
    fuzz._hook()
    valid = fuzz._operations(reader.files[2])
    for opcode in pickletools.opcodes:
        code = opcode.code.encode("latin1")
        for argument in (b"", bytes(9), b"\xff" * 9, b"1\n1\n", b"\1a", b"\1\0\0\0a"):
            at = rng.randrange(len(valid))
            for content in (
                code + argument + b".",
                b"\x80\4NN(NN" + code + argument + b".",
                b"".join([*valid[:at], code + argument, *valid[at:]]),
            ):
                path.write_bytes(content)
                fuzz.read(reader, path)


def test_digits_compress_far_less_than_the_limit():
    """The limit of 64 times is far above what images in float64 need."""
    images = mnist_loader.synthetic(400, 1, 1)[0][0]
    for content in ((images * 256).astype(np.uint8), images, images.astype(np.float64)):
        packed = zlib.compress(content.tobytes(), 9)
        assert 2 * content.nbytes / len(packed) < files.MAX_RATIO


# ------------------------------------------------ hypothesis

steady = settings(
    derandomize=True, database=None, deadline=None, max_examples=60,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def check(name, content):
    reader = fuzz.READERS[name]
    fuzz._hook()
    with fuzz._Place(reader) as path:
        path.write_bytes(content)
        fuzz.read(reader, path)


STARTS = (
    b"",
    b"\x1f\x8b\x08\0\0\0\0\0\0\3",
    b"\x93NUMPY\1\0",
    b"PK\3\4",
    b"PK\5\6",
    b"\x80\2",
    b"{",
)


@steady
@given(st.sampled_from(list(fuzz.READERS)), st.sampled_from(STARTS), st.binary(max_size=300))
def test_any_bytes(name, start, content):
    check(name, start + content)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(fuzz.VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)  # fmt: skip
KEYS = ("sizes", "weights", "biases", "cost", "activations", "dtype", "own_cost", "fastbp_format")


@steady
@given(st.dictionaries(st.sampled_from(KEYS), JSON_VALUES, max_size=3))
def test_any_value_of_any_key(changes):
    data = json.loads(NET) | changes
    check("network2.load", json.dumps(data).encode("utf-8", "surrogatepass"))


@steady
@given(
    st.sampled_from(fuzz.DESCRS) | st.text(max_size=9),
    st.booleans() | st.none(),
    st.lists(st.integers(-2, 40) | st.integers(), max_size=5).map(tuple) | st.none(),
    st.binary(max_size=200),
    st.sampled_from((1, 2, 3)),
)
def test_any_header(descr, fortran, shape, data, version):
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape})
    check("predict", fuzz.npy(text, data, version))
