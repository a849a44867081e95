"""What a run tells: its lines, its callbacks after each epoch, and a History of all figures."""

import contextlib
import copy
import csv
import importlib.util
import os
import pathlib
import pickle
import re
import signal
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import assert_equal_arrays, columns, run_command, seed_both

import fastbp
from fastbp import History, network, network2
from fastbp.estimator import NetworkClassifier

SIZES, EPOCHS, ETA = [20, 8, 4], 3, 0.5
README = pathlib.Path(__file__).parents[1] / "README.md"


def samples(n=60, seed=5):
    rng = np.random.default_rng(seed)
    return rng.random((n, SIZES[0])), np.eye(SIZES[-1])[rng.integers(SIZES[-1], size=n)]


TRAINING, TEST = samples(), samples(30, 6)


class Own1(network.Network):
    """A network of the user's own, so that the reference path runs."""

    def backprop(self, x, y):
        return super().backprop(x, y)


class OwnCost(network2.QuadraticCost):
    """The same for chapter 3."""


CHAPTER_1 = {"chapter 1": network.Network, "chapter 1, own backprop": Own1}
CHAPTER_3 = {"chapter 3": network2.CrossEntropyCost, "chapter 3, own cost": OwnCost}
ALL = [*CHAPTER_1, *CHAPTER_3]
MONITORED = dict(
    monitor_evaluation_cost=True, monitor_evaluation_accuracy=True, monitor_training_cost=True,
    monitor_training_accuracy=True,
)  # fmt: skip


def new(kind):
    seed_both()
    if kind in CHAPTER_1:
        return CHAPTER_1[kind](list(SIZES))
    return network2.Network(list(SIZES), CHAPTER_3[kind])


def train(net, epochs=EPOCHS, data=TRAINING, seed=2, **how):
    """Train a network of either chapter; return what SGD returns."""
    if seed is not None:
        seed_both(seed)
    if isinstance(net, network.Network):
        return net.SGD(data, epochs, 7, ETA, TEST, **how)
    how = {"evaluation_data": TEST, **MONITORED, **how}
    return net.SGD(data, epochs, 7, ETA, 0.1, **how)


def parameters(net):
    return [array.copy() for array in net.weights + net.biases]


# ------------------------------------------------ figures


@pytest.mark.parametrize("kind", CHAPTER_1)
def test_figures_of_chapter_1(kind):
    net, history = new(kind), History()
    train(net, callback=history)
    names = ["epoch", "epochs", "eta", "samples", "seconds", "test_accuracy", "n_test"]
    assert history.columns == names
    assert history["epoch"] == [0, 1, 2]
    assert history["epochs"] == [3] * 3
    assert history["eta"] == [ETA] * 3
    assert history["samples"] == [60] * 3
    assert all(0 < seconds < 60 for seconds in history["seconds"])
    assert history["test_accuracy"] == net.history
    assert history["n_test"] == [30] * 3
    net.SGD(TRAINING, 1, 7, ETA, callback=history)
    assert list(history[-1]) == names[:5]  # without test data


@pytest.mark.parametrize("kind", CHAPTER_3)
def test_figures_of_chapter_3(kind):
    history = History()
    results = train(new(kind), callback=history, monitor_subset=20)
    for name, values in zip(network2.MONITORS, results, strict=True):
        assert history[name] == values
    assert history["n_evaluation"] == history["n_training"] == [20] * 3


def test_figures_are_those_that_are_measured(capsys):
    """What early stopping needs is among them; what is measured within an epoch is not."""
    history, net = History(), new("chapter 3")
    how = dict(stop_on="training_cost", early_stopping_n=5, monitor_every=3, callback=history)
    costs, *_ = net.SGD(TRAINING, 3, 7, ETA, 0.0, TEST, True, **how)
    assert history.columns[5:] == ["training_cost", "evaluation_cost"]
    assert len(costs) == 9
    assert history["evaluation_cost"] == costs[2::3]
    assert "training data" not in capsys.readouterr().out


def test_eta_is_the_one_that_the_epoch_was_trained_with(capsys):
    history, how = History(), dict(schedule=lambda epoch: 0.5 / (1 + epoch))
    train(new("chapter 3"), callback=history, **how)
    assert history["eta"] == [0.5, 0.25, 0.5 / 3]
    history, how = History(), dict(schedule="halve", early_stopping_n=1, stop_on="training_cost")
    new("chapter 3").SGD(TRAINING, 8, 7, 40.0, callback=history, **how)
    etas = [float(text) for text in re.findall("rate is now (.*)", capsys.readouterr().out)]
    assert len(etas) >= 2
    assert history["eta"][0] == 40.0
    changes = [b for a, b in zip(history["eta"], history["eta"][1:]) if a != b]
    assert changes == etas[: len(changes)]


@pytest.mark.parametrize("kind", ALL)
def test_a_callback_changes_nothing(kind, capsys):
    plain, watched = new(kind), new(kind)
    results, lines = train(plain), capsys.readouterr().out
    assert train(watched, callback=History()) == results
    assert capsys.readouterr().out == lines
    assert_equal_arrays(parameters(watched), parameters(plain))


@pytest.mark.parametrize("kind", ALL)
def test_when_it_is_called(kind, capsys, tmp_path):
    """After the lines and with the weights of the epoch, before the checkpoint of the epoch."""
    net, path, seen = new(kind), tmp_path / "run.npz", []

    def callback(figures):
        seen.append(path.exists())
        assert capsys.readouterr().out.startswith(f"Epoch {figures['epoch']}")
        if isinstance(net, network.Network):
            assert net.evaluate(TEST) == figures["test_accuracy"] == net.history[-1]
        else:
            assert net.total_cost(TEST, 0.1) == pytest.approx(figures["evaluation_cost"])

    train(net, callback=callback, checkpoint=path, checkpoint_every=1)
    assert seen == [False, True, True]


def test_a_list_of_callbacks_and_a_dictionary_for_each():
    first, last = History(), History()
    train(
        new("chapter 1"),
        callback=[first, dict.clear, lambda figures: figures.clear(), last],
        progress=True,
    )
    assert first == last
    assert len(first) == 3
    train(new("chapter 1"), callback=[])


# ------------------------------------------------ the end of a run


@pytest.mark.parametrize("answer", [True, np.True_])
@pytest.mark.parametrize("kind", ALL)
def test_a_callback_ends_the_run(kind, answer, capsys, tmp_path):
    net, history, path = new(kind), History(), tmp_path / "run.npz"
    how = dict(checkpoint=path, resume=True)
    train(net, callback=[lambda figures: answer and figures["epoch"] == 1, history], **how)
    lines = capsys.readouterr().out
    assert lines.endswith("A callback returned True: done\n")
    assert history["epoch"] == [0, 1]

    whole = new(kind)
    train(whole, 2)
    assert_equal_arrays(parameters(net), parameters(whole))
    capsys.readouterr()
    again = new(kind)
    train(again, epochs=5, callback=history, **how)  # as early stopping, it is for good
    assert capsys.readouterr().out == lines
    assert history["epoch"] == [0, 1]
    assert_equal_arrays(parameters(again), parameters(net))


@pytest.mark.parametrize("answer", [None, False, 1, "text", np.ones(3), [True]], ids=repr)
def test_other_answers_end_nothing(answer, capsys):
    history = History()
    train(new("chapter 1"), callback=[lambda figures: answer, history])
    assert len(history) == 3
    assert "callback" not in capsys.readouterr().out


class Unplugged(Exception):
    """What a callback raises."""


@pytest.mark.parametrize("kind", ALL)
def test_an_exception_keeps_the_weights_of_the_epoch(kind, tmp_path):
    net, path, history = new(kind), tmp_path / "run.npz", History()

    def callback(figures):
        if figures["epoch"] == 1 and len(history) == 2:
            raise Unplugged

    how = dict(callback=[history, callback], checkpoint=path, checkpoint_every=1, resume=True)
    with pytest.raises(Unplugged):
        train(net, **how)
    half, whole, resumed = new(kind), new(kind), new(kind)
    train(half, 2)
    assert_equal_arrays(parameters(net), parameters(half))
    train(whole)
    train(resumed, **how)  # from the checkpoint of the epoch before
    assert history["epoch"] == [0, 1, 1, 2]
    assert_equal_arrays(parameters(resumed), parameters(whole))


@pytest.mark.parametrize("kind", ALL)
def test_ctrl_c_waits_for_the_callback(kind, tmp_path, capsys):
    """Then the checkpoint is that of the epoch: each callback sees each epoch once."""
    path, before, after = tmp_path / "run.npz", History(), History()

    def interrupt(figures):
        if figures["epoch"] == 1 and len(before) == 2:
            signal.raise_signal(signal.SIGINT)

    how = dict(callback=[before, interrupt, after], checkpoint=path, resume=True)
    with pytest.raises(KeyboardInterrupt):
        train(new(kind), **how)
    assert before["epoch"] == after["epoch"] == [0, 1]
    resumed, whole = new(kind), new(kind)
    train(resumed, **(how | dict(callback=[before, after])))
    assert before["epoch"] == after["epoch"] == [0, 1, 2]
    train(whole)
    assert_equal_arrays(parameters(resumed), parameters(whole))


def test_a_second_ctrl_c_does_not_wait():
    history = History()

    def hang(figures):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it waited")

    with pytest.raises(KeyboardInterrupt):
        train(new("chapter 1"), callback=[history, hang])
    assert len(history) == 1


# ------------------------------------------------ callbacks that change the weights


@pytest.mark.parametrize("form", ["in place", "new lists"])
@pytest.mark.parametrize("kind", ALL)
def test_the_next_epoch_goes_on_from_changed_weights(kind, form):
    def change(net):
        if form == "in place":
            net.weights[0][:, 3] = 0.25
        else:
            net.weights = [w / 2 for w in net.weights]
            net.biases = [b + 1 for b in net.biases]

    one, other = new(kind), new(kind)
    pairs = columns(*TRAINING), columns(*TRAINING)
    train(one, 2, pairs[0], callback=lambda figures: change(one))
    for seed in (2, None):
        train(other, 1, pairs[1], seed)
        change(other)
    assert_equal_arrays(parameters(one), parameters(other))


@pytest.mark.parametrize("kind", ALL)
def test_weights_of_a_callback_that_are_not_finite(kind):
    net = new(kind)

    def spoil(figures):
        net.weights[1][0, 0] = np.nan

    with pytest.raises(ValueError, match=r"weights\[1\]"):
        train(net, callback=spoil)
    train(new(kind), callback=spoil, on_divergence="continue")


# ------------------------------------------------ lines


@pytest.mark.parametrize("progress", [None, False, True])
@pytest.mark.parametrize("kind", ALL)
def test_verbose_false_prints_nothing(kind, progress, capsys):
    loud, silent = new(kind), new(kind)
    results, lines = train(loud, verbose=True), capsys.readouterr().out
    assert train(silent, verbose=False, progress=progress) == results
    assert lines
    assert capsys.readouterr().out == ""
    assert_equal_arrays(parameters(silent), parameters(loud))


@pytest.mark.parametrize("kind", ALL)
def test_a_checkpoint_keeps_the_lines_that_were_not_printed(kind, capsys, tmp_path):
    train(new(kind))
    lines = capsys.readouterr().out
    how = dict(checkpoint=tmp_path / "run.npz", resume=True)
    train(new(kind), 1, verbose=False, **how)
    train(new(kind), 2, verbose=False, **how)
    assert capsys.readouterr().out == ""
    train(new(kind), **how)
    assert capsys.readouterr().out == lines


@pytest.mark.parametrize("kind", ["chapter 1", "chapter 3"])
def test_resume_calls_for_the_epochs_that_are_trained_now(kind, tmp_path):
    history, how = History(), dict(checkpoint=tmp_path / "run.npz", resume=True)
    train(new(kind), 2, **how)
    train(new(kind), 4, callback=history, **how)
    assert history["epoch"] == [2, 3]
    train(new(kind), 4, callback=history, **how)
    assert len(history) == 2


@pytest.mark.parametrize("more", [[], ["--cost", "cross-entropy"]], ids=["chapter 1", "chapter 3"])
def test_quiet_on_the_command_line(more, mnist_folder):
    command = ["train", "--data", mnist_folder, "--sizes", "784,5,10", "--epochs", "2", "--seed", 1]
    loud, quiet = run_command(*command, *more), run_command(*command, *more, "--quiet")
    assert quiet.returncode == 0, quiet.stderr
    assert "Epoch 1" in loud.stdout
    assert "Epoch" not in quiet.stdout
    (result,) = re.findall("^accuracy on the test images.*$", loud.stdout, re.MULTILINE)
    assert result in quiet.stdout


# ------------------------------------------------ bad input


@pytest.mark.parametrize("kind", ["chapter 1", "chapter 3"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(callback=3), r"callback is 3 \(int\), expected a function of a dictionary, or a"),
        (dict(callback="print"), r"callback is 'print' \(str\), expected a function"),
        (dict(callback={"a": print}), r"callback is .* \(dict\), expected a function"),
        (dict(callback=[print, None]), r"callback\[1\] is None \(NoneType\), expected a function"),
        (dict(verbose=1), r"verbose is 1 \(int\), expected True or False"),
        (dict(verbose=None), r"verbose is None \(NoneType\), expected True or False"),
    ],
    ids=repr,
)
def test_bad_arguments(kind, how, message):
    net = new(kind)
    before = parameters(net)
    with pytest.raises(TypeError, match=message):
        train(net, **how)
    assert_equal_arrays(parameters(net), before)


# ------------------------------------------------ History


@pytest.fixture
def history():
    """Return the history of four epochs of chapter 3."""
    history = History()
    train(new("chapter 3"), 4, callback=history, verbose=False)
    return history


def test_it_is_a_sequence_of_dictionaries(history):
    assert len(history) == 4
    assert history[1]["epoch"] == 1
    assert [figures["epoch"] for figures in history] == [0, 1, 2, 3]
    assert history[-1] in history
    tail = history[2:]
    assert isinstance(tail, History)
    assert tail["epoch"] == [2, 3]
    assert (history[:2] + tail) == history
    assert repr(history) == "<History of 4 epochs>"
    assert repr(history[:1]) == "<History of 1 epoch>"
    assert pd.DataFrame(history).training_cost.tolist() == history["training_cost"]


def test_columns(history):
    history({"epoch": 4, "loss": 1.0})
    assert history["loss"] == [None] * 4 + [1.0]
    assert history["training_cost"][4] is None
    assert history.columns[-1] == "loss"
    with pytest.raises(KeyError, match="no column 'los'; its columns: epoch, epochs, eta"):
        history["los"]
    with pytest.raises(KeyError, match="no column 'eta'; its columns: none yet"):
        History()["eta"]


def test_copies_and_pickles(history):
    for copied in (copy.copy(history), copy.deepcopy(history), history.copy(),
                   pickle.loads(pickle.dumps(history)), History(history)):  # fmt: skip
        assert copied == history
        assert isinstance(copied, History)
        copied({"epoch": 4})
        assert len(history) == 4


def test_csv(history, tmp_path):
    path = tmp_path / "run.csv"
    history({"epoch": 4, "loss": np.float32(0.1)})
    history.to_csv(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == history.columns
    for row, figures in zip(rows, history, strict=True):
        for name, text in row.items():
            assert text == str(figures.get(name, ""))
    read = pd.read_csv(path)
    assert read.evaluation_cost.tolist()[:4] == history["evaluation_cost"][:4]
    assert not list(tmp_path.glob(".fastbp*"))


def test_a_csv_file_that_cannot_be_written(history, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        history.to_csv(tmp_path / "missing" / "run.csv")
    path = tmp_path / "run.csv"
    path.write_text("before")
    for write in (History().to_csv, History().plot):
        with pytest.raises(ValueError, match=r"empty, expected .*: call SGD with callback=history"):
            write(path)
    assert path.read_text() == "before"


# ------------------------------------------------ the picture


def test_plot(history, tmp_path):
    figure = history.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    accuracy, cost = figure.axes
    assert accuracy.get_title(loc="left") == "Accuracy, %"
    assert cost.get_title(loc="left") == "Cost"
    curves = {line.get_label().split(":")[0]: line.get_ydata() for line in accuracy.lines}
    np.testing.assert_allclose(curves["training"], np.array(history["training_accuracy"]) / 0.6)
    curves = {line.get_label().split(":")[0]: line.get_ydata() for line in cost.lines}
    assert list(curves["evaluation"]) == history["evaluation_cost"]
    labels = [text.get_text() for text in cost.get_legend().get_texts()]
    best = int(np.argmin(history["evaluation_cost"]))
    assert re.fullmatch(rf"evaluation: best \d.*, epoch {best}", labels[1])


def test_plot_of_chapter_1_in_another_format(tmp_path):
    history = History()
    for _ in range(2):  # epochs are counted on
        train(new("chapter 1"), callback=history, verbose=False)
    (axis,) = history.plot(tmp_path / "run.svg").axes
    assert b"<svg" in (tmp_path / "run.svg").read_bytes()
    assert list(axis.lines[-1].get_xdata()) == [0, 1, 2, 3, 4, 5]
    history.plot(str(tmp_path / "run"))
    assert (tmp_path / "run").read_bytes().startswith(b"\x89PNG")


def test_plot_of_costs_that_are_not_finite(tmp_path):
    history = History(
        {"epoch": i, "training_cost": cost}
        for i, cost in enumerate([2.0, np.inf, np.nan, 1.0, None])
    )
    (axis,) = history.plot(tmp_path / "run.png").axes
    assert axis.get_legend().get_texts()[0].get_text() == "training: best 1, epoch 3"
    History([{"epoch": 0, "training_cost": np.nan}]).plot(tmp_path / "run.png")


def test_what_cannot_be_drawn(history, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="call SGD with test_data, or in network2 with monitor_"):
        History([{"epoch": 0, "eta": 1.0}]).plot()
    with pytest.raises(ValueError, match="not supported"):
        history.plot(tmp_path / "run.bmp2")
    assert not list(tmp_path.glob("*run*"))
    assert not list(tmp_path.glob(".fastbp*"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib: pip install 'fastbp\[report\]'$"):
        history.plot()


# ------------------------------------------------ the README


def run_readme():
    """Run the README's code about callbacks as it stands there; return its names."""
    (code,) = re.findall(r"  ```python\n(  # writer.*?)  ```\n", README.read_text(), re.DOTALL)
    code = "".join(line[2:] for line in code.splitlines(keepends=True))
    assert len(code.splitlines()) <= 12
    names = dict(fastbp=fastbp, net=new("chapter 1"), training_data=TRAINING, test_data=TEST)
    exec(compile(code, README, "exec"), names)
    return names


@pytest.fixture
def readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return run_readme()


def test_readme_history(readme, tmp_path):
    assert readme["history"]["test_accuracy"] == readme["net"].history
    assert len(pd.read_csv(tmp_path / "run.csv")) == 30
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore")  # of other packages
@pytest.mark.parametrize("library", ["tensorboardX", "torch.utils.tensorboard"])
def test_readme_tensorboard(readme, tmp_path, library):
    writers = pytest.importorskip(library, reason=f"{library} is not installed")
    readme["writer"] = writers.SummaryWriter(str(tmp_path / "runs"))
    history = History()
    train(readme["net"], callback=[readme["to_tensorboard"], history])
    readme["writer"].close()
    (file,) = (tmp_path / "runs").iterdir()
    content = file.read_bytes()
    tags = records(content, event_class())
    for name in history.columns:
        assert tags[name] == [(i, np.float32(value)) for i, value in enumerate(history[name])]


def event_class():
    """Return the class of TensorBoard's events."""
    with contextlib.suppress(ImportError):
        from tensorboardX.proto.event_pb2 import Event

        return Event
    from tensorboard.compat.proto.event_pb2 import Event

    return Event


def records(content, event_class):
    """Return {name: [(step, value), ...]} of a file of TFRecords of events."""
    tags = {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event, content = event_class.FromString(content[12 : 12 + length]), content[16 + length :]
        for value in event.summary.value:
            tags.setdefault(value.tag, []).append((event.step, np.float32(value.simple_value)))
    return tags


@pytest.mark.filterwarnings("ignore:max_iter=3 epochs are done")
def test_plot_of_an_estimator(tmp_path):
    """Its losses, of which the least is best, and its scores."""
    X, y = np.random.default_rng(1).random((60, 5)), np.arange(60) % 3
    history = History()
    NetworkClassifier((4,), max_iter=3, callback=history).fit(X, y, eval_set=(X, y))
    figure = history.plot(tmp_path / "p.png")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Loss", "Score"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels[0].startswith(f"loss: best {min(history['loss']):.4g}, epoch ")
    scores = figure.axes[1].lines[-1].get_ydata()
    np.testing.assert_allclose(scores, history["validation_score"])


MLFLOW = """
import mlflow, test_history
names, history = test_history.run_readme(), test_history.History()
names["mlflow"] = mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
with mlflow.start_run() as run:
    test_history.train(names["net"], callback=[names["to_mlflow"], history])
for name in history.columns:
    found = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    assert [(m.step, m.value) for m in found] == list(enumerate(history[name])), name
print("logged", len(history))
"""


def test_readme_mlflow(tmp_path):
    """In a process of its own: mlflow starts threads, and warns of others' deprecations."""
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed")
    folder = pathlib.Path(__file__).parent
    paths = os.pathsep.join([str(folder), str(folder.parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", MLFLOW], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": paths, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("logged 3\n")
