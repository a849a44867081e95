"""The annotations of the public names: complete, true, and there for users of the wheel."""

import importlib
import inspect
import typing
import warnings

import pytest
import typing_uses
from test_public_names import NAMES

import fastbp
from fastbp import mnist_loader


def own_functions(value, name):
    """Yield (name, function) of a public function, or of the public methods of a class."""
    if inspect.isroutine(value):
        yield name, value
    elif inspect.isclass(value):
        for attribute in dir(value):
            member = inspect.getattr_static(value, attribute)
            for wrapped in ("fget", "fn", "__func__"):  # property, available_if, staticmethod
                member = getattr(member, wrapped, member)
            is_public = attribute == "__init__" or not attribute.startswith("_")
            if is_public and inspect.isfunction(member) and member.__module__.startswith("fastbp"):
                yield f"{name}.{attribute}", member


def public_functions():
    for module in NAMES:
        for name in NAMES[module]:
            value = getattr(importlib.import_module(module), name)
            yield from own_functions(value, f"{module}.{name}")


FUNCTIONS = dict(public_functions())


def test_the_list_of_functions_is_that_of_the_public_names():
    assert {
        "fastbp.Network.SGD", "fastbp.Pixels.values", "fastbp.Pixels.shape", "fastbp.History.plot",
        "fastbp.network2.Network.__init__", "fastbp.network2.Network.backprop_batch",
        "fastbp.network2.CrossEntropyCost.delta", "fastbp.mnist_loader.load_data",
        "fastbp.gradient_check", "fastbp.exchange.to_onnx",
        "fastbp.estimator.NetworkClassifier.partial_fit",
    } <= set(FUNCTIONS)  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_everything_is_annotated(name):
    signature = inspect.signature(FUNCTIONS[name])
    for parameter in signature.parameters.values():
        if parameter.name != "self":
            assert parameter.annotation is not parameter.empty, parameter
    assert signature.return_annotation is not signature.empty
    assert "numpy._typing" not in str(signature)  # what help() shows can be read


@pytest.mark.parametrize("name", FUNCTIONS)
def test_annotations_can_be_resolved(name):
    if name.endswith("History.plot"):  # its result is matplotlib's, which is optional
        assert FUNCTIONS[name].__annotations__["return"] == "Figure"
    else:
        typing.get_type_hints(FUNCTIONS[name])


def test_the_marker_of_typed_packages_is_there():
    assert (importlib.resources.files(fastbp) / "py.typed").is_file()


def test_the_typical_uses_run(tmp_path):
    """What the types allow is what the calls accept; mypy reads the same file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few samples: no convergence
        sets = mnist_loader.synthetic(100, 30, 30, seed=1)
        lists = mnist_loader.wrap(sets)
        assert len(typing_uses.the_book(lists)) == 1
        assert len(typing_uses.chapter_3(lists)) == 1
        history = typing_uses.arrays_and_callbacks(tmp_path)
        assert [figures["epoch"] for figures in history] == [0, 1]
        assert (tmp_path / "run.csv").read_text().startswith("epoch,")
        X, labels = sets[0]
        assert typing_uses.estimators(X, labels).shape == (100,)
        assert typing_uses.conversions(tmp_path).sizes == [4, 3, 2]
