"""Every public function with every kind of input: it works, or it raises an error of one line.

The error is ValueError or TypeError (FloatingPointError for numbers that overflow), its text is one
line of less than 600 characters, and no weight, no random state and no list has changed.
"""

import random

import numpy as np
import pytest
from conftest import JIT
from helpers import assert_equal_arrays, seed_both
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastbp import Pixels, gradient_check, mnist_loader, network, network2
from fastbp.kernels import drivers

pytestmark = pytest.mark.filterwarnings("ignore:.* inputs reach:RuntimeWarning")
SIZES = [5, 4, 3]
REFUSED = (ValueError, TypeError, FloatingPointError)
limits = settings(
    max_examples=150 if JIT else 20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# ------------------------------------------------ inputs


def arrays(*shapes):
    """Arrays of these shapes and others, of every type, in every layout, with every number."""
    shape = st.one_of(*map(st.just, shapes), hnp.array_shapes(min_dims=0, max_dims=4, max_side=7))
    numbers = st.one_of(
        hnp.floating_dtypes(endianness="?"), hnp.integer_dtypes(endianness="?"),
        hnp.unsigned_integer_dtypes(endianness="?"), hnp.boolean_dtypes(),
        st.sampled_from([np.dtype(t) for t in ("<f8", ">f8", "<f4", ">f4", "<f2", "u1", "g")]),
    )  # fmt: skip
    others = st.sampled_from(
        [np.dtype(t) for t in ("c16", "U3", "S2", "M8[s]", "m8[s]", "O", "f4,f4", "(2,)f4", "V4")]
    )
    values = st.sampled_from([0, 0, 1, 1, 0.5, 3, 255, -1, 1e300, np.nan, np.inf, -np.inf])

    def filled(shape, dtype, some, seed):
        array = np.zeros(shape, dtype)
        if array.size and array.dtype.kind in "fiub":
            chance = np.random.default_rng(seed)
            with np.errstate(all="ignore"):
                numbers = chance.choice(np.array(some, float), array.shape)
                if array.dtype.kind in "iub":
                    numbers = np.clip(np.nan_to_num(numbers), 0, 100)
                array[...] = numbers.astype(array.dtype)
        return array

    plain = st.builds(
        filled, shape, st.one_of(numbers, numbers, numbers, others),
        st.lists(values, min_size=1, max_size=3), st.integers(0, 99),
    )  # fmt: skip
    return st.builds(laid_out, plain, st.sampled_from(LAYOUTS))


def laid_out(array, layout):
    """Return the same numbers, otherwise in memory."""
    if layout == "Fortran":
        return np.asfortranarray(array)
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "backwards" and array.ndim:
        return array[::-1].copy()[::-1]
    if layout == "read-only":
        array.flags.writeable = False
    if layout == "unaligned" and array.dtype.kind in "fiub":
        raw = np.zeros(array.nbytes + 1, np.uint8)
        moved = raw[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    if layout == "a subclass" and array.ndim == 2:
        return array.view(np.matrix) if array.dtype.kind in "f" else array
    if layout == "a list":
        return array.tolist()
    return array


LAYOUTS = (
    "plain", "plain", "Fortran", "strided", "backwards", "read-only", "unaligned", "a list",
    "a subclass",
)  # fmt: skip
junk = st.sampled_from(
    [None, True, 3, -1, 2.5, np.nan, "text", b"bytes", "", [], (), {}, {1, 2}, [[1], [2, 3]],
     [None], object, print, 1j, [1, "a"], np.array(None), np.ma.masked, 10**400, range(3), "a\nb"]
)  # fmt: skip
columns = st.one_of(arrays((5, 1), (5, 2), (5,), (1, 5)), junk)
wanted = st.one_of(arrays((3, 1), (3,), (1, 3), ()), junk, st.integers(-1, 4))
rows = st.one_of(arrays((6, 5), (1, 5), (0, 5), (6, 4)), junk)
targets = st.one_of(arrays((6, 3), (6,), (6, 1), (0,)), junk)
pair_lists = st.one_of(
    st.lists(st.one_of(st.tuples(columns, wanted), junk), max_size=4),
    st.lists(st.tuples(arrays((5, 1)), arrays((3, 1))), min_size=1, max_size=4),
    st.lists(st.tuples(arrays((5, 1)), st.integers(0, 2)), min_size=1, max_size=4),
)
data_sets = st.one_of(
    st.tuples(rows, targets),
    pair_lists,
    pair_lists.map(tuple),
    pair_lists.map(iter),
    pair_lists.map(lambda pairs: (pair for pair in pairs)),
    junk,
)
numbers = st.one_of(
    st.sampled_from(
        [0, 1, 2, -1, 0.5, 1e-3, 1e308, -0.5, 2.0, 10**400, np.float32(0.5), np.int8(2)]
    ),
    arrays((), (1,)),
    junk,
)
MODULES = {"network": network, "network2": network2}


# ------------------------------------------------ the property


def snapshot(net, listed):
    held = [array.copy() for array in (*net.weights, *net.biases)]
    numpy_state = np.random.get_state()
    return held, random.getstate(), numpy_state[1].tolist(), numpy_state[2], list(listed)


def answered(net, call, listed=()):
    """Call; tell whether it was handled. If it was not, it was refused as it should be."""
    before = snapshot(net, listed)
    try:
        call()
    except REFUSED as error:
        text = str(error)
        assert text
        assert "\n" not in text, text
        assert len(text) < 600, text
        assert "numba" not in text.lower(), text
        held, *rest = snapshot(net, listed)
        assert_equal_arrays(held, before[0])
        assert rest[:3] == list(before[1:4])
        assert all(a is b for a, b in zip(rest[3], before[4]))
        return False
    assert all(np.isfinite(array).all() for array in (*net.weights, *net.biases))
    return True


def new(module, **how):
    seed_both(1)
    return MODULES[module].Network(SIZES, **how)


modules, dtypes = st.sampled_from(sorted(MODULES)), st.sampled_from([np.float64, np.float32])


@limits
@given(modules, dtypes, data_sets, data_sets, st.booleans())
def test_training_and_test_data(module, dtype, training, test, with_test):
    net = new(module, dtype=dtype)
    listed = training if isinstance(training, list) else ()
    more = {}
    if with_test:
        if module == "network":
            more = dict(test_data=test)
        else:
            more = dict(evaluation_data=test, monitor_evaluation_cost=True)
    answered(net, lambda: net.SGD(training, 1, 2, 0.5, **more), listed)


@limits
@given(modules, dtypes, data_sets)
def test_methods_that_take_data(module, dtype, data):
    net = new(module, dtype=dtype)
    data = list(data) if hasattr(data, "__next__") else data
    answered(net, lambda: gradient_check(net, data))
    answered(net, lambda: net.gradient_norms(data))
    if isinstance(data, tuple) and len(data) == 2:
        answered(net, lambda: net.backprop_batch(*data))
    if module == "network":
        answered(net, lambda: net.evaluate(data))
        answered(net, lambda: net.update_mini_batch(data, 0.5))
    else:
        for convert in (False, True):
            answered(net, lambda convert=convert: net.accuracy(data, convert))
            answered(net, lambda convert=convert: net.total_cost(data, 0.1, convert))
        answered(net, lambda: net.update_mini_batch(data, 0.5, 0.1, 10))


@limits
@given(modules, dtypes, columns, wanted)
def test_methods_that_take_a_sample(module, dtype, x, y):
    net = new(module, dtype=dtype)
    seen = []
    if answered(net, lambda: seen.append(net.feedforward(x))):
        assert np.isfinite(seen[0]).all()
        values = np.asarray(x).astype(dtype)
        np.testing.assert_array_equal(seen[0], net.feedforward(values))
    answered(net, lambda: net.backprop(x, y))


GOOD = (np.full((6, 5), 0.5), np.array([0, 1, 2, 0, 1, 2]))


@limits
@given(modules, st.sampled_from(["epochs", "mini_batch_size", "eta"]), numbers)
@example("network", "epochs", 10**400)
def test_the_books_hyper_parameters(module, name, value):
    net = new(module)
    arguments = dict(epochs=1, mini_batch_size=2, eta=0.5) | {name: value}
    if name == "epochs" and isinstance(value, int) and value > 3:
        return
    answered(net, lambda: net.SGD(GOOD, **arguments))
    if name == "eta":
        more = () if module == "network" else (0.0, 6)
        answered(net, lambda: net.update_mini_batch(GOOD, value, *more))


@limits
@given(
    st.sampled_from(
        ["lmbda", "early_stopping_n", "l1", "momentum", "dropout", "max_norm", "schedule",
         "stop_on", "monitor_subset", "monitor_every", "evaluation_data", "on_divergence",
         "checkpoint_every", "nesterov"]
    ),
    st.one_of(numbers, st.lists(numbers, max_size=3)),
)  # fmt: skip
def test_hyper_parameters_of_chapter_3(name, value):
    net = new("network2")
    arguments = dict(evaluation_data=GOOD, monitor_evaluation_accuracy=True) | {name: value}
    answered(net, lambda: net.SGD(GOOD, 2, 2, 0.5, **arguments))


@limits
@given(modules, numbers, numbers, numbers)
def test_constructors(module, sizes, dtype, threads):
    net = new(module)
    answered(net, lambda: MODULES[module].Network(sizes))
    for how in (dict(dtype=dtype), dict(threads=threads)):
        answered_or_made(net, lambda how=how: MODULES[module].Network(SIZES, **how))
    if module == "network2":
        for how in (dict(cost=sizes), dict(activation=sizes), dict(output=dtype)):
            answered_or_made(net, lambda how=how: network2.Network(SIZES, **how))


def answered_or_made(net, call):
    """As answered; a constructor that works draws random numbers."""
    state = np.random.get_state()
    if answered(net, call):
        np.random.set_state(state)


def fitting(value, shape):
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    return array.shape == shape and array.dtype.kind in "fiub" and np.isfinite(array).all()


@limits
@given(modules, st.integers(0, 1), st.booleans(), st.one_of(arrays((4, 5), (3, 1), (4, 1)), junk))
def test_weights_that_are_replaced(module, l, is_weight, value):
    net = new(module)
    held = net.weights if is_weight else net.biases
    shape = held[l].shape
    held[l] = value
    x, y = np.full((5, 1), 0.5), np.array([[1.0], [0], [0]])
    fits = fitting(value, shape)
    for call in (
        lambda: net.SGD([(x, y)], 1, 1, 0.1),
        lambda: net.backprop(x, y),
        lambda: net.feedforward(x),
        lambda: net.backprop_batch(x.T, y.T),
    ):
        text = ""
        try:
            call()
        except REFUSED as error:
            text = str(error)
            refused_for_no_reason = fits and not isinstance(error, FloatingPointError)
            if refused_for_no_reason:
                raise
        assert "\n" not in text
        assert len(text) < 600
    whole = getattr(net, "weights" if is_weight else "biases")
    if not fits:
        assert whole[l] is value  # nothing was published in its place


@limits
@given(modules, junk, st.sampled_from(["weights", "biases", "sizes"]))
def test_attributes_that_are_replaced(module, value, name):
    net = new(module)
    setattr(net, name, value)
    x, y = np.full((5, 1), 0.5), np.array([[1.0], [0], [0]])
    for call in (
        lambda: net.SGD([(x, y)], 1, 1, 0.1),
        lambda: net.backprop(x, y),
        lambda: net.feedforward(x),
        lambda: net.backprop_batch(x.T, y.T),
        lambda: net.update_mini_batch([(x, y)], 0.1, *([] if module == "network" else [0.0, 1])),
    ):
        with pytest.raises((ValueError, TypeError)) as raised:
            call()
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 600


@limits
@given(numbers, numbers)
def test_the_loader(j, n):
    net = new("network")
    for make in (mnist_loader.vectorized_result, network2.vectorized_result):
        if isinstance(n, int) and n > 1e6:
            continue
        answered(net, lambda make=make: make(j, n))
    answered(net, lambda: mnist_loader.synthetic(j, 0, 0) if j not in (255, 100) else None)


# ------------------------------------------------ inputs that are merely unusual


UNUSUAL = {
    "read-only": lambda X: laid_out(X.copy(), "read-only"),
    "strided": lambda X: laid_out(X, "strided"),
    "Fortran": lambda X: laid_out(X, "Fortran"),
    "backwards": lambda X: laid_out(X, "backwards"),
    "unaligned": lambda X: laid_out(X, "unaligned"),
    "byte-swapped": lambda X: X.astype(X.dtype.newbyteorder()),
    "float16": lambda X: X.astype(np.float16),
    "float32": lambda X: X.astype(np.float32),
    "long double": lambda X: X.astype(np.longdouble),
    "int8": lambda X: X.astype(np.int8),
    "bool": lambda X: X.astype(bool),
    "memory-mapped": None,
}


@pytest.mark.skipif(not JIT, reason="counts what was compiled")
@pytest.mark.parametrize("n", [40, 400])
@pytest.mark.parametrize("module", MODULES)
def test_unusual_arrays_train_the_same_and_compile_nothing(module, n, tmp_path):
    chance = np.random.default_rng(3)
    X = (chance.random((n, 5)) < 0.4).astype(np.float64)
    Y = np.eye(3)[chance.integers(3, size=n)]

    def trained(X, Y):
        net = new(module)
        net.SGD((X, Y), 2, 7, 0.5)
        net.backprop_batch(X, Y)
        return net.weights[0]

    wanted = trained(X, Y)
    trained(X.astype(np.float32), Y)  # one gather per stored type, and no more
    np.testing.assert_array_equal(
        trained(Pixels((X * 255).astype(np.uint8)), Y).shape, wanted.shape
    )
    before = compiled()
    for name, change in UNUSUAL.items():
        if name == "memory-mapped":
            np.save(tmp_path / "X.npy", X)
            given_X = np.load(tmp_path / "X.npy", mmap_mode="r")
        else:
            given_X = change(X)
        np.testing.assert_array_equal(trained(given_X, Y), wanted, err_msg=name)
        if change and name not in ("int8", "bool"):
            np.testing.assert_array_equal(trained(X, change(Y)), wanted, err_msg=f"Y {name}")
    assert compiled() == before


def compiled():
    """Return how many specialisations of each kernel there are."""
    functions = vars(drivers)
    return {n: len(f.signatures) for n, f in functions.items() if hasattr(f, "signatures")}
