"""What is shown of objects: lines of text, tables in notebooks, and the progress bar there."""

import base64
import contextlib
import re
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest

import fastbp
from fastbp import network, network2
from fastbp.training.monitoring import progress_bar


def cells(shown):
    """Return the rows of texts of an HTML table, the header first; it is well-formed."""
    table = xml.etree.ElementTree.fromstring(re.search("<table>.*</table>", shown, re.S).group())
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def caption(shown):
    return re.search("<caption[^>]*>(.*)</caption>", shown).group(1)


# ------------------------------------------------ networks


def test_chapter_1():
    net = network.Network([784, 30, 10])
    n = sum(a.size for a in (*net.weights, *net.biases))
    assert repr(net) == (
        f"<Network [784, 30, 10]: sigmoid, sigmoid; quadratic cost; {n:,} parameters; float64>"
    )
    assert caption(net._repr_html_()) == f"Network: quadratic cost, {n:,} parameters, float64"
    assert cells(net._repr_html_()) == [
        ["layer", "neurons", "activation", "parameters"],
        ["input", "784", "", ""],
        ["hidden 1", "30", "sigmoid", f"{net.weights[0].size + 30:,}"],
        ["output", "10", "sigmoid", f"{net.weights[1].size + 10:,}"],
    ]


def test_chapter_3():
    net = network2.Network(
        [4, 3, 2], cost=network2.LogLikelihoodCost, activation="relu", dtype=np.float32
    )
    assert repr(net) == (
        "<Network [4, 3, 2]: relu, softmax; LogLikelihoodCost; 23 parameters; float32>"
    )
    assert cells(net._repr_html_())[-1] == ["output", "2", "softmax", "8"]


def test_a_subclass_is_shown_by_its_own_name_and_an_overridden_cost_as_such():
    class Mine(network.Network):
        def cost_derivative(self, output_activations, y):
            return 3 * (output_activations - y)

    class OwnCost(network2.QuadraticCost):
        pass

    assert repr(Mine([2, 1])) == "<Mine [2, 1]: sigmoid; a cost of its own; 3 parameters; float64>"
    assert "; OwnCost; " in repr(network2.Network([2, 1], cost=OwnCost()))


def test_a_deep_network_is_shortened():
    net = network2.Network([5] * 40)
    assert len(repr(net)) < 300
    rows = cells(net._repr_html_())
    assert len(rows) < 20
    assert rows[-1] == ["output", "5", "sigmoid", "30"]


class Hostile:
    """An object that raises whatever is done with it."""

    def __getattribute__(self, name):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __iter__ = __len__ = __int__ = __repr__


@pytest.mark.parametrize("value", [None, 3, "abc", [], [None], [2, "x"], "<b>", Hostile])
@pytest.mark.parametrize("attribute", ["sizes", "activations", "cost", "dtype", "weights", None])
@pytest.mark.parametrize("chapter", [network, network2])
def test_a_network_with_anything_assigned_is_shown(chapter, attribute, value):
    for net in (chapter.Network([3, 2, 1]), chapter.Network.__new__(chapter.Network)):
        if attribute is not None:
            setattr(net, attribute, Hostile() if value is Hostile else value)
        assert repr(net).startswith("<Network ")
        assert "\n" not in repr(net)
        assert cells(net._repr_html_())[0][0] == "layer"


def test_no_html_of_the_users_gets_into_the_table():
    net = network2.Network([3, 2, 1])
    net.activations = ("<script>", "&")
    assert cells(net._repr_html_())[2][2] == "<script>"
    assert "<script>" not in net._repr_html_()


# ------------------------------------------------ the history


def history_of(n, **figures):
    history = fastbp.History()
    for epoch in range(n):
        history({"epoch": epoch, "eta": 3.0, **figures})
    return history


def test_a_history_is_shown_as_a_table_of_the_last_epochs_and_its_plot():
    history = history_of(25, test_accuracy=90, n_test=100)
    shown = history._repr_html_()
    assert caption(shown) == "History of 25 epochs, the last 10"
    header, *rows = cells(shown)
    assert header == ["epoch", "eta", "test_accuracy", "n_test"]
    assert rows == [[str(epoch), "3", "90", "100"] for epoch in range(15, 25)]
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    assert base64.b64decode(picture).startswith(b"\x89PNG\r\n")


def test_a_history_without_anything_to_draw_is_a_table():
    assert "<img" not in history_of(3)._repr_html_()
    assert cells(history_of(3)._repr_html_())[1:] == [["0", "3"], ["1", "3"], ["2", "3"]]
    assert caption(fastbp.History()._repr_html_()) == "History of 0 epochs"


def test_a_history_is_a_table_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    shown = history_of(2, test_accuracy=9, n_test=10)._repr_html_()
    assert "<img" not in shown
    assert len(cells(shown)) == 3


# ------------------------------------------------ the progress bar


@pytest.mark.parametrize("widgets", [True, False])
def test_a_bar_in_a_notebook_that_shows_widgets_and_lines_in_others(widgets, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", object())
    monkeypatch.setattr(progress_bar, "_has_widgets", lambda: widgets)
    monkeypatch.setattr(progress_bar, "_tqdm", lambda: Bar)
    for progress, wanted in ((None, widgets), (True, True), (False, False)):
        with progress_bar.progress_bar(progress, 10) as bar:
            assert isinstance(bar, Bar) == wanted


class Bar(contextlib.nullcontext):
    """Stands for tqdm."""

    n = 0

    def __init__(self, **options):
        super().__init__(self)


def test_a_run_that_ends_early_is_no_error_to_the_bar(monkeypatch):
    """A bar that is not at its end stays in a notebook, in red."""
    monkeypatch.setattr(progress_bar, "_tqdm", lambda: Bar)
    with progress_bar.progress_bar(True, 10) as bar:
        bar.n, bar.total = 4, 10
    assert bar.total == 4
    with contextlib.suppress(KeyboardInterrupt), progress_bar.progress_bar(True, 10) as bar:
        bar.n, bar.total = 4, 10
        raise KeyboardInterrupt
    assert bar.total == 10


def test_no_warning_where_ipywidgets_is_missing():
    """The real tqdm, in a process that looks like the kernel of a notebook to it."""
    code = """
import sys, types, warnings
warnings.simplefilter("error")
shell = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipykernel.zmqshell"], sys.modules["ipywidgets"] = shell, None
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: shell
from fastbp.training.monitoring import progress_bar
progress_bar.BAR_DELAY = 0
with progress_bar.progress_bar(True, 3) as bar:
    bar.update(3)
    bar.write("a line")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "a line\n"), run.stderr
    assert "images" in run.stderr
    assert "Warning" not in run.stderr


NOTEBOOK = """
import fastbp, numpy as np
data = np.random.rand(3000, 784), np.arange(3000) % 10
net, history = fastbp.Network([784, 10]), fastbp.History()
net
---
from fastbp.training.monitoring import progress_bar
progress_bar.BAR_DELAY = 1e-9
net.SGD(data, 2, 10, 0.1, test_data=data, callback=history)
---
history
"""


@pytest.mark.slow
def test_a_real_notebook():
    """Executed by a real kernel, with ipywidgets."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("ipywidgets")
    sources = NOTEBOOK.split("---\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in sources])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    shown, trained, history = (cell.outputs for cell in book.cells)
    assert cells(shown[0].data["text/html"])[-1] == ["output", "10", "sigmoid", "7,850"]
    assert "image/png" in history[0].data["text/html"]
    streams = {o.name: o.text for o in trained if o.output_type == "stream"}
    assert set(streams) == {"stdout"}
    widgets = [o for o in trained if o.output_type == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in widgets[0].data
