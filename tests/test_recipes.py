"""Recipes: what they say, fastbp train --recipe and --deform, and the bench's table of them."""

import argparse
import dataclasses
import json
import pickle

import numpy as np
import pytest
from helpers import assert_equal_arrays, refused, run_command, seed_both

from fastbp import Pixels, mnist_loader, network, network2, schedules
from fastbp.recipes import RECIPES

FAST = "nielsen-ch1", "best-seconds", "best-minute"


# ------------------------------------------------ values


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES]
)
def test_a_recipe_is_what_sgd_takes(name, rng):
    """Trained for an epoch on a few images; and it can be pickled."""
    recipe = pickle.loads(pickle.dumps(RECIPES[name]))
    assert recipe == RECIPES[name]
    seed_both()
    net = recipe.network()
    assert (net.sizes, net.dtype) == (list(recipe.sizes), np.float32)
    assert net.activations[:-1] == (recipe.activation,) * (len(recipe.sizes) - 2)
    assert any(b.any() for b in net.biases) == (recipe.init != "he")
    before = net.weights[0].copy()
    data = rng.random((20, 784), np.float32), rng.integers(10, size=20)
    net.SGD(data, **recipe.arguments(epochs=1), verbose=False)
    assert np.isfinite(net.weights[0]).all()
    assert not np.array_equal(net.weights[0], before)


def test_they_are_complete():
    assert list(RECIPES) == [
        "nielsen-ch1", "nielsen-ch3", "plain-800", "simard-2003", "ciresan-2010-1",
        "ciresan-2010-4", "dropout-3x1024", "best-seconds", "best-minute", "best-quarter",
    ]  # fmt: skip
    for name, recipe in RECIPES.items():
        ours = recipe.source.startswith("ours")
        assert (recipe.paper is None) == ours == name.startswith("best"), name
        assert recipe.source or not recipe.differs
        assert recipe.arguments()["epochs"] == recipe.epochs
        with pytest.raises(dataclasses.FrozenInstanceError):
            recipe.eta = 1.0
    with pytest.raises(TypeError):
        RECIPES["mine"] = recipe


@pytest.mark.parametrize("name", ["cost", "init"])
def test_a_recipe_with_an_unknown_name_says_which(name):
    recipe = dataclasses.replace(RECIPES["nielsen-ch3"], **{name: "none"})
    with pytest.raises(ValueError, match=f"{name} is 'none' .*, expected '"):
        recipe.network()


def test_chapter_1_and_3_are_the_books():
    """Their settings and initial weights are those of the calls in the book."""
    for name, theirs in (
        ("nielsen-ch1", dict(epochs=30, mini_batch_size=10, eta=3.0, lmbda=0.0)),
        ("nielsen-ch3", dict(epochs=60, mini_batch_size=10, eta=0.1, lmbda=5.0)),
    ):
        asked = RECIPES[name].arguments()
        assert {key: asked[key] for key in theirs} == theirs
        assert not any(asked[key] for key in set(asked) - set(theirs))
        seed_both()
        net = RECIPES[name].network(dtype=np.float64)
        seed_both()
        book = network2.Network(list(RECIPES[name].sizes), network2.COSTS[RECIPES[name].cost])
        book.large_weight_initializer()
        assert_equal_arrays(net.weights, book.weights)
        assert net.activations == ("sigmoid", "sigmoid")


# ------------------------------------------------ fastbp train --recipe


def test_the_list():
    done = run_command("train", "--list-recipes")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["recipe", "network", "epochs", "deformed"]
    assert [line.split()[0] for line in lines[1 : 1 + len(RECIPES)]] == list(RECIPES)
    (line,) = [line for line in lines if line.startswith("simard-2003 ")]
    assert line.split() == ["simard-2003", "784-800-10", "190", "yes", "0.70", "%,", "Simard,",
                            "Steinkraus", "and", "Platt", "2003"]  # fmt: skip
    assert any(line.startswith("  simard-2003: relu, ") for line in lines)


def train(folder, *more):
    done = run_command("train", "--data", folder, "--seed", 3, *more)
    assert done.returncode == 0, done.stderr
    return done


def test_a_recipe_trains_as_the_library_does(mnist_folder, tmp_path):
    """The same weights; the validation images are monitored."""
    model = tmp_path / "m.json"
    done = train(mnist_folder, "--recipe", "simard-2003", "--epochs", 3, "--save", model)
    training, validation, test = mnist_loader.load_data(mnist_folder, pixels=True)
    recipe = RECIPES["simard-2003"]
    seed_both(3)
    net = recipe.network()
    _, accuracy, *_ = net.SGD(
        training, **recipe.arguments(3), evaluation_data=validation,
        monitor_evaluation_accuracy=True, verbose=False,
    )  # fmt: skip
    assert_equal_arrays(network2.load(model).weights, net.weights)
    lines = done.stdout.splitlines()
    assert f"accuracy on the validation images: {accuracy[-1] / len(validation[1]):.2%}" in (
        done.stdout
    )
    assert f"accuracy on the test images: {net.accuracy(test) / len(test[1]):.2%}" in lines
    assert "network [784, 800, 10]" in done.stderr


def test_other_options_have_precedence(mnist_folder, tmp_path):
    model = tmp_path / "m.json"
    done = train(
        mnist_folder, "--recipe", "simard-2003", "--epochs", 2, "--sizes", "784,20,10", "--dtype",
        "float64", "--no-deform", "--momentum", 0.5, "--no-nesterov", "--dropout", "0.1,0.5",
        "--max-norm", 2, "--init", "default", "--schedule", "cosine", "--eta", 0.06, "--save",
        model,
    )  # fmt: skip
    assert "network [784, 20, 10]" in done.stderr
    training, *_ = mnist_loader.load_data(mnist_folder, pixels=True)
    seed_both(3)
    net = network2.Network([784, 20, 10], activation="relu")
    net.SGD(training, 2, 50, 0.06, momentum=0.5, dropout=[0.1, 0.5], max_norm=2.0,
            schedule=schedules.Cosine(), verbose=False)  # fmt: skip
    assert_equal_arrays(network2.load(model).weights, net.weights)


@pytest.mark.parametrize("chapter", [1, 3])
def test_deformed_images_and_all_images(chapter, mnist_folder, tmp_path):
    """--deform with limits of one's own, on the validation images, too."""
    model, limits = tmp_path / "m", ("--rotation", 30, "--elastic", "0,1")
    more = ["--cost", "quadratic", "--init", "large"] if chapter == 3 else []
    done = train(mnist_folder, "--epochs", 2, "--final", *limits, *more, "--save", model)
    assert "validation" not in done.stdout
    inputs, labels = zip(*mnist_loader.load_data(mnist_folder, pixels=True)[:2], strict=True)
    both = Pixels(np.concatenate([X.array for X in inputs])), np.concatenate(labels)
    assert f"{len(both[1])} training and" in done.stderr
    seed_both(3)
    if chapter == 1:
        net, load = network.Network([784, 30, 10]), network.load
        net.SGD(both, 2, 10, 3.0, deform=dict(rotation=30, elastic=None), verbose=False)
    else:
        net, load = network2.Network([784, 30, 10], network2.QuadraticCost), network2.load
        net.large_weight_initializer()
        net.SGD(both, 2, 10, 0.5, deform=dict(rotation=30, elastic=None), verbose=False)
    assert_equal_arrays(load(model).weights, net.weights)


def test_a_recipe_can_be_resumed(mnist_folder, tmp_path, monkeypatch):
    """After Ctrl-C in an epoch: the weights are those of a run that was left alone."""
    common = "--recipe", "best-minute", "--epochs", 3
    train(mnist_folder, *common, "--save", tmp_path / "whole.json")
    real, epochs = network2.Network.accuracy, []

    def accuracy(self, data, convert=False):
        epochs.append(data)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(self, data, convert)

    options = *common, "--checkpoint", tmp_path / "c.npz", "--checkpoint-every", 1, "--resume"
    with monkeypatch.context() as patch:
        patch.setattr(network2.Network, "accuracy", accuracy)
        done = run_command("train", "--data", mnist_folder, "--seed", 3, *options)
        assert done.returncode == 130
    train(mnist_folder, *options, "--save", tmp_path / "resumed.json")
    whole, resumed = (network2.load(tmp_path / f"{name}.json") for name in ("whole", "resumed"))
    assert_equal_arrays(whole.weights, resumed.weights)


def test_outputs_as_the_data_need(mnist_folder, monkeypatch):
    sets = mnist_loader.synthetic(300, 50, 50, seed=1, pixels=True)
    monkeypatch.setattr(mnist_loader, "synthetic", lambda **options: sets)
    for _, labels in sets:
        labels[0] = 11
    done = run_command(
        "train", "--data", "synthetic", "--recipe", "best-seconds", "--epochs", 1, "--quiet"
    )
    assert done.returncode == 0, done.stderr
    assert "network [784, 100, 12]" in done.stderr


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("invalid choice: 'simard'", ["--recipe", "simard"]),
        ("nesterov goes with a momentum, which is 0; that is the recipe's, --no-nesterov has "
         "precedence", ["--recipe", "simard-2003", "--momentum", 0]),
        ("expected 2: one for each layer but the output layer; that is the recipe's, --dropout has "
         "precedence", ["--recipe", "dropout-3x1024", "--sizes", "784,20,10"]),
        ("early_stopping is -1, expected at least 0", ["--data", "none", "--early-stopping", -1]),
        ("rotation is 400.0, expected 0..180 degrees", ["--rotation", 400]),
        ("--scale goes with --deform, not with --no-deform", ["--no-deform", "--scale", 3]),
        ("dropout has 3 numbers, expected 2", ["--dropout", "0.1,0.2,0.3"]),
        ("'a,b', expected e.g. 0.5, or 0.1,0.5", ["--dropout", "a,b"]),
        ("max_norm is 0.0", ["--max-norm", 0]),
        ("--early-stopping needs validation images", ["--final", "--early-stopping", 3]),
        ("--schedule halve needs validation images", ["--final", "--schedule", "halve"]),
    ],
    ids=str,
)  # fmt: skip
def test_errors_are_one_line(message, arguments):
    assert message in refused("train", *arguments)


# ------------------------------------------------ the bench


def test_the_benchs_seconds_to_a_goal():
    from bench import recipes

    curve = [(10.0, 2.0, 1.7), (20.0, 1.8, 1.6), (30.0, 1.6, 1.48)]
    assert recipes._seconds_to(98.4, curve) == "20"  # 100 - 98.4 is less than 1.6 in floats
    assert recipes._seconds_to(99, curve) == "-"


def test_the_benchs_table_and_picture(mnist_folder, tmp_path, monkeypatch):
    """Runs replace those of the same recipe and seed; those of other numbers of epochs stay out."""
    from bench import pictures, recipes

    monkeypatch.setattr(recipes, "RESULTS", tmp_path)
    short = {name: dataclasses.replace(recipe, epochs=2) for name, recipe in RECIPES.items()}
    monkeypatch.setattr(recipes, "RECIPES", short)
    data = mnist_loader.load_data(mnist_folder, pixels=True)
    options = argparse.Namespace(final=False, epochs=1, minutes=None, threads=1)
    recipes._keep(recipes.train("best-seconds", 1, options, data))
    options.epochs = None
    for seed in (1, 2, 1):
        run = recipes.train("best-seconds", seed, options, data)
        recipes._keep(run)
    seed_both(1)
    net = RECIPES["best-seconds"].network(threads=1)
    net.SGD(data[0], **RECIPES["best-seconds"].arguments(2), verbose=False)
    n = len(data[2][1])
    assert run["curve"][-1][2] == pytest.approx(100 - 100 * net.accuracy(data[2]) / n, abs=1e-4)
    options.final, options.minutes = True, 0.0
    final = recipes.train("simard-2003", 1, options, data)
    assert [error for _, error, _ in final["curve"]] == [None]
    recipes._keep(final)
    options.final = False
    recipes._keep(recipes.train("best-seconds", 1, options, data))  # shorter: it is not kept
    runs = json.loads((tmp_path / "recipes.json").read_text())
    assert [(r["name"], r["seed"], r["epochs"]) for r in runs] == [
        ("best-seconds", 1, 1), ("best-seconds", 2, 2), ("best-seconds", 1, 2),
        ("simard-2003", 1, 2),
    ]  # fmt: skip
    lines = recipes.table(runs).splitlines()
    assert len(lines) == 4
    cells = [line.split(" | ") for line in lines]
    assert cells[2][:5] == ["| simard-2003", "784-800-10", "60,000", "1 of 2", "1"]
    assert cells[3][:5] == ["| best-seconds", "784-100-10", "50,000", "2", "2"]
    picture = tmp_path / "p.png"
    pictures.recipes(recipes._groups(runs), picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
