"""Recipes: what they say, the command that trains them, their curves and pictures."""

import csv
import dataclasses
import pickle
import sys

import numpy as np
import pytest
from helpers import assert_equal_arrays, refused, run_command, seed_both

from fastbp import network2
from fastbp.recipes import RECIPES
from fastbp.report import recipe_curves


@dataclasses.dataclass(frozen=True)
class Deformation:
    """A stand-in: it brightens images by an amount that follows from seed and epoch."""

    elastic: tuple | None = None
    rotation: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    halved: tuple = ()

    def apply(self, images, labels, seed, epoch, out=None, threads=None):
        return images + np.uint8((seed + epoch) % 5)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr("fastbp.training.deformation.Deformation", Deformation)


# ------------------------------------------------ values


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_sgd_takes(name, rng):
    """Trained for an epoch on a few images; and it can be pickled."""
    recipe = pickle.loads(pickle.dumps(RECIPES[name]))
    assert recipe == RECIPES[name]
    seed_both()
    net = recipe.network()
    assert (net.sizes, net.dtype) == (list(recipe.sizes), np.float32)
    assert net.activations[:-1] == ("relu",) * (len(recipe.sizes) - 2)
    assert not any(b.any() for b in net.biases)
    before = net.weights[0].copy()
    data = rng.random((20, 784), np.float32), rng.integers(10, size=20)
    net.SGD(data, **recipe.arguments(epochs=1), verbose=False)
    assert np.isfinite(net.weights[0]).all()
    assert not np.array_equal(net.weights[0], before)


def test_they_are_complete():
    assert set(RECIPES) == {
        "784-800-10", "best-seconds", "best-minute", "784-1000-500-10", "dropout-3x1024",
        "plain-800", "plain-30", "plain-100", "ciresan-2010-4",
    }  # fmt: skip
    for name, recipe in RECIPES.items():
        assert (recipe.paper is None) == (not recipe.source), name
        assert recipe.arguments()["epochs"] == recipe.epochs
        with pytest.raises(dataclasses.FrozenInstanceError):
            recipe.eta = 1.0
    with pytest.raises(TypeError):
        RECIPES["mine"] = recipe


# ------------------------------------------------ the command


def test_the_list():
    lines = run_command("recipe").stdout.splitlines()
    assert lines[0].split() == ["recipe", "network", "epochs", "deformed", "paper"]
    assert [line.split()[0] for line in lines[1:]] == list(RECIPES)
    (line,) = [line for line in lines if line.startswith("784-800-10 ")]
    assert line.split() == ["784-800-10", "784-800-10", "100", "yes", "0.70", "%", "Simard,",
                            "Steinkraus", "and", "Platt", "2003"]  # fmt: skip


def command(*more, folder):
    return run_command("recipe", "plain-30", "--data", folder, "--epochs", 3, *more)


def test_train_save_and_curve(mnist_folder, tmp_path, raw):
    """What is printed and written is what the same calls of the library give."""
    model, curve = tmp_path / "m.json", tmp_path / "c.csv"
    done = command("--seeds", 2, "--save", model, "--curve", curve, folder=mnist_folder)
    assert done.returncode == 0, done.stderr
    with open(curve, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["recipe"], row["seed"], row["epoch"]) for row in rows] == [
        ("plain-30", seed, epoch) for seed in "12" for epoch in "012"
    ]
    seconds = [float(row["seconds"]) for row in rows[:3]]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < 60

    from fastbp import mnist_loader

    training, validation, test = mnist_loader.load_data(mnist_folder, pixels=True)
    ends, nets = [rows[2], rows[5]], []
    for seed, end in zip((1, 2), ends, strict=True):
        seed_both(seed)
        net = RECIPES["plain-30"].network()
        net.SGD(training, **RECIPES["plain-30"].arguments(3), verbose=False)
        nets.append(net)
        for name, data in (("validation_error", validation), ("test_error", test)):
            wanted = 100 - 100 * net.accuracy(data) / len(data[1])
            assert float(end[name]) == pytest.approx(wanted, abs=1e-4)
    best = min((0, 1), key=lambda i: float(ends[i]["validation_error"]))
    assert_equal_arrays(network2.load(model).weights, nets[best].weights)

    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "epoch 0", "epoch 1", "epoch 2", "seed 1", "epoch 0", "epoch 1", "epoch 2", "seed 2",
        "mean of 2 seeds", "the book, chapter 3 (regularised cross-entropy)",
    ]  # fmt: skip
    mean = (float(ends[0]["test_error"]) + float(ends[1]["test_error"])) / 2
    assert lines[-2].endswith(f"test error {mean:.3f} %")
    assert lines[-1].endswith("test error 3.51 %")
    assert f"plain-30 on {len(training[1])} images of " in done.stderr


def test_final_trains_on_the_validation_images(mnist_folder, tmp_path):
    curve, model = tmp_path / "c.csv", tmp_path / "m.json"
    done = command("--final", "--quiet", "--curve", curve, "--save", model, folder=mnist_folder)
    assert done.returncode == 0, done.stderr
    assert "validation" not in done.stdout
    assert done.stdout.startswith("seed 1: test error ")
    assert {row["recipe"] for row in recipe_curves.read(curve)} == {"plain-30"}

    from fastbp import mnist_loader

    training, validation, _ = mnist_loader.load_data(mnist_folder)
    both = tuple(np.concatenate(parts) for parts in zip(training, validation, strict=True))
    assert f" on {len(both[1])} images" in done.stderr
    seed_both(1)
    net = RECIPES["plain-30"].network()
    net.SGD(both, **RECIPES["plain-30"].arguments(3), verbose=False)
    assert_equal_arrays(network2.load(model).weights, net.weights)


def test_deformed_and_on_synthetic_digits(monkeypatch, tmp_path):
    from fastbp import mnist_loader

    sets = mnist_loader.synthetic(300, 50, 50, seed=1, pixels=True)
    monkeypatch.setattr(mnist_loader, "synthetic", lambda **options: sets)
    done = run_command("recipe", "best-seconds", "--data", "synthetic", "--epochs", 2, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed 1: validation error ")
    assert done.stdout.count("\n") == 1  # there is no paper


def test_after_ctrl_c_the_curve_is_there(mnist_folder, tmp_path, monkeypatch):
    real, epochs = network2.Network.accuracy, []

    def accuracy(self, data, convert=False):
        epochs.append(data)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return real(self, data, convert)

    monkeypatch.setattr(network2.Network, "accuracy", accuracy)
    curve = tmp_path / "c.csv"
    done = command("--final", "--curve", curve, folder=mnist_folder)
    assert done.returncode == 130, done.stderr
    assert [row["epoch"] for row in recipe_curves.read(curve)] == [0, 1]


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("recipe is 'plain-31' (str), expected one of best-seconds, ", ["plain-31"]),
        ("seeds is 0, expected at least 1", ["plain-30", "--seeds", 0]),
        ("epochs is 0, expected at least 1", ["plain-30", "--epochs", 0]),
        ("does not exist", ["plain-30", "--curve", "no/c.csv"]),
        ("does not exist", ["plain-30", "--save", "no/m.json"]),
        ("use --seeds 1", ["plain-30", "--save", "m.json", "--final", "--seeds", 2]),
        ("expected a folder", ["plain-30", "--data", "nowhere"]),
        ("threads is 0", ["plain-30", "--threads", 0]),
        ("--plot has no curves", ["--plot", "p.png"]),
        ("expected no recipe before it: plain-30", ["plain-30", "--plot", "p.png", "c.csv"]),
        ("No such file", ["--plot", "p.png", "c.csv"]),
        ("expected at least one argument", ["--plot"]),
    ],
    ids=str,
)
def test_errors_are_one_line(message, arguments):
    assert message in refused("recipe", *arguments)


# ------------------------------------------------ curves and pictures


def rows_of(name, seed, errors):
    return [
        {"recipe": name, "seed": seed, "epoch": epoch, "seconds": 0.5 * (epoch + 1),
         "validation_error": "", "test_error": error}
        for epoch, error in enumerate(errors)
    ]  # fmt: skip


def test_the_picture(tmp_path, monkeypatch):
    """As many curves as runs, and a line for each paper; PNG and SVG."""
    from matplotlib.axes import Axes

    drawn, lines = [], []
    plot, axhline = Axes.plot, Axes.axhline
    monkeypatch.setattr(
        Axes, "plot", lambda self, *a, **k: drawn.append((a, k["label"])) or plot(self, *a, **k)
    )
    monkeypatch.setattr(
        Axes, "axhline", lambda self, y, **k: lines.append(y) or axhline(self, y, **k)
    )
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    recipe_curves.write(one, rows_of("plain-800", 1, [3, 2]) + rows_of("plain-800", 2, [3, 1.8]))
    recipe_curves.write(two, rows_of("best-minute", 1, [2, 1, 0.9]) + rows_of("mine", 1, [5]))
    for ending, magic in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        picture = tmp_path / f"p.{ending}"
        done = run_command("recipe", "--plot", picture, one, two)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert picture.read_bytes().startswith(magic)
    assert [label for _, label in drawn[:4]] == [
        "plain-800: 1.80 - 2.00 %", None, "best-minute: 0.90 %", "mine: 5.00 %",
    ]  # fmt: skip
    assert drawn[1][0] == ([0.5, 1.0], [3.0, 1.8])
    assert lines == [1.6] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line is not recipe,seed,epoch"),
        ("epoch,eta\n1,2\n", "its first line is not"),
        ("{header}\n", "has no epoch"),
        ("{header}\nplain-30,1,0,x,,2\n", "line 2 has no number"),
        ("{header}\nplain-30,1,0,1,,2\nplain-30,1\n", "line 3 has no number"),
        ("{header}\nplain-30,1,0,1,,200\n", "line 2 has a time or an error out of range"),
        ("{header}\nplain-30,1,0,nan,,2\n", "line 2 has a time or an error out of range"),
        ("{header}\nplain-30,1,0,1,,-1\n", "line 2 has a time or an error out of range"),
        ("\xff\xfe", "c.csv is no curve"),
    ],
)
def test_files_that_are_no_curves(text, message, tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(text.format(header=",".join(recipe_curves.COLUMNS)).encode("latin1"))
    assert message in refused("recipe", "--plot", tmp_path / "p.png", path)
    assert not (tmp_path / "p.png").exists()


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    recipe_curves.write(tmp_path / "c.csv", rows_of("mine", 1, [5]))
    line = refused("recipe", "--plot", tmp_path / "p.png", tmp_path / "c.csv")
    assert "--plot needs matplotlib: pip install 'fastbp[report]'" in line
