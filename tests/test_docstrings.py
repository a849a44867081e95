"""The docstrings of the public names: all parameters are there, sections in order, examples run."""

import doctest
import importlib
import inspect
import re
import warnings

import pytest
from helpers import seed_both
from test_public_names import NAMES
from test_types import FUNCTIONS

SECTIONS = [
    "Parameters", "Attributes", "Returns", "Raises", "Warns", "Notes", "Examples",
]  # fmt: skip
# Names that are looked up first, and therefore have an example.
WITH_EXAMPLES = [
    "fastbp.Pixels", "fastbp.History", "fastbp.gradient_check",
    "fastbp.network.Network", "fastbp.network.Network.SGD", "fastbp.network.Network.evaluate",
    "fastbp.network.Network.backprop", "fastbp.network.Network.feedforward", "fastbp.network.load",
    "fastbp.network2.Network", "fastbp.mnist_loader.load_data", "fastbp.mnist_loader.synthetic",
    "fastbp.mnist_loader.load_data_wrapper", "fastbp.mnist_loader.wrap",
    "fastbp.mnist_loader.count_outputs", "fastbp.mnist_loader.vectorized_result",
    "fastbp.estimator.NetworkClassifier", "fastbp.estimator.NetworkRegressor",
    "fastbp.exchange.to_onnx", "fastbp.exchange.save_safetensors", "fastbp.exchange.from_sklearn",
]  # fmt: skip


def documented():
    """Yield (name, object) of all public functions, methods and classes."""
    for module in NAMES:
        for name in NAMES[module]:
            value = getattr(importlib.import_module(module), name)
            if inspect.isclass(value) and not issubclass(value, Exception):
                yield f"{module}.{name}", value
    for name, function in FUNCTIONS.items():
        if not name.endswith("__init__"):
            yield name, function


OBJECTS = dict(documented())


def sections(text):
    """Return {title: text} of a docstring's numpydoc sections, in order."""
    parts = re.split(r"^(\w+)\n-+\n", inspect.cleandoc(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def parameters_in(section):
    """Return the names of the parameters that a section describes."""
    heads = [line for line in section.splitlines() if line and not line.startswith(" ")]
    return [name.strip(" *") for head in heads for name in head.split(":")[0].split(",")]


@pytest.mark.parametrize("name", OBJECTS)
def test_docstrings_have_their_sections_in_order(name):
    text = OBJECTS[name].__doc__
    assert re.match(r"\S.*\.$", text.splitlines()[0]), "the first line is a sentence"
    titles = list(sections(text))
    assert titles == [title for title in SECTIONS if title in titles]
    assert "\\\n" not in text


@pytest.mark.parametrize("name", OBJECTS)
def test_the_parameters_are_those_of_the_signature(name):
    described = sections(OBJECTS[name].__doc__)
    parameters = inspect.signature(OBJECTS[name]).parameters
    names = [n for n in parameters if n not in ("self", "initlist", "args", "kwargs")]
    if "Parameters" not in described:  # a short docstring names them in its text
        for parameter in names:
            assert re.search(rf"\b{parameter}\b", OBJECTS[name].__doc__), parameter
        return
    found = parameters_in(described["Parameters"])
    if "..." in found:  # as of the class that is named there
        assert set(found) - {"..."} <= set(names)
    else:
        assert sorted(found) == sorted(names)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_first_parameter_has_a_text_or_a_shape(name):
    lines = sections(OBJECTS[name].__doc__).get("Parameters", "x\n    text").splitlines()
    assert "shape" in lines[0] or lines[1].startswith("    ")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_returned_is_described(name):
    returns = inspect.signature(FUNCTIONS[name]).return_annotation
    text = FUNCTIONS[name].__doc__ or ""
    is_property = inspect.isdatadescriptor(inspect.getattr_static(*owner_of(name), None))
    if returns not in ("None", None) and not is_property:
        assert "return" in text.splitlines()[0].lower() or "Returns" in sections(text)


def owner_of(name):
    """Return (the class or module, the name in it) of a function by its full name."""
    path, _, attribute = name.rpartition(".")
    if path in NAMES:
        return importlib.import_module(path), attribute
    module, _, cls = path.rpartition(".")
    return getattr(importlib.import_module(module), cls), attribute


def test_the_main_names_have_examples():
    lacking = [n for n in WITH_EXAMPLES if "Examples" not in sections(OBJECTS[n].__doc__)]
    assert lacking == []


@pytest.mark.parametrize("name", [n for n in OBJECTS if ">>>" in (OBJECTS[n].__doc__ or "")])
def test_examples_run(name, tmp_path, monkeypatch):
    """In a folder of their own, where no data set is found and none can be downloaded."""
    monkeypatch.chdir(tmp_path)
    seed_both(1)
    example = doctest.DocTestParser().get_doctest(OBJECTS[name].__doc__, {}, name, None, None)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = runner.run(example, out=said.append)
    assert result.failed == 0, "".join(said)
