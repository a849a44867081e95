"""fastbp report: the numbers of a page, its charts and learning curves, and the whole page."""

import base64
import html.parser
import itertools
import json
import re
import time

import numpy as np
import pytest
from helpers import refused, run_command, seed_both
from reference2 import FUNCTIONS

from fastbp import History, Pixels, network, network2
from fastbp.report import charts, figures, page, page_content, run_curves, sections

VOID = {"meta", "link", "br", "img", "input"}

# ------------------------------------------------ figures


def test_confusion_matrix():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    counts = figures.confusion_matrix(labels, predicted, np.arange(3))
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    precision, recall, f1 = figures.class_scores(counts)
    np.testing.assert_allclose(precision, [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(recall, [1 / 2, 1, 2 / 3])
    np.testing.assert_allclose(f1, [1 / 2, 2 / 3, 4 / 5])


def test_confusion_matrix_of_one_tanh_neuron():
    labels, predicted = np.array([-1, 1, 1]), np.array([-1, -1, 1])
    counts = figures.confusion_matrix(labels, predicted, np.array([-1, 1]))
    np.testing.assert_array_equal(counts, [[1, 0], [1, 1]])


@pytest.mark.parametrize(("n", "k"), [(0, 2), (1, 3), (500, 10), (40, 27)])
def test_scores_are_those_of_scikit_learn(rng, n, k):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    labels, predicted = rng.integers(0, k, n), rng.integers(0, k - 1, n)  # one is never predicted
    counts = figures.confusion_matrix(labels, predicted, np.arange(k))
    if n:
        theirs = metrics.confusion_matrix(labels, predicted, labels=np.arange(k))
        np.testing.assert_array_equal(counts, theirs)
        theirs = metrics.precision_recall_fscore_support(
            labels, predicted, labels=np.arange(k), zero_division=np.nan
        )
        np.testing.assert_allclose(figures.class_scores(counts), theirs[:3], rtol=1e-12)
    assert counts.sum() == n
    assert np.isnan(figures.class_scores(counts)[0][-1])  # 0 / 0, without a warning


def test_confident_mistakes():
    labels, predicted = np.array([0, 1, 2, 3, 4]), np.array([0, 2, 2, 0, 0])
    confidence = np.array([0.9, 0.2, 0.8, 0.7, 0.7])
    assert figures.confident_mistakes(labels, predicted, confidence, 9).tolist() == [3, 4, 1]
    assert figures.confident_mistakes(labels, predicted, confidence, 1).tolist() == [3]
    assert figures.confident_mistakes(labels, labels, confidence, 9).tolist() == []


def test_first_of_each_class():
    assert figures.first_of_each_class(np.array([2, 0, 2, 0, 5]), np.arange(4)) == [1, 0]


def test_saturated_neurons_of_one_layer():
    """Three neurons on two samples: z is 0 and 0, -3 and 3, -2 and 6."""
    X = np.array([[-1.0, 0.0], [1.0, 1.0]])
    w, b = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 8.0]]), np.array([[0.0], [0.0], [-2.0]])
    expected = {
        "sigmoid": [0, 1, 0.5], "tanh": [0, 1, 1], "relu": [1, 0.5, 0.5], "linear": [0, 0, 0]
    }  # fmt: skip
    for name, shares in expected.items():
        (found,) = figures.saturated_shares(X, [w], [b], [name])
        np.testing.assert_array_equal(found, shares, name)


@pytest.mark.parametrize("n", [1, figures.CHUNK, figures.CHUNK + 1])
def test_saturated_neurons_of_any_depth(rng, n):
    sizes, names = [6, 5, 4, 3, 2], ["tanh", "relu", "sigmoid", "softmax"]
    weights = [rng.normal(size=(b, a)) for a, b in itertools.pairwise(sizes)]
    biases = [rng.normal(size=(b, 1)) for b in sizes[1:]]
    X = rng.integers(0, 256, (n, 6), np.uint8)
    shares = figures.saturated_shares(Pixels(X), weights, biases, names)
    A = X / 256
    for found, w, b, name in zip(shares, weights, biases, names):
        A = FUNCTIONS[name](A @ w.T + b.T)
        low, high = {"tanh": (-0.9, 0.9), "relu": (1e-300, np.inf)}.get(name, (0.05, 0.95))
        np.testing.assert_allclose(found, ((low > A) | (high < A)).mean(axis=0), atol=1e-12)


def test_saturated_neurons_of_huge_weights():
    (found,) = figures.saturated_shares(
        np.ones((1, 2)), [np.array([[800.0, 0.0], [-800.0, 0.0]])], [np.zeros((2, 1))], ["sigmoid"]
    )
    assert found.tolist() == [1, 1]


def test_calls_per_second():
    calls = []

    def function():
        calls.append(time.sleep(0.01))

    assert 5 < figures.calls_per_second(function, 0.05) <= 100
    assert len(calls) >= 2
    assert figures.calls_per_second(lambda: None, 0) > 1000


# ------------------------------------------------ charts


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0, 29), (95.6, 98.4), (-3, 3), (5, 5), (0, 0), (-2, -2), (1e-9, 2e-9), (0, 1e12)],
)
def test_ticks(low, high):
    ticks = charts.nice_ticks(low, high)
    slack = 1e-12 * max(abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= charts.MOST_TICKS + 1
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    np.testing.assert_allclose(np.diff(ticks), step, rtol=1e-4)
    assert f"{step:.1e}"[:3] in ("1.0", "2.0", "5.0")


def test_ticks_of_any_numbers(rng):
    for low, span in zip(rng.normal(size=500) * 100, 10 ** rng.uniform(-6, 6, 500)):
        test_ticks(low, low + span)


def test_ticks_of_few_epochs_are_whole():
    assert charts.nice_ticks(0, 2, whole=True) == [0, 1, 2]


def paths(svg):
    """Return the points of each line of a chart, by name: a list of parts that are connected."""
    found = {}
    for name, path in re.findall(r'class="line (\w+)" d="([^"]*)"', svg):
        parts = [re.findall(r"[\d.]+ [\d.]+", part) for part in path.split("M")[1:]]
        found[name] = [[tuple(map(float, p.split())) for p in part] for part in parts]
    return found


def test_line_chart():
    nan = float("nan")
    svg = charts.line_chart("Cost", {"training": [0.0, 1.0, nan, 0.5], "test": [nan] * 4})
    left, right = charts.LEFT, charts.WIDTH - charts.RIGHT
    low, high = charts.HEIGHT - charts.BOTTOM, charts.TOP
    (first, second) = paths(svg)["training"]
    np.testing.assert_allclose(first, [(left, low), (left + (right - left) / 3, high)], atol=0.06)
    np.testing.assert_allclose(second, [(right, (low + high) / 2)], atol=0.06)
    assert paths(svg)["test"] == []
    assert 'aria-label="Cost: training: from 0 to 0.5"' in svg


def test_line_chart_of_one_epoch_is_a_dot():
    svg = charts.line_chart("Accuracy", {"test": [90.0]}, " %")
    assert re.search(r'd="M[\d.]+ [\d.]+h0"', svg)
    assert "from 90 % to 90 %" in svg


def test_confusion_table():
    table = charts.confusion_table(np.array([[8, 2], [1, 0]]), [0, 1])
    cells = re.findall(r"<td(?: class=\"(\w+)\" style=\"--share:([\d.]+)\")?>([^<]*)</td>", table)
    # The empty corner, then the rows; mistakes are relative to the row with the most of them.
    assert cells == [
        ("", "", ""), ("right", "0.80", "8"), ("wrong", "0.20", "2"), ("wrong", "1.00", "1"),
        ("", "", "·"),
    ]  # fmt: skip


# ------------------------------------------------ learning curves


def samples(n=20, n_in=784, n_out=10, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (n, n_in), np.uint8) * (rng.random((n, n_in)) < 0.2)
    return Pixels(X.astype(np.uint8)), np.arange(n) % n_out


def trained(chapter, tmp_path, **more):
    """Return (History, path of its csv file, path of the checkpoint) of three epochs."""
    seed_both()
    history, (X, labels) = History(), samples(n_in=20, n_out=4)
    how = dict(callback=history, checkpoint=tmp_path / "run.npz", verbose=False)
    if chapter == 1:
        network.Network([20, 4]).SGD((X, labels), 3, 5, 1.0, samples(12, 20, 4), **how)
    else:
        network2.Network([20, 4]).SGD(
            (X, labels), 3, 5, 0.5, 0.1, samples(12, 20, 4), *[True] * 4, **how, **more
        )
    history.to_csv(tmp_path / "run.csv")
    return history, tmp_path / "run.csv", tmp_path / "run.npz"


@pytest.mark.parametrize(("chapter", "every"), [(1, None), (3, None), (3, 3), (3, 2), (3, 9)])
def test_curves(chapter, every, tmp_path):
    """Where a run has measured within its epochs, too, the values at their ends count."""
    more = {} if every is None else {"monitor_every": every}
    history, *files = trained(chapter, tmp_path, **more)
    for path in files:
        curves = run_curves.read_curves(path, [20, 4])
        if chapter == 1:
            expected = {"test": [100 * n / 12 for n in history["test_accuracy"]]}
            assert curves == {"accuracy": expected, "cost": {}}
            continue
        for data, n in (("training", 20), ("evaluation", 12)):
            percents = [100 * count / n for count in history[f"{data}_accuracy"]]
            assert curves["accuracy"][data] == percents
            assert curves["cost"][data] == history[f"{data}_cost"]


def test_the_checkpoint_of_another_network(tmp_path):
    *_, path = trained(3, tmp_path)
    with pytest.raises(ValueError, match=r"its network is \[20, 4\], expected \[20, 5, 4\]"):
        run_curves.read_curves(path, [20, 5, 4])


def test_curves_with_gaps(tmp_path):
    (tmp_path / "run.csv").write_text("epoch,training_cost,test_accuracy\n0,,3\n1,0.5,4\n")
    curves = run_curves.read_curves(tmp_path / "run.csv", [20, 4])
    np.testing.assert_array_equal(curves["cost"]["training"], [np.nan, 0.5])
    np.testing.assert_array_equal(curves["accuracy"]["test"], [np.nan] * 2)  # of how many?


def test_curves_of_a_run_that_was_resumed(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("epoch,test_accuracy,n_test\n3,90,100\n4,95,100\n6,93,100\n")
    curves = run_curves.read_curves(path, [20, 4])
    wanted = [np.nan, np.nan, np.nan, 90, 95, np.nan, 93]
    np.testing.assert_array_equal(curves["accuracy"]["test"], wanted)
    assert "best 95 %, epoch 4" in sections.learning_curves(curves)
    for epochs in ("01", "10", "-1 0", "0.5 1", "0 1e300"):  # several runs, or no epochs
        first, second = epochs.split() if " " in epochs else epochs
        second = 0 if epochs == "01" else second
        path.write_text(f"epoch,training_cost\n{first},3\n{second},4\n")
        assert run_curves.read_curves(path, [20, 4])["cost"]["training"] == [3, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch,training_cost\n0,1\n1,x\n", "line 3: training_cost is 'x', expected a number"),
        (b"epoch,eta\n0,1\n", "holds no accuracy and no cost; train with test_data"),
        (b"a,b\n0,1\n", "no table of epochs; expected a file of fastbp.History.to_csv"),
        (b"epoch\n0,1,2\n", "no table of epochs"),
        (b"", "no table of epochs"),
        (b"\xff\xfe\x00", "no table of epochs"),
        (b"PK\x03\x04 no archive", "is not a whole checkpoint"),
    ],
)
def test_files_without_curves(content, message, tmp_path):
    (tmp_path / "run.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        run_curves.read_curves(tmp_path / "run.csv", [20, 4])
    assert str(tmp_path / "run.csv") in str(error.value)


def test_huge_and_missing_files(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        run_curves.read_curves(tmp_path / "none.csv", [20, 4])
    monkeypatch.setattr(run_curves, "MOST_BYTES", 10)
    (tmp_path / "run.csv").write_text("epoch,training_cost\n0,1\n")
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        run_curves.read_curves(tmp_path / "run.csv", [20, 4])


# ------------------------------------------------ the page


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Measure the speed by a single call, in the tests of pages."""
    original = figures.calls_per_second
    monkeypatch.setattr(figures, "calls_per_second", lambda f, seconds=0: original(f, seconds))


class Reader(html.parser.HTMLParser):
    """The elements of a page: ids, titles, text by section; tags have to be balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.sections, self.current = [], [], {}, None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "section":
            self.current = attributes["id"]
            self.sections[self.current] = ""

    def handle_endtag(self, tag):
        if tag not in ("path",):  # written as <path/>
            assert self.open.pop() == tag
        self.current = None if tag == "section" else self.current

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, data):
        if self.current:
            self.sections[self.current] += data


def write(net, path, n=20, **how):
    """Write a report on samples of the test's own; return (text, Reader, the scripts' content)."""
    n_in, n_out = net.sizes[0], net.sizes[-1]
    data = samples(n, n_in, max(n_out, 2))
    size = page.write_report(path, net, data, data, **{"model_name": "model.json", **how})
    text = path.read_text("utf-8")
    assert size == path.stat().st_size
    content = re.search(r'<script id="content" type="application/json">(.*?)</script>', text)[1]
    reader = Reader(text)
    assert len(set(reader.ids)) == len(reader.ids)
    return text, reader, json.loads(content)


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_page(dtype, tmp_path):
    seed_both()
    net = network2.Network([784, 15, 12, 10], activation="tanh", dtype=dtype)
    curves = {"accuracy": {"training": [90.0, 95.0]}, "cost": {"training": [2.0, 1.0]}}
    text, reader, content = write(net, tmp_path / "r.html", curves=curves)
    names = [*sections.TITLES]
    assert list(reader.sections) == names
    X, labels = samples()
    assert f'"test-accuracy">{net.accuracy((X, labels)) / 20:.2%}<' in text
    assert "best 95 %, epoch 1" in reader.sections["curves"]
    flat = [a.ravel() for pair in zip(net.weights, net.biases) for a in pair]
    assert np.array_equal(
        floats(content["network"]["parameters"]), np.concatenate(flat).astype(np.float32)
    )
    assert content["centring"] == {"side": 28, "box": 20, "ink": 0.05}
    assert [image["label"] for image in content["examples"]] == list(range(10))
    pixels = base64.b64decode(content["examples"][3]["pixels"])
    assert np.array_equal(np.frombuffer(pixels, np.uint8) / 256, X.values(np.float64)[3])
    predicted = [int(net.feedforward(x[:, None]).argmax()) for x in X.values(dtype)]
    wrong = {(int(y), p) for y, p in zip(labels, predicted) if y != p}
    assert {(image["label"], image["predicted"]) for image in content["mistakes"]} == wrong
    norms = [f"{norm:.3g}" for norm in net.gradient_norms((X, labels))]
    assert all(norm in reader.sections["layers"] for norm in norms)
    assert re.findall(r"\d, (\w{6})", reader.sections["layers"]) == ["hidden"] * 2 + ["output"]


def test_page_needs_no_network(tmp_path):
    text, *_ = write(network.Network([784, 5, 10]), tmp_path / "r.html")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|<img|fetch\(|XMLHttp|import\(", text)
    assert "default-src 'none'" in text


def test_size_of_the_page(tmp_path):
    text, *_ = write(network.Network([784, 100, 10]), tmp_path / "r.html", n=300)
    assert len(text) < 1e6


def test_names_are_escaped(tmp_path):
    name = "</title><script>alert(1)</script>$x"
    how = dict(model_name=name, data_name=name)
    text, *_ = write(network.Network([784, 3, 10]), tmp_path / "r.html", **how)
    assert "alert(1)</script>" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;$x") == 3


def test_without_curves(tmp_path):
    _, reader, _ = write(network.Network([784, 3, 10]), tmp_path / "r.html")
    assert "fastbp.History records one" in reader.sections["curves"]
    assert "--history run.csv" in reader.sections["curves"]


def test_inputs_that_are_no_images(tmp_path):
    _, reader, content = write(network.Network([20, 6, 4]), tmp_path / "r.html")
    for name in ("drawing", "weights"):
        assert "has 20 inputs. This section is for networks that" in reader.sections[name]
    assert "Pictures are for inputs of 28 x 28 pixels" in reader.sections["mistakes"]
    assert "samples are classified wrongly" in reader.sections["mistakes"]
    assert "precision" in reader.sections["scores"]
    assert content == {"network": None, "examples": [], "mistakes": []}


@pytest.mark.parametrize("n_out", [27, 28])
def test_many_outputs(n_out, tmp_path):
    _, reader, content = write(network.Network([784, 4, n_out]), tmp_path / "r.html", n=60)
    assert ("scores" in reader.sections) == (n_out == 27)
    assert (content["network"] is None) == (n_out == 28)
    if n_out == 28:
        assert "There are 28 classes. This section shows 27" in reader.sections["confusion"]
        assert "has 28 outputs. This section shows 27" in reader.sections["drawing"]
        assert len(content["mistakes"]) > 0


def test_many_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(page_content, "MOST_PARAMETERS", 784 * 3 + 3 + 40 - 1)
    _, reader, content = write(network.Network([784, 3, 10]), tmp_path / "r.html")
    assert "has 2,395 weights and biases" in reader.sections["drawing"]
    assert content["network"] is None


def test_weights_beyond_float32(tmp_path):
    net = network.Network([784, 3, 10])
    net.biases[1][2] = 1e39
    _, reader, _ = write(net, tmp_path / "r.html")
    assert "has weights beyond 3.4e+38, which" in reader.sections["drawing"]


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "linear"])
def test_one_output_neuron(output, tmp_path):
    net = network2.Network([784, 3, 1], network2.QuadraticCost, output=output)
    X, labels = samples(n_out=2)
    labels = 2 * labels - 1 if output == "tanh" else labels
    path = tmp_path / "r.html"
    page.write_report(path, net, (X, labels), (X, labels), model_name="m")
    text = path.read_text("utf-8")
    reader = Reader(text)
    if output == "linear":
        assert "test-accuracy" not in text
        assert "there are no classes" in reader.sections["confusion"]
        assert "there are no classes" in reader.sections["mistakes"]
    else:
        assert f'"test-accuracy">{net.accuracy((X, labels)) / 20:.2%}<' in text
        assert "recall" in reader.sections["scores"]
    targets = [-1, 1] if output == "tanh" else [0, 1]
    assert f'"targets": {targets}' in text


class OwnCost(network2.QuadraticCost):
    """A cost of the user's own."""


def test_own_cost(tmp_path):
    net = network2.Network([784, 3, 10], OwnCost, activation="relu")
    _, reader, _ = write(net, tmp_path / "r.html", n=70)
    assert "a cost of its own" in reader.sections["drawing"]
    assert "recall" in reader.sections["scores"]


def test_what_cannot_be_reported(tmp_path):
    class Own(network.Network):
        def feedforward(self, a):
            return a

    path, data = tmp_path / "r.html", samples()
    with pytest.raises(ValueError, match="a report has no place for Python code"):
        page.write_report(path, Own([784, 3, 10]), data, data, model_name="m")
    with pytest.raises(TypeError, match="expected a fastbp"):
        page.write_report(path, "net", data, data, model_name="m")
    with pytest.raises(ValueError, match=r"test_data\[4\]: label 4 is outside 0..3"):
        page.write_report(path, network.Network([784, 3, 4]), data, data, model_name="m")
    assert not path.exists()
    with pytest.raises(OSError, match="cannot write"):
        write(network.Network([784, 3, 10]), tmp_path / "none" / "r.html")


# ------------------------------------------------ the command


@pytest.fixture
def model(tmp_path):
    seed_both()
    network.Network([784, 4, 10]).save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


def test_command(model, mnist_folder, tmp_path):
    history, csv_file, _ = trained(1, tmp_path)
    path = tmp_path / "report.html"
    done = run_command(
        "report", model, "--data", mnist_folder, "--history", csv_file, "-o", path, "--threads", 1
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stdout.startswith(f"{path}: 0.")
    assert "20 test images" in done.stderr
    text = path.read_text("utf-8")
    Reader(text)
    assert "<h1>model.npz</h1>" in text
    assert str(tmp_path) not in text  # folders are nobody's business
    assert "with one thread" in text
    best = max(history["test_accuracy"]) / 12
    assert f"best {100 * best:.4g} %" in text


def test_command_of_chapter_3_writes_to_report_html(mnist_folder, tmp_path):
    network2.Network([784, 3, 10], network2.LogLikelihoodCost).save(tmp_path / "m.json")
    assert run_command("report", tmp_path / "m.json", "--data", mnist_folder).returncode == 0
    assert "log-likelihood" in (tmp_path / "work" / "report.html").read_text("utf-8")


def test_bad_calls(model, mnist_folder, tmp_path):
    call = "report", model, "--data", mnist_folder
    assert "none.npz" in refused("report", tmp_path / "none.npz")
    assert "the folder" in refused(*call, "-o", tmp_path / "none" / "r.html")
    assert "would replace a file that is read" in refused(*call, "-o", model)
    assert "none.csv" in refused(*call, "--history", tmp_path / "none.csv")
    network.Network([20, 4]).save(tmp_path / "small.npz")
    assert "expected" in refused("report", tmp_path / "small.npz", "--data", mnist_folder)
    assert not list(tmp_path.rglob("report.html"))


def test_help_has_an_example():
    done = run_command("report", "--help")
    assert done.returncode == 0
    assert "fastbp report model.npz -o report.html" in done.stdout
