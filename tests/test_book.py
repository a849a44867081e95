"""The book's table: its rows, what is quoted of a run, the Markdown, the picture."""

import builtins
import dataclasses
import itertools
import re
import struct

import numpy as np
import pytest
from helpers import refused, run_command, seed_both

from fastbp import expand_mnist, network2
from fastbp.cli import book
from fastbp.recipes import RECIPES
from fastbp.report import learning_curves


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)

    def part(n):
        X = (rng.random((n, 784)) < 0.2).astype(np.float32)
        return X, X[:, :700].reshape(n, 10, 70).sum(axis=2).argmax(axis=1)

    return part(300), part(50), part(60)


def test_every_row_of_the_book_is_there():
    percents = [percent for row in book.ROWS for _, percent in row.reported]
    assert len(book.ROWS) == len({row.name for row in book.ROWS}) == 31
    wanted = (95.42, 96.59, 11.39, 21.42, 95.49, 96.82, 82.27, 87.1, 95.33, 96.49, 97.92, 98.04)
    wanted += (
        98.4,
        98.9,
        99.3,
        92.7,
        96.5,
        86.43,
        96.37,
        69.09,
        95.97,
        96.48,
        96.9,
        96.57,
        96.53,
        97.8,
    )
    assert set(wanted) <= set(percents)
    assert {row.chapter for row in book.ROWS} == {1, 3, 5, 6}


@pytest.mark.parametrize(
    "name", ["chapter1-30", "cross-entropy-30", "overfitting-lmbda-0.1", "softmax"]
)
def test_a_row_runs_and_quotes_what_it_says(name, sets):
    (row,) = book.select_rows(row=name)
    row = dataclasses.replace(
        row, epochs=4, reported=(*row.reported, ("first", 0.0), ("last", 0.0))
    )
    ticks = []
    seen = book.run(row, sets, 1, on_epoch=lambda: ticks.append(1))
    assert len(ticks) == 4
    curve = seen["curves"][row.data]
    assert len(curve) == 4
    *_, first, last = seen["percent"]
    assert (first, last) == (curve[0], curve[-1])
    if row.reported[0][0] == "best":
        assert seen["percent"][0] == max(curve)
    again = book.run(row, sets, 1)
    assert again["curves"] == seen["curves"]
    assert book.run(row, sets, 2)["curves"] != seen["curves"]
    assert ("training_cost" in seen["curves"]) == row.curves


def test_at_best_validation_is_chosen_on_validation():
    curves = {"validation": [1.0, 9.0, 5.0], "test": [2.0, 3.0, 8.0]}
    assert book._reported("at best validation", curves, "test") == 3.0


def test_long_runs_are_evaluated_now_and_then(sets):
    (row,) = book.select_rows(row="images-100")
    assert row.evaluation_interval == 500
    row = dataclasses.replace(row, epochs=90)
    seen = book.run(row, sets, 1)
    assert len(seen["curves"]["validation"]) == 31  # after the first, and every third


def test_seconds_to_a_goal():
    row, other = book.select_rows(row="chapter1-30")[0], book.select_rows(row="fast")[0]
    curve = [*np.linspace(90, 98, 30)]
    done = {"seconds": 60.0, "curves": {"test": curve}}
    never = {"seconds": 1.0, "curves": {"test": [10.0] * 30}}
    assert book.seconds_to(97, row, [done, never]) == [2.0 * 27, None]
    row_now_and_then = dataclasses.replace(row, curves=False, epochs=90, reported=(("last", 1.0),))
    curve = [10.0, 20.0, 97.0, *[98.0] * 28]  # of epochs 1, 3, 6 ...
    now_and_then = {"seconds": 90.0, "curves": {"test": curve}}
    assert book.seconds_to(97, row_now_and_then, [now_and_then]) == [6.0]
    assert book.seconds_to(5, row_now_and_then, [now_and_then]) == [1.0]
    text = book.goals([row, other], {row.name: [done], other.name: [never]})
    assert text.splitlines()[0] == f"- 97 % of the test images after: 54.0 s, {row.text}"
    text = book.goals([other], {other.name: [never]})
    assert text.count("not reached with every seed") == 2


def test_chosen():
    assert {row.chapter for row in book.select_rows(chapter=5)} == {5}
    assert all(row.quick for row in book.select_rows(quick=True))
    with pytest.raises(
        ValueError,
        match=r"no row is 'luck', expected one of these \(chapter\): chapter1-30 \(1\), ",
    ):
        book.select_rows(row="luck")
    with pytest.raises(ValueError, match=r"no row of the quick set is of chapter 6, expected"):
        book.select_rows(chapter=6, quick=True)


@pytest.mark.slow
def test_expanded_and_deformed_images(sets):
    """The book's four displaced copies; a recipe's settings, of its deformations some."""
    seed_both()
    (row,) = book.select_rows(row="expanded-100")
    net = network2.Network([784, 100, 10])
    net.large_weight_initializer()
    net.SGD(expand_mnist.expand(sets[0]), 1, 10, row.eta, row.lmbda, verbose=False)
    curves = book.run(dataclasses.replace(row, epochs=1), sets, 1)["curves"]
    assert curves["test"] == [100 * net.accuracy(sets[2]) / len(sets[2][1])]
    assert " | - | " in book.table([row], {row.name: [{"percent": [50.0], "seconds": 1.0}]})

    for name, recipe, limits in (
        ("simard-plain", "plain-800", None),
        ("simard-affine", "simard-2003", dict(elastic=None)),
    ):
        seed_both()
        recipe = RECIPES[recipe]
        net = recipe.network()
        arguments = recipe.arguments(2)
        if limits:
            arguments["deform"] = arguments["deform"] | limits
        net.SGD(sets[0], **arguments, verbose=False)
        (row,) = book.select_rows(row=name)
        curves = book.run(dataclasses.replace(row, epochs=2), sets, 1)["curves"]
        assert curves["test"][-1] == 100 * net.accuracy(sets[2]) / len(sets[2][1])


@pytest.mark.slow
def test_table_and_picture(sets, tmp_path):
    rows = [
        dataclasses.replace(row, epochs=3)
        for row in book.select_rows()
        if row.name in ("fast", "overfitting-lmbda-0.0", "initialised-large", "images-200")
    ]
    done = []
    results = book.run_all(rows, sets, [1, 2], on_work=done.append)
    assert sum(done) == pytest.approx(2 * sum(row.work for row in rows))
    lines = book.table(rows, results).splitlines()
    assert len(lines) == 2 + sum(len(row.reported) for row in rows)
    for line in lines[2:]:
        assert re.fullmatch(r"\| \d \| .* \| .* \| [\d.]+ \| [\d.]+ \([\d.]+-[\d.]+\) \| .*", line)
    rates = book.learning_rates(sets, epochs=2)
    assert [len(costs) for costs in rates.values()] == [2, 2, 2]
    norms = book.gradient_norms(sets, epochs=3)
    assert np.shape(norms) == (3, 3)
    for count, gradients in enumerate((norms, None)):
        path = tmp_path / f"{count}.png"
        learning_curves.draw(results, rates, gradients, path)
        head = path.read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:])
        assert head.startswith(b"\x89PNG")
        assert width > 1000
        assert height > 500


def test_the_command_says_what_is_missing(mnist_folder, monkeypatch):
    assert "no row is 'x'" in refused("book", "--row", "x", "--data", mnist_folder)
    assert "seeds is 0" in refused("book", "--seeds", "0", "--data", mnist_folder)
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[report\]'"):
        learning_curves.pyplot()


def test_the_command_prints_saves_and_draws(mnist_folder, tmp_path):
    table, picture = tmp_path / "book.md", tmp_path / "book.png"
    arguments = ["book", "--row", "fast", "--seeds", "2", "--quick", "--data", mnist_folder]
    run = run_command(*arguments, "--save", table, "--pictures", picture)
    assert run.returncode == 0, run.stderr
    assert table.read_text() == run.stdout + "\n![learning curves](book.png)\n"
    assert "| 1 | [784, 30, 10], eta 100 | test, last | 10.09 |" in run.stdout
    assert picture.stat().st_size > 10_000
    assert list(itertools.islice(tmp_path.glob("*.tmp*"), 1)) == []
