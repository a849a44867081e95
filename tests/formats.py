"""Files of digits, written from the descriptions of their formats: IDX, pickles, csv."""

import gzip
import pickle
import struct

import numpy as np

IDX_NAMES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)  # fmt: skip
KERAS_NAMES = ("x_train", "y_train", "x_test", "y_test")


def digits(n, seed):
    """Return n random images, of which four fifths of the pixels are 0 as in MNIST, and labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 256, (n, 28, 28), np.uint8) * (rng.random((n, 28, 28)) < 0.2)
    return images.astype(np.uint8), rng.integers(0, 10, n).astype(np.uint8)


def idx(array):
    """Return the bytes of an IDX file of uint8 or int32, written from the format's description."""
    shape, kind = struct.pack(f">{array.ndim}I", *array.shape), array.dtype.itemsize // 4 * 4 + 8
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(">HBB", 0, kind, array.ndim) + shape + big.tobytes()


def write_idx(folder, raw, packed=True, names=IDX_NAMES):
    """Write four IDX files into a folder, which is made; return the folder."""
    folder.mkdir(exist_ok=True)
    for name, array in zip(names, raw):
        content = idx(array)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)
    return folder


def as_sets(raw):
    """Return what load_data must make of four arrays: the last sixth is for validation."""
    x, y, u, v = raw
    return tuple(
        (i.reshape(len(i), 784).astype(np.float32) / np.float32(256), j.astype(np.int64))
        for i, j in ((x[:50], y[:50]), (x[50:], y[50:]), (u, v))
    )


def assert_sets(seen, wanted):
    """Raise AssertionError unless load_data has returned these sets, as arrays to write into."""
    for (images, labels), (x, y) in zip(seen, wanted, strict=True):
        assert images.dtype == np.float32
        assert images.flags.writeable
        assert images.flags.c_contiguous
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images, x)
        np.testing.assert_array_equal(labels, y)


def with_old_names(content):
    """Return a pickle with NumPy's modules named as Python 2 named them."""
    return content.replace(b"numpy._core", b"numpy.core")


def write_pickle(path, sets, protocol=2):
    """Write the book's mnist.pkl.gz; protocol 2 is Python 2's. Return the path."""
    content = pickle.dumps(sets, protocol)
    path.write_bytes(gzip.compress(with_old_names(content) if protocol == 2 else content, 1))
    return path


def python2_pickle(sets):
    """Return three pairs of arrays as Python 2 pickles them: their bytes are in a string."""

    def array(a):
        shape = (
            b"".join(b"J" + struct.pack("<i", n) for n in a.shape) + b"\x85\x86"[a.ndim - 1 :][:1]
        )
        kind = a.dtype.str[1:].encode()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1"
            + shape + b"cnumpy\ndtype\nU\2" + kind + b"K\0K\1\x87R(K\3U\1<NNN"
            + b"J\xff\xff\xff\xff" * 2 + b"K\0tb\x89T" + struct.pack("<i", a.nbytes)
            + a.tobytes() + b"tb"
        )  # fmt: skip

    return b"\x80\2" + b"".join(array(x) + array(y) + b"\x86" for x, y in sets) + b"\x87."


def python2_lists(images, labels, others, protocol):
    """Return what Python 2's cPickle writes of ([images, labels], *others): lists of arrays."""
    count = iter(range(10**9))

    def put():
        return b"p%d\n" % next(count) if protocol == 0 else b"r" + struct.pack("<I", next(count))

    def text(content):
        if protocol == 0:
            return b"S" + repr(content)[1:].encode() + b"\n"
        n = len(content)
        return (b"U" + bytes([n]) if n < 256 else b"T" + struct.pack("<i", n)) + content

    def number(n):
        return b"I%d\n" % n if protocol == 0 else b"J" + struct.pack("<i", n)

    def tuple_of(*parts):
        return b"(" + b"".join(parts) + b"t" + put()

    def dtype(a):
        arguments = tuple_of(text(a.dtype.str[1:].encode()), number(0), number(1))
        state = [number(3), text(b"<"), b"NNN", number(-1), number(-1), number(0)]
        return b"cnumpy\ndtype\n" + put() + arguments + b"R" + put() + tuple_of(*state) + b"b"

    def array(a):
        start = b"cnumpy.core.multiarray\n_reconstruct\n" + put()
        start += tuple_of(b"cnumpy\nndarray\n", tuple_of(number(0)), text(b"b")) + b"R" + put()
        no = b"I00\n" if protocol == 0 else b"\x89"
        shape = tuple_of(*map(number, a.shape))
        return start + tuple_of(number(1), shape, dtype(a), no, text(a.tobytes())) + b"b"

    def scalar(a):
        return b"cnumpy.core.multiarray\nscalar\n" + put() + tuple_of(
            dtype(a), text(a.tobytes())) + b"R" + put()  # fmt: skip

    def list_of(parts):
        if protocol == 0:
            return b"(l" + put() + b"".join(part + b"a" for part in parts)
        return b"]" + put() + b"(" + b"".join(parts) + b"e"

    training = list_of([list_of(map(array, images)), list_of(map(scalar, labels))])
    rest = [tuple_of(array(x), array(y)) for x, y in others]
    return b"\x80\2" * (protocol == 2) + tuple_of(training, *rest) + b"."


def expanded(sets, protocol):
    """Return the bytes of mnist_expanded.pkl; protocol: an int, or ("2", int) for Python 2's."""
    (images, labels), *others = sets
    if isinstance(protocol, tuple):
        return python2_lists(images, labels, others, protocol[1])
    content = pickle.dumps(([list(images), list(labels)], *others), protocol)
    return with_old_names(content) if protocol == 2 else content
