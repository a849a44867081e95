"""What users import, by name: wherever the code behind them moves, these stay."""

import importlib
import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import fastbp

NAMES = {
    "fastbp": [
        "History", "Network", "Pixels", "__version__", "gradient_check", "load_data_wrapper",
    ],
    "fastbp.estimator": ["NetworkClassifier", "NetworkRegressor"],
    "fastbp.expand_mnist": ["Deformation", "deform", "expand"],
    "fastbp.history": ["History"],
    "fastbp.network": ["Network", "load", "sigmoid", "sigmoid_prime"],
    "fastbp.network2": [
        "CrossEntropyCost", "LogLikelihoodCost", "Network", "QuadraticCost",
        "load", "sigmoid", "sigmoid_prime", "softmax", "vectorized_result",
    ],
    "fastbp.mpi": ["SGD"],
    "fastbp.mnist_loader": [
        "DataNotFoundError", "count_outputs", "load_data", "load_data_wrapper", "synthetic",
        "vectorized_result", "wrap", "write",
    ],
    "fastbp.recipes": ["Recipe"],
    "fastbp.schedules": ["Cosine", "Geometric", "Linear", "Step", "parse"],
    "fastbp.exchange": [
        "from_sklearn", "from_torch", "load_safetensors", "save_safetensors", "to_onnx", "to_torch",
    ],
}  # fmt: skip
TYPES = [
    "Activation", "AnySets", "Callback", "Callbacks", "Cost", "Data", "DataSets", "Deform",
    "FloatArray", "FloatSet", "Inputs", "LabelledInputs", "LearningRate", "NumericArray",
    "PairLists", "Pairs", "Path", "PixelSet", "PixelSets", "RandomState", "Schedule", "StopOn",
    "TrainingData",
]  # fmt: skip
METHODS = {
    "fastbp.network": [
        "SGD", "backprop", "backprop_batch", "cost_derivative", "evaluate", "feedforward",
        "gradient_norms", "save", "update_mini_batch",
    ],
    "fastbp.network2": [
        "SGD", "accuracy", "backprop", "backprop_batch", "default_weight_initializer",
        "feedforward", "gradient_norms", "he_weight_initializer", "large_weight_initializer",
        "save", "total_cost", "update_mini_batch",
    ],
}  # fmt: skip
CONSTANTS = {
    "fastbp.expand_mnist": ["DISPLACEMENTS"],
    "fastbp.recipes": ["RECIPES"],
    "fastbp.schedules": ["SCHEDULES"],
    "fastbp.network": ["FORMAT_VERSION", "OUTPUT"],
    "fastbp.network2": ["COSTS", "FORMAT_VERSION", "MONITORS", "PATIENCE", "SMALLEST"],
    "fastbp.mnist_loader": ["HOW_TO_GET_IT"],
}


def public_names_of(module):
    """Return the names of the functions and classes that a module defines."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def test_the_package():
    assert sorted(fastbp.__all__) == NAMES["fastbp"]


@pytest.mark.parametrize("name", NAMES)
def test_functions_and_classes(name):
    module = importlib.import_module(name)
    for public in NAMES[name]:
        assert public == "__version__" or callable(getattr(module, public)), public
    assert set(public_names_of(module)) <= set(NAMES[name])


def test_types():
    assert sorted(fastbp.typing.__all__) == TYPES


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fastbp"])
def test_star_imports_give_all_of_them(name):
    module = importlib.import_module(name)
    assert set(module.__all__) == {*NAMES[name], *CONSTANTS.get(name, ())}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    module = importlib.import_module(name)
    for constant in CONSTANTS[name]:
        assert hasattr(module, constant)


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    network = importlib.import_module(name).Network
    methods = inspect.getmembers(network, inspect.isroutine)
    assert [method for method, _ in methods if not method.startswith("_")] == METHODS[name]


def test_gradient_check_is_a_function():
    """And Network, Pixels are classes: no module of the package has one of these names."""
    assert inspect.isfunction(fastbp.gradient_check)
    assert inspect.isfunction(fastbp.load_data_wrapper)
    assert inspect.isclass(fastbp.Network)
    assert inspect.isclass(fastbp.Pixels)
    assert fastbp.Network is fastbp.network.Network


def test_python_dash_m():
    command = [sys.executable, "-m", "fastbp", "--version"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"fastbp {fastbp.__version__}\n", "")


def test_the_console_script(capsys):
    """What the installed distribution names is there, and prints the version."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="fastbp")
    with pytest.raises(SystemExit) as exit:
        script.load()(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"fastbp {fastbp.__version__}\n"
