"""Networks to and from other libraries: every round trip with the library itself."""

import subprocess
import sys
import tracemalloc

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
from helpers import assert_equal_arrays, seed_both
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastbp import exchange, network, network2
from fastbp.converters import onnx_files, safetensors_files
from fastbp.estimator import NetworkClassifier, NetworkRegressor
from fastbp.network2 import CrossEntropyCost, LogLikelihoodCost, QuadraticCost

FITTING = [
    *((QuadraticCost, output) for output in ("sigmoid", "tanh", "relu", "linear")),
    (CrossEntropyCost, "sigmoid"), (LogLikelihoodCost, "softmax"),
]  # fmt: skip
HIDDEN = "sigmoid", "tanh", "relu", "linear"
SIZES = [5, 1], [5, 3], [5, 7, 1], [5, 7, 6, 3], [33, 17, 10]
DTYPES = np.float64, np.float32
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
no_convergence = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)


def all_networks(dtype):
    """Yield a network of every legal combination of activations, cost and kind of sizes."""
    seed_both()
    for sizes in SIZES:
        yield network.Network(sizes, dtype=dtype)
        for cost, output in FITTING:
            for activation in HIDDEN if len(sizes) > 2 else HIDDEN[:1]:
                if output != "softmax" or sizes[-1] > 1:
                    how = dict(activation=activation, output=output, dtype=dtype)
                    yield network2.Network(sizes, cost, **how)
    yield network2.Network([5, 4, 6, 3, 2], activation=["relu", "tanh", "linear"], dtype=dtype)


def rows_for(net, rng, n=9):
    return rng.standard_normal((n, net.sizes[0])).astype(net.dtype)


def parameters_of(net):
    return [*net.weights, *net.biases]


def state_of(net):
    """Return all that there is of a network, as bytes and values."""
    state = {key: value for key, value in vars(net).items() if key not in ("weights", "biases")}
    return [*map(np.ndarray.tobytes, parameters_of(net)), *map(id, parameters_of(net)), state]


class OwnCost(QuadraticCost):
    @staticmethod
    def fn(a, y):
        return 0.0


class OwnFeedforward(network2.Network):
    def feedforward(self, a):
        return 1 - super().feedforward(a)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not in the extra 'test': too large")


@pytest.fixture
def net():
    seed_both()
    return network2.Network([4, 5, 3], activation="relu")


def exporters(tmp_path):
    """Return all functions that take a network, by name; to_torch where torch is installed."""
    found = {
        "onnx": lambda net: exchange.to_onnx(net, tmp_path / "net.onnx"),
        "safetensors": lambda net: exchange.save_safetensors(net, tmp_path / "net.safetensors"),
        "torch": exchange.to_torch,
    }
    try:
        import torch  # noqa: F401
    except ImportError:
        del found["torch"]
    return found


# ------------------------------------------------ ONNX


def run_onnx(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (wanted,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("x", ["batch", X.shape[1]])
    assert (wanted.name, wanted.shape[0]) == ("output", "batch")
    (out,) = session.run(["output"], {"x": X})
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnxruntime_computes_what_feedforward_computes(dtype, tmp_path, rng):
    path = tmp_path / "net.onnx"
    for net in all_networks(dtype):
        exchange.to_onnx(net, path)
        for m in (1, 9):
            X = rows_for(net, rng, m)
            out, wanted = run_onnx(path, X), net.feedforward(X.T).T
            assert (out.dtype, out.shape) == (net.dtype, (m, net.sizes[-1]))
            np.testing.assert_allclose(out, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_of_saturated_neurons(dtype, tmp_path):
    for cost, output in FITTING:
        net = network2.Network([1, 2], cost, output=output, dtype=dtype)
        net.weights, net.biases = [np.array([[800.0], [-800.0]])], [np.array([[0.0], [1.0]])]
        exchange.to_onnx(net, tmp_path / "net.onnx")
        X = np.array([[1], [-1], [0], [0.03]], dtype)
        out = run_onnx(tmp_path / "net.onnx", X)
        np.testing.assert_allclose(out, net.feedforward(X.T).T, rtol=1e-5, atol=TOLERANCE[dtype])


def test_an_onnx_model_is_what_it_says(net, tmp_path):
    exchange.to_onnx(net, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [n.op_type for n in model.graph.node] == ["Gemm", "Relu", "Gemm", "Sigmoid"]
    assert model.producer_name == "fastbp"
    assert not model.functions
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    assert_equal_arrays([arrays["weights_0"], arrays["weights_1"]], net.weights)
    assert_equal_arrays([arrays["biases_0"][:, None], arrays["biases_1"][:, None]], net.biases)


def test_a_network_too_large_for_onnx(net, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "MAX_BYTES", 300)
    expected = "weights and biases are 344 bytes, expected at most 300 .*; use save_safetensors"
    with pytest.raises(ValueError, match=expected):
        exchange.to_onnx(net, tmp_path / "net.onnx")
    assert not list(tmp_path.glob("*.onnx"))
    exchange.save_safetensors(net, tmp_path / "net")  # the advice


# ------------------------------------------------ safetensors


@pytest.mark.parametrize("dtype", DTYPES)
def test_safetensors_keep_every_bit(dtype, tmp_path):
    for net in all_networks(dtype):
        exchange.save_safetensors(net, tmp_path / "net")
        state = np.random.get_state()[1].copy()
        loaded = exchange.load_safetensors(tmp_path / "net", threads=2)
        np.testing.assert_array_equal(np.random.get_state()[1], state)
        assert type(loaded) is type(net)
        assert (loaded.sizes, loaded.num_layers) == (net.sizes, net.num_layers)
        assert (loaded.dtype, loaded.threads) == (net.dtype, 2)
        assert [a.tobytes() for a in parameters_of(loaded)] == [
            a.tobytes() for a in parameters_of(net)
        ]
        assert all(a.dtype == dtype for a in parameters_of(loaded))
        if type(net) is network2.Network:
            assert (loaded.cost, loaded.activations) == (net.cost, net.activations)


def test_a_loaded_network_goes_on_as_the_saved_one(net, tmp_path, rng):
    X, Y = rng.random((40, 4)), rng.integers(0, 3, 40)
    exchange.save_safetensors(net, tmp_path / "net")
    both = net, exchange.load_safetensors(str(tmp_path / "net"))
    for one in both:
        seed_both(2)
        one.SGD((X, Y), 2, 7, 0.5, lmbda=0.1, progress=False)
    assert_equal_arrays(*map(parameters_of, both))


def test_safetensors_of_another_reader(net, tmp_path):
    """A subnormal number, the largest one and -0.0 are numbers like others."""
    net.weights[0][0, :3] = 5e-324, np.finfo(float).max, -0.0
    exchange.save_safetensors(net, tmp_path / "net")
    tensors = safetensors.numpy.load_file(tmp_path / "net")
    assert sorted(tensors) == ["biases_0", "biases_1", "weights_0", "weights_1"]
    assert tensors["weights_0"].tobytes() == net.weights[0].tobytes()
    assert tensors["biases_1"].shape == (3, 1)
    assert str(exchange.load_safetensors(tmp_path / "net").weights[0][0, 2]) == "-0.0"


def test_arrays_of_another_layout_and_type(net, tmp_path):
    """What a user assigns is saved in the network's dtype, in its own order."""
    weights = [np.asfortranarray(w.astype(">f4")) for w in net.weights]
    net.weights = weights
    exchange.save_safetensors(net, tmp_path / "net")
    assert_equal_arrays(exchange.load_safetensors(tmp_path / "net").weights, weights)


def changed(key, value):
    return lambda tensors, metadata: metadata.update({key: value})


def with_tensor(name, change):
    def apply(tensors, metadata):
        tensors[name] = np.ascontiguousarray(change(tensors.get(name)))

    return apply


def nan_at(w):
    w = w.copy()
    w[1, 2] = np.nan
    return w


FOREIGN = {
    "no metadata": (lambda t, m: m.clear(), "its metadata have no fastbp_format; if it is"),
    "no dtype": (lambda t, m: m.pop("dtype"), "its metadata have no dtype"),
    "newer": (changed("fastbp_format", "2"), "fastbp_format is '2', expected 1; a newer fastbp"),
    "chapter": (changed("network", "network9"), "network is 'network9', expected network or netw"),
    "dtype": (changed("dtype", "float16"), "dtype is 'float16', expected float64 or float32"),
    "program": (changed("dtype", "O,(9999999,)f8"), r"dtype is 'O,\(9999999,\)f8', expected"),
    "other dtype": (changed("dtype", "float32"), "has dtype F64, expected F32"),
    "cost": (changed("cost", "os.system"), "cost is 'os.system', expected QuadraticCost or Cross"),
    "unfit cost": (changed("cost", "LogLikelihoodCost"), "LogLikelihoodCost does not go with outp"),
    "no list": (changed("sizes", '{"4": 3}'), 'sizes is {"4": 3}, expected a list of int'),
    "no JSON": (changed("sizes", "[4, 5"), "Expecting ',' delimiter"),
    "deep": (changed("sizes", "[" * 100_000), "maximum recursion depth|Expecting value"),
    "digits": (changed("sizes", f"[{'9' * 9999}, 1]"), "Exceeds the limit"),
    "truths": (changed("sizes", "[true, 5, 3]"), r"sizes is \[true, 5, 3\], expected a list"),
    "floats": (changed("sizes", "[4.0, 5, 3]"), r"sizes is \[4.0, 5, 3\], expected a list of int"),
    "no layer": (changed("sizes", "[4]"), "it has 2 activations for 1 sizes"),
    "negative": (changed("sizes", "[4, -5, 3]"), r"sizes\[1\] is -5, expected at least 1"),
    "large": (changed("sizes", "[4, 1000000, 3]"), r"weights_0 has shape \[5, 4\], expect"),
    "huge": (changed("sizes", "[4, 1000000000000, 3]"), "expected at most"),
    "activations": (changed("activations", '["relu"]'), "it has 1 activations for 3 sizes"),
    "activation": (changed("activations", '["eval", "sigmoid"]'), "activation is 'eval' .*, exp"),
    "chapter 1": (changed("network", "network"), "a 'network' without sigmoid neurons"),
    "missing": (lambda t, m: t.pop("biases_1"), "it holds no tensor 'biases_1', sizes are"),
    "more": (with_tensor("extra", lambda _: np.zeros(3)), "it holds a tensor 'extra', sizes are"),
    "shape": (with_tensor("biases_0", np.ravel), r"biases_0 has shape \[5\], expected \[5, 1\]"),
    "transposed": (with_tensor("weights_1", np.transpose), r"weights_1 has shape \[5, 3\], exp"),
    "integers": (with_tensor("weights_0", lambda w: w.astype(int)), "weights_0 has dtype I64"),
    "NaN": (with_tensor("weights_0", nan_at), r"weights\[0\] is nan at \[1, 2\], expected finite"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_is_refused_in_words(case, net, tmp_path):
    change, expected = FOREIGN[case]
    path = tmp_path / "net"
    exchange.save_safetensors(net, path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path)
    change(tensors, metadata)
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=expected) as caught:
            exchange.load_safetensors(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20  # however large sizes are
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path} is not a network saved by save_safetensors: ")
    assert len(str(caught.value)) < 500


def test_a_damaged_file(net, tmp_path):
    """However it is cut, and whatever bit of its header is wrong: ValueError, or a network."""
    path = tmp_path / "net"
    exchange.save_safetensors(net, path)
    content = path.read_bytes()
    n_header = 8 + int.from_bytes(content[:8], "little")
    cut = [content[:n] for n in range(0, len(content), 7)] + [content + b"\0"]
    wrong = [
        content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :] for i in range(n_header)
    ]
    for bad in cut:
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="is not a network saved by save_safetensors"):
            exchange.load_safetensors(path)
    for bad in wrong:
        path.write_bytes(bad)
        try:
            assert exchange.load_safetensors(path).sizes == [4, 5, 3]
        except ValueError as error:
            assert "is not a network saved by" in str(error)  # noqa: PT017


def test_a_header_that_is_too_long(net, tmp_path, monkeypatch):
    exchange.save_safetensors(net, tmp_path / "net")
    monkeypatch.setattr(safetensors_files, "MAX_HEADER", 100)
    with pytest.raises(ValueError, match=r"its header has .* bytes, expected at most 100"):
        exchange.load_safetensors(tmp_path / "net")


def test_nothing_is_executed(tmp_path):
    import pickle

    (tmp_path / "net").write_bytes(pickle.dumps(print))
    with pytest.raises(ValueError, match="is not a network saved by save_safetensors"):
        exchange.load_safetensors(tmp_path / "net")


def test_paths_that_cannot_be_read(net, tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        exchange.load_safetensors(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        exchange.load_safetensors(tmp_path)
    for bad in (3, None, ["net"]):
        with pytest.raises(TypeError, match="expected the path of a file"):
            exchange.load_safetensors(bad)
    with pytest.raises(ValueError, match="threads is 0"):
        exchange.load_safetensors(tmp_path / "none", threads=0)


@pytest.mark.parametrize("write", [exchange.to_onnx, exchange.save_safetensors])
def test_a_file_appears_whole_or_not_at_all(write, net, tmp_path, monkeypatch):
    path = tmp_path / "net"
    path.write_bytes(b"before")
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        write(net, tmp_path / "no" / "net")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write(net, tmp_path)
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match=r"cannot write .*; it is unchanged"):
        write(net, path)
    assert path.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net", "work"]


# ------------------------------------------------ what is refused, whatever it is written to


def test_a_network_that_is_passed_never_changes(tmp_path):
    for export in exporters(tmp_path).values():
        for net in (network.Network([4, 3]), network2.Network([4, 5, 3], dtype=np.float32)):
            before = state_of(net)
            export(net)
            assert state_of(net) == before


def test_networks_that_compute_something_else(tmp_path, monkeypatch):
    linear = network2.Network([4, 3], QuadraticCost, output="linear")
    sigmoid, chapter_1 = network2.Network([4, 3]), network.Network([4, 3])
    patched = network.Network([4, 3])
    patched.feedforward = lambda a: a
    for export in exporters(tmp_path).values():
        expected = (
            "feedforward of this OwnFeedforward is overridden, and .* has no place for Python"
        )
        with pytest.raises(ValueError, match=expected):
            export(OwnFeedforward([4, 3]))
        with pytest.raises(ValueError, match="feedforward of this Network is overridden"):
            export(patched)
        with monkeypatch.context() as patch:
            patch.setattr(network2, "sigmoid", np.tanh)
            expected = "sigmoid or sigmoid_prime of fastbp.network2 has been replaced"
            with pytest.raises(ValueError, match=expected):
                export(sigmoid)
            export(linear)  # has no sigmoid
            export(chapter_1)  # has another one


def test_no_networks(tmp_path):
    for export in exporters(tmp_path).values():
        for bad in (None, [4, 3], network.Network, np.eye(3)):
            with pytest.raises(
                TypeError, match=r"net is .*, expected a fastbp.network.Network or a"
            ):
                export(bad)


def test_weights_that_are_no_numbers_or_do_not_fit(tmp_path):
    for export in exporters(tmp_path).values():
        net = network2.Network([4, 3], dtype=np.float32)
        net.weights[0][1, 2] = np.nan
        with pytest.raises(ValueError, match=r"weights\[0\] is nan at \[1, 2\], expected finite"):
            export(net)
        net.weights = [np.full((3, 4), 1e300)]
        with pytest.raises(
            ValueError, match=r"weights\[0\] is 1e\+300 .* finite numbers in float32"
        ):
            export(net)
        net.weights = [np.zeros((4, 3))]
        with pytest.raises(ValueError, match=r"weights\[0\] has shape \(4, 3\), expected \(3, 4\)"):
            export(net)
        net.weights = [np.array([["1"] * 4] * 3)]
        with pytest.raises(TypeError, match=r"weights\[0\] has dtype"):
            export(net)


def test_a_cost_of_your_own(tmp_path, rng, monkeypatch):
    """A safetensors file has no place for it; the others compute outputs only."""
    net = network2.Network([4, 3], OwnCost)
    with pytest.raises(ValueError, match=r"cost is .*OwnCost.* expected the original Quad"):
        exchange.save_safetensors(net, tmp_path / "net")
    net.cost = OwnCost()
    with pytest.raises(ValueError, match=r"cost is .*OwnCost.* expected the original Quad"):
        exchange.save_safetensors(net, tmp_path / "net")
    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropyCost, "delta", OwnCost.delta)
        with pytest.raises(ValueError, match=r"CrossEntropyCost.* with functions of its own"):
            exchange.save_safetensors(network2.Network([4, 3]), tmp_path / "net")
    chapter_1 = network.Network([4, 3])
    chapter_1.cost_derivative = lambda a, y: np.sign(a - y)
    with pytest.raises(ValueError, match="cost_derivative of this network is overridden"):
        exchange.save_safetensors(chapter_1, tmp_path / "net")
    exchange.to_onnx(net, tmp_path / "net")
    X = rng.random((5, 4))
    np.testing.assert_allclose(run_onnx(tmp_path / "net", X), net.feedforward(X.T).T, rtol=1e-12)


CALLS = {
    "onnx": lambda net: exchange.to_onnx(net, "net"),
    "safetensors": lambda net: exchange.load_safetensors("net"),
    "safetensors.numpy": lambda net: exchange.save_safetensors(net, "net"),
    "torch": exchange.to_torch,
    "sklearn.neural_network": exchange.from_sklearn,
}


@pytest.mark.parametrize("module", CALLS)
def test_a_library_that_is_not_installed(module, net, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"^\w+ needs [\w-]+: pip install [\w-]+$"):
        CALLS[module](net)


def test_no_library_is_loaded_before_it_is_used():
    code = "import sys, fastbp.exchange; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"onnx", "onnxruntime", "safetensors", "torch", "sklearn"} & set(run.stdout.split())


# ------------------------------------------------ PyTorch


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_computes_what_feedforward_computes(dtype, torch, rng):
    for net in all_networks(dtype):
        module, X = exchange.to_torch(net), rows_for(net, rng)
        out = module(torch.from_numpy(X)).detach().numpy()
        assert out.dtype == net.dtype
        wanted = net.feedforward(X.T).T
        np.testing.assert_allclose(out, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        one = module(torch.from_numpy(X[0])).detach().numpy()  # a sample without a batch
        np.testing.assert_allclose(one, wanted[0], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_and_back_keeps_every_bit(dtype, torch):
    for net in all_networks(dtype):
        module = exchange.to_torch(net)
        cost = getattr(net, "cost", QuadraticCost)
        activations = getattr(net, "activations", ("sigmoid",) * len(net.weights))
        by_dict = exchange.from_torch(module.state_dict(), list(activations), cost)
        for back in (exchange.from_torch(module, cost=cost), by_dict):
            assert type(back) is network2.Network
            assert (back.sizes, back.activations, back.cost) == (net.sizes, activations, cost)
            assert back.dtype == net.dtype
            assert_equal_arrays(parameters_of(back), parameters_of(net))


def test_torch_shares_no_memory_and_draws_nothing(net, torch):
    state, before = torch.random.get_rng_state(), [a.copy() for a in parameters_of(net)]
    module = exchange.to_torch(net)
    back = exchange.from_torch(module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(7)
    assert_equal_arrays(parameters_of(net), before)
    assert_equal_arrays(parameters_of(back), before)
    back.weights[0][:] = 1
    assert_equal_arrays(parameters_of(net), before)
    assert float(module[0].weight.detach()[0, 0]) == 7


def test_gradients_of_torch_are_ours(net, torch, rng):
    """PyTorch's automatic differentiation of the module that is made (book, chapter 2)."""
    X, Y = rng.random((6, 4)), np.eye(3)[rng.integers(0, 3, 6)]
    module = exchange.to_torch(net)
    loss = torch.nn.BCELoss(reduction="sum")(module(torch.from_numpy(X)), torch.from_numpy(Y))
    loss.backward()
    nabla_b, nabla_w = net.backprop_batch(X, Y)
    for linear, w, b in zip((module[0], module[2]), nabla_w, nabla_b):
        np.testing.assert_allclose(linear.weight.grad.numpy(), w, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(linear.bias.grad.numpy(), b.ravel(), rtol=1e-10, atol=1e-13)


def test_a_network_from_torch_learns(torch, rng):
    X = rng.random((60, 4))
    Y = (X.sum(axis=1) > 2).astype(int)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    net = exchange.from_torch(module, ["tanh", "softmax"])
    assert (net.dtype, net.cost) == (np.float32, LogLikelihoodCost)
    seed_both()
    net.SGD((X, Y), 60, 10, 0.5, progress=False)
    assert net.accuracy((X, Y)) > 50


def test_what_a_module_may_consist_of(torch, rng):
    nn = torch.nn

    class Block(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(6, 5, bias=False), nn.ReLU(inplace=True))

    module = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.2), Block(), nn.Sequential(nn.Sequential(nn.Linear(5, 4))),
        nn.Identity(), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3), nn.Softmax(1),
    ).double().eval()  # fmt: skip
    net = exchange.from_torch(module)
    assert net.activations == ("relu", "tanh", "linear", "softmax")
    assert not net.biases[0].any()
    X = rng.standard_normal((7, 2, 3))
    wanted = module(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(net.feedforward(X.reshape(7, 6).T).T, wanted, rtol=1e-12)
    assert not module.training
    assert exchange.from_torch(nn.Linear(2, 1)).activations == ("linear",)
    module.train()
    with pytest.raises(ValueError, match=r"module\[1\] is a Dropout in training mode; call module"):
        exchange.from_torch(module)
    exchange.from_torch(module.eval())  # the advice
    assert exchange.from_torch(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0))).sizes == [2, 2]


def test_costs_and_activations_that_are_given(torch):
    nn = torch.nn
    ends = {"Sigmoid": CrossEntropyCost, "Tanh": QuadraticCost, "ReLU": QuadraticCost,
            "Softmax": LogLikelihoodCost, "Identity": QuadraticCost}  # fmt: skip
    for end, cost in ends.items():
        last = nn.Softmax(-1) if end == "Softmax" else getattr(nn, end)()
        assert exchange.from_torch(nn.Sequential(nn.Linear(3, 2), last)).cost is cost
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for output, cost in (("softmax", LogLikelihoodCost), ("sigmoid", CrossEntropyCost)):
        assert exchange.from_torch(module, ["relu", output]).cost is cost
    assert isinstance(exchange.from_torch(module, cost=OwnCost()).cost, OwnCost)
    with pytest.raises(ValueError, match="CrossEntropyCost does not go with output 'linear'"):
        exchange.from_torch(module, cost=CrossEntropyCost)
    with pytest.raises(TypeError, match="cost is 3 "):
        exchange.from_torch(module, cost=3)
    with pytest.raises(
        ValueError, match=r"activations is \['tanh', .*, but the module has .*; lea"
    ):
        exchange.from_torch(module, ["tanh", "softmax"])
    for bad in ("relu", ["relu"], {"relu": 1}):
        with pytest.raises(
            ValueError, match=r"activations is .*, expected a list of 2: a name for"
        ):
            exchange.from_torch(module, bad)
    with pytest.raises(TypeError, match=r"activations holds \['relu'\]"):
        exchange.from_torch(module.state_dict(), [["relu"], "linear"])
    with pytest.raises(ValueError, match=r"activation is 'gelu' .*, expected one of"):
        exchange.from_torch(module.state_dict(), ["gelu", "linear"])
    with pytest.raises(ValueError, match="one softmax output neuron is always 1"):
        exchange.from_torch(nn.Sequential(nn.Linear(2, 1), nn.Softmax(1)))


def test_dtypes_of_torch(torch):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2))
    as_float64 = exchange.from_torch(module, dtype=np.float64)
    assert as_float64.dtype == as_float64.weights[0].dtype == np.float64
    assert_equal_arrays([as_float64.weights[0]], [module[0].weight.detach().double().numpy()])
    for small in (torch.float16, torch.bfloat16):
        half = nn.Sequential(nn.Linear(3, 4)).to(small)
        expected = f"parameters have dtype {small}, expected torch.float64 .*; pass dtype=numpy.fl"
        with pytest.raises(ValueError, match=expected):
            exchange.from_torch(half)
        net = exchange.from_torch(half, dtype=np.float32)  # the advice
        assert_equal_arrays(net.weights, [half[0].weight.detach().float().numpy()])
    module[2].double()
    with pytest.raises(ValueError, match=r"parameters have dtype torch.float32 and torch.float64"):
        exchange.from_torch(module)
    with pytest.raises(ValueError, match=r"dtype is .*int.*, expected numpy.float64"):
        exchange.from_torch(module, dtype=int)
    large = nn.Sequential(nn.Linear(1, 1)).double()
    nn.init.constant_(large[0].weight, 1e300)
    with pytest.raises(
        ValueError, match=r"module\[0\].weight is 1e\+300 .* numbers in float32; cor"
    ):
        exchange.from_torch(large, dtype=np.float32)


def refused_modules(nn, torch):
    """Return (a module, the words that refuse it) for each kind of module that is refused."""

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Backwards(nn.Sequential):
        def forward(self, x):
            return x

    class Own(nn.Module):
        def forward(self, x):
            return x

    def with_(change, *modules):
        module = nn.Sequential(*modules)
        change(module)
        return module

    def nan(module):
        with torch.no_grad():
            module[0].bias[1] = float("nan")

    linear, expected = nn.Linear(3, 3), r", expected one of Sequential, Linear, Sigmoid"
    return [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), r"module\[0\] is a Conv2d" + expected),
        (nn.Sequential(linear, nn.BatchNorm1d(3)), r"module\[1\] is a BatchNorm1d" + expected),
        (nn.Sequential(linear, nn.GELU()), r"module\[1\] is a GELU" + expected),
        (nn.Sequential(linear, nn.LogSoftmax(1)), r"module\[1\] is a LogSoftmax" + expected),
        (nn.Sequential(nn.Sequential(Doubled(3, 3))), r"module\[0\]\[0\] is a Doubled" + expected),
        (Backwards(linear), "module is a Backwards" + expected),
        (Own(), "module is a Own" + expected),
        (nn.Sequential(nn.LazyLinear(3)), r"module\[0\] is a LazyLinear" + expected),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))), "Parametrized"),
        (with_(lambda m: m.register_forward_hook(print), linear), "module has forward hooks"),
        (with_(lambda m: m[0].register_forward_pre_hook(print), nn.Linear(3, 3)), "forward hooks"),
        (with_(lambda m: setattr(m, "forward", print), linear), "module has a forward of its own"),
        (nn.Sequential(nn.ReLU(), linear), r"module\[0\] is a ReLU, expected a Linear before it"),
        (nn.Sequential(linear, nn.ReLU(), nn.Tanh()), r"module\[2\] is a Tanh, expected a Linear"),
        (nn.Sequential(linear, nn.Softmax(1), linear), r"module\[2\] is a Linear after Softmax"),
        (nn.Sequential(linear, nn.Softmax(0)), r"module\[1\] is a Softmax over axis 0, expected 1"),
        (nn.Sequential(nn.Flatten(0), linear), r"is a Flatten of axes \(0, -1\), expected \(1"),
        (nn.Sequential(linear, nn.Linear(4, 3)), r"module\[1\].weight has shape \(3, 4\), expected "
         r"\(3, 3\): the layer before it has 3 neurons"),
        (nn.Sequential(nn.Linear(3, 3, device="meta")), r"torch.strided on meta, expected dense"),
        (with_(nan, nn.Linear(3, 3)), r"module\[0\].bias is nan at \[1\], expected finite"),
        (nn.Sequential(), "holds no Linear layer, expected at least one"),
        (nn.Sequential(nn.Flatten()), "holds no Linear layer, expected at least one"),
        ({}, "holds no Linear layer, expected at least one"),
    ]  # fmt: skip


def test_modules_that_are_refused(torch):
    for module, words in refused_modules(torch.nn, torch):
        with pytest.raises(ValueError, match=words):
            exchange.from_torch(module, None if module else [])
    for bad in (None, 3, [torch.nn.Linear(2, 2)], "net.pt", torch.zeros(2, 2)):
        with pytest.raises(
            TypeError, match=r"module is .*, expected a torch.nn.Sequential or a stat"
        ):
            exchange.from_torch(bad)


def test_state_dicts(torch, tmp_path, rng):
    class Net(torch.nn.Module):
        """A module with a forward of its own, as most are."""

        def __init__(self):
            super().__init__()
            self.hidden = torch.nn.Linear(4, 5, dtype=torch.float64)
            self.out = torch.nn.Linear(5, 3, bias=False, dtype=torch.float64)

        def forward(self, x):
            return torch.softmax(self.out(torch.relu(self.hidden(x))), 1)

    module = Net()
    with pytest.raises(ValueError, match=r"pass module.state_dict\(\) and activations=\[...\]"):
        exchange.from_torch(module)
    with pytest.raises(ValueError, match=r"its 2 layers have; pass activations=\[...\]"):
        exchange.from_torch(module.state_dict())
    net = exchange.from_torch(module.state_dict(), activations=["relu", "softmax"])  # the advice
    X = rng.standard_normal((6, 4))
    wanted = module(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(net.feedforward(X.T).T, wanted, rtol=1e-12)
    import safetensors.torch

    path = tmp_path / "net"
    safetensors.torch.save_file(module.state_dict(), path)
    with pytest.raises(ValueError, match=r"pass safetensors.torch.load_file\(path\) to from_torch"):
        exchange.load_safetensors(path)
    again = exchange.from_torch(safetensors.torch.load_file(path), ["relu", "softmax"])
    assert_equal_arrays(parameters_of(again), parameters_of(net))


def test_state_dicts_that_are_refused(torch):
    w, b = torch.zeros(2, 3), torch.zeros(2)
    conv = torch.nn.Conv2d(1, 2, 3).state_dict()
    norm = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()
    checkpoint = {"epoch": 3, "model": {"0.weight": w}}
    cases = [
        (conv, r"state_dict\['weight'\] has shape \(2, 1, 3, 3\), expected 2 axes, as in a Linear"),
        (norm, r"state_dict\['1.weight'\] has shape \(2,\), expected 2 axes"),
        (checkpoint, r"state_dict\['epoch'\] belongs to no Linear layer, expected names that end"),
        ({1: w}, r"state_dict\[1\] belongs to no Linear layer"),
        (
            {"0.weight": [[1.0]]},
            r"state_dict\['0.weight'\] is \[\[1.0\]\] \(list\), expected a tens",
        ),
        ({"0.weight": w.int()}, r"a tensor of torch.int32, torch.strided on cpu, expected dense"),
        ({"0.weight": w.to_sparse()}, "torch.sparse_coo on cpu, expected dense floating-point"),
        ({"0.bias": b}, r"state_dict\['0.bias'\] has no weight beside it, expected 0.weight"),
        ({"0.weight": w, "0.bias": torch.zeros(3)}, r"0.bias'\] has shape \(3,\), expected \(2,\)"),
        ({"0.weight": w, "1.weight": w}, r"1.weight'\] has shape \(2, 3\), expected \(2, 2\)"),
        ({"0.weight": torch.zeros(0, 3)}, r"sizes\[1\] is 0, expected at least 1 neuron"),
    ]
    for state_dict, words in cases:
        with pytest.raises((ValueError, TypeError), match=words):
            exchange.from_torch(state_dict, ["linear"] * (2 if "1.weight" in state_dict else 1))


# ------------------------------------------------ scikit-learn

TARGETS = {
    "binary": lambda rng, X: (X.sum(axis=1) > 0).astype(int),
    "texts": lambda rng, X: np.where(X.sum(axis=1) > 0, "yes", "no"),
    "classes": lambda rng, X: rng.integers(3, 7, len(X)),
    "labels": lambda rng, X: rng.integers(0, 2, (len(X), 3)),
}


@no_convergence
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("targets", TARGETS)
def test_classifiers_of_sklearn(targets, activation, rng):
    X = rng.standard_normal((60, 5))
    for hidden in ((), (7,), (6, 4)):
        mlp = MLPClassifier(hidden, activation=activation, max_iter=8, random_state=1)
        mlp.fit(X, TARGETS[targets](rng, X))
        before = [a.copy() for a in (*mlp.coefs_, *mlp.intercepts_)]
        net = exchange.from_sklearn(mlp)
        wanted, out = mlp.predict_proba(X), net.feedforward(X.T).T
        two_classes = targets in ("binary", "texts")
        if two_classes:
            wanted = wanted[:, 1:]
        np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-12)
        assert net.cost is (LogLikelihoodCost if targets == "classes" else CrossEntropyCost)
        assert net.sizes == [5, *hidden, 1 if two_classes else out.shape[1]]
        if targets == "classes":
            assert (mlp.classes_[out.argmax(axis=1)] == mlp.predict(X)).all()
        net.weights[0][:] = 0
        assert_equal_arrays((*mlp.coefs_, *mlp.intercepts_), before)


@no_convergence
@pytest.mark.parametrize("n_out", [1, 3])
def test_regressors_of_sklearn(n_out, rng):
    X = rng.standard_normal((60, 5))
    Y = X[:, :n_out] if n_out > 1 else X[:, 0]
    mlp = MLPRegressor(hidden_layer_sizes=(8,), max_iter=8, random_state=1).fit(X, Y)
    net = exchange.from_sklearn(mlp)
    out = net.feedforward(X.T).T
    np.testing.assert_allclose(out.reshape(Y.shape), mlp.predict(X), rtol=0, atol=1e-12)
    assert (net.cost, net.activations) == (QuadraticCost, ("relu", "linear"))


@no_convergence
@pytest.mark.parametrize("targets", TARGETS)
def test_estimators_of_fastbp(targets, rng, tmp_path):
    """So they can be written as ONNX models, too."""
    X = rng.standard_normal((60, 5))
    y = TARGETS[targets](rng, X)
    estimator = NetworkClassifier((6, 4), activation="tanh", max_iter=3, random_state=1).fit(X, y)
    net = exchange.from_sklearn(estimator)
    wanted, out = estimator.predict_proba(X), net.feedforward(X.T).T
    wanted = wanted[:, 1:] if targets in ("binary", "texts") else wanted
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-12)
    exchange.to_onnx(net, tmp_path / "net.onnx")
    regressor = NetworkRegressor((6,), activation="sigmoid", max_iter=3, random_state=1)
    regressor.fit(X, X[:, 0])
    net = exchange.from_sklearn(regressor)
    np.testing.assert_allclose(net.feedforward(X.T)[0], regressor.predict(X), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"not fitted; call mlp\.fit first"):
        exchange.from_sklearn(NetworkRegressor())


@no_convergence
def test_sklearn_in_float32(rng):
    X = rng.standard_normal((60, 5)).astype(np.float32)
    mlp = MLPClassifier((8,), max_iter=8, random_state=1).fit(X, rng.integers(0, 3, 60))
    net = exchange.from_sklearn(mlp)
    assert net.dtype == np.float32
    np.testing.assert_allclose(net.feedforward(X.T).T, mlp.predict_proba(X), atol=1e-6)


@no_convergence
def test_sklearn_that_is_refused(rng):
    class OwnMLP(MLPClassifier):
        pass

    X, Y = rng.standard_normal((20, 3)), rng.integers(0, 2, 20)
    mlp = MLPClassifier((4,), max_iter=3)
    with pytest.raises(ValueError, match=r"mlp is not fitted; call mlp.fit first"):
        exchange.from_sklearn(mlp)
    assert exchange.from_sklearn(mlp.fit(X, Y)).sizes == [3, 4, 1]  # the advice
    for bad in (None, MLPClassifier, OwnMLP().fit(X, Y), network.Network([2, 1])):
        with pytest.raises(
            TypeError, match=r"mlp is .*, expected a fitted MLPClassifier or MLPReg"
        ):
            exchange.from_sklearn(bad)
    mlp.activation = "swish"
    with pytest.raises(
        ValueError, match=r"mlp.activation is 'swish' .*, expected one of identity,"
    ):
        exchange.from_sklearn(mlp)
    mlp.activation, mlp.out_activation_ = "relu", "exp"  # that of a Poisson regression
    with pytest.raises(
        ValueError, match=r"mlp.out_activation_ is 'exp' .*, expected one of identi"
    ):
        exchange.from_sklearn(mlp)
    mlp.out_activation_ = "logistic"
    mlp.coefs_[0][1, 2] = np.inf
    mlp.intercepts_, intercepts = [], mlp.intercepts_
    with pytest.raises(ValueError, match=r"mlp.intercepts_ is \[\] \(list\), expected a list of"):
        exchange.from_sklearn(mlp)
    mlp.intercepts_ = intercepts
    with pytest.raises(ValueError, match=r"mlp.coefs_\[0\] is inf at \[1, 2\], expected finite"):
        exchange.from_sklearn(mlp)


@no_convergence
@pytest.mark.parametrize("kind", [MLPClassifier, NetworkClassifier])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("coefs_", [], r"mlp\.coefs_ is \[\] "),
        ("coefs_", None, r"mlp\.coefs_ is None "),
        ("coefs_", [np.eye(3, 4)], r"mlp\.coefs_ has 1 arrays, mlp\.intercepts_ has 2"),
        ("coefs_", [np.eye(3, 4), np.eye(3)], r"mlp\.coefs_\[1\] has shape \(3, 3\), exp"),
        ("intercepts_", None, r"mlp\.intercepts_ is None "),
        ("intercepts_", [np.ones(4), np.ones(1)], r"mlp\.intercepts_\[1\] has shape \(1,\)"),
        ("out_activation_", None, r"mlp\.out_activation_ is None "),
        ("activation", ["relu"], r"mlp\.activation is \['relu'\] "),
    ],
)
def test_damaged_perceptrons(kind, name, value, message, rng):
    mlp = kind((4,), max_iter=3).fit(rng.standard_normal((30, 3)), np.arange(30) % 3)
    setattr(mlp, name, value)
    with pytest.raises(ValueError, match=message):
        exchange.from_sklearn(mlp)
    if value is None:
        delattr(mlp, name)
        with pytest.raises(ValueError, match=message if name != "coefs_" else "mlp is not fitted"):
            exchange.from_sklearn(mlp)
