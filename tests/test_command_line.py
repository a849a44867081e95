"""The command line: output, messages and exit statuses; most calls run in this process."""

import errno
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import refused, run_command, run_process, seed_both

from fastbp import cli, mnist_loader, network, network2, schedules
from fastbp.cli import train_settings
from fastbp.data import generated_folder
from fastbp.training import checkpoint


@pytest.fixture
def data(mnist_folder):
    return mnist_folder


def test_train_evaluate_predict(data, tmp_path, raw):
    model = tmp_path / "model.npz"
    arguments = ["train", "--data", data, "--sizes", "784,12,10", "--epochs", "3"]
    arguments += ["--mini-batch-size", "7", "--eta", "0.5", "--seed", "4", "--save", model]
    run = run_process(*arguments, "--threads", "1")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [re.fullmatch(r"Epoch (\d): (\d+) / 20", line)[1] for line in lines[:3]] == list("012")
    assert re.fullmatch(r"accuracy on the test images: .*% at the end, .*at best.*", lines[3])
    assert re.fullmatch(r"\d+\.\d+ s per epoch, evaluation included: [\d,]+ samples/s", lines[4])
    assert re.fullmatch(
        r"compiling, or reading compiled code from the cache, took \d+\.\d s", lines[5]
    )
    assert f"{data}: 50 training and 20 test images; network [784, 12, 10]" in run.stderr
    assert "\r" not in run.stderr  # no progress bar: standard error is not a terminal

    assert run_command(*arguments).stdout.splitlines()[:4] == lines[:4]
    count = re.fullmatch(r"Epoch 2: (\d+) / 20", lines[2])[1]
    run = run_command("evaluate", model, "--data", data)
    assert run.stdout.startswith(f"{model}: {count} / 20 (")

    net = network.load(model)
    image = raw[2][0]
    forms = {"square": image, "flat": image.reshape(784), "float": image / 256.0}
    forms["int"] = image.astype(int)
    for name, form in forms.items():
        np.save(tmp_path / f"{name}.npy", form)
    paths = [tmp_path / f"{name}.npy" for name in forms]
    run = run_command("predict", model, *paths)
    j = net.feedforward(image.reshape(784, 1) / 256).argmax()
    assert [line.partition(" (")[0] for line in run.stdout.splitlines()] == [
        f"{path}: {j}" for path in paths
    ]


CHAPTER_3 = {
    "cross-entropy": ["--cost", "cross-entropy", "--lmbda", "5", "--init", "large"],
    "everything": [
        "--cost", "log-likelihood", "--activation", "relu", "--lmbda", "0.1", "--l1", "0.1",
        "--momentum", "0.5", "--dropout", "0.2", "--schedule", "halve", "--early-stopping", "9",
        "--eta", "0.05",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CHAPTER_3)
def test_chapter_3_trains_evaluates_and_predicts(name, data, tmp_path, raw):
    model = tmp_path / "model.json"
    arguments = ["train", "--data", data, "--sizes", "784,12,10", "--epochs", "3", "--seed", "4"]
    run = run_command(*arguments, *CHAPTER_3[name], "--save", model)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "Epoch 0 training complete"
    assert re.fullmatch(r"Accuracy on evaluation data: \d+ / 10", lines[1])
    assert lines[9].startswith("accuracy on the validation images: ")
    accuracy = re.fullmatch(r"accuracy on the test images: (.*)", lines[10])[1]
    again = run_command(*arguments, *CHAPTER_3[name])
    assert again.stdout.splitlines()[:11] == lines[:11]
    run = run_command("evaluate", model, "--data", data)
    assert f"({accuracy}) of the test images" in run.stdout
    np.save(tmp_path / "image.npy", raw[2][0])
    net = network2.load(model)
    j = net.feedforward(raw[2][0].reshape(784, 1) / 256).argmax()
    run = run_command("predict", model, tmp_path / "image.npy")
    assert run.stdout.startswith(f"{tmp_path / 'image.npy'}: {j} (output ")


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("geometric:0.1", schedules.Geometric(0.1)), ("linear", schedules.Linear()),
        ("cosine", schedules.Cosine()), ("step:1,0.3", schedules.Step(1, 0.3)),
    ],
)  # fmt: skip
def test_schedules_warm_up_and_he(text, schedule, data, tmp_path):
    """Are those of the library."""
    model = tmp_path / "m.json"
    run = run_command(
        "train", "--data", data, "--sizes", "784,12,10", "--epochs", 3, "--seed", 3, "--init", "he",
        "--eta", 0.2, "--schedule", text, "--warmup", 1, "--save", model,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    seed_both(3)
    net = network2.Network([784, 12, 10])
    net.he_weight_initializer()
    training, *_ = mnist_loader.load_data(data)
    net.SGD(training, 3, 10, 0.2, schedule=schedule, warmup=1)
    np.testing.assert_array_equal(network2.load(model).weights[0], net.weights[0])


def test_the_seed_is_the_books(data, tmp_path):
    """--seed N is random.seed(N); np.random.seed(N) before the constructor, and nothing else."""
    model = tmp_path / "m.npz"
    run_command("train", "--data", data, "--epochs", 2, "--seed", 3, "--save", model)
    seed_both(3)
    net = network.Network([784, 30, 10])
    net.SGD(mnist_loader.load_data(data)[0], 2, 10, 3.0)
    np.testing.assert_array_equal(network.load(model).weights[0], net.weights[0])


def test_environment_and_float32(data, tmp_path):
    model = tmp_path / "m.npz"
    arguments = "train", "--epochs", 1, "--dtype", "float32", "--save", model
    run = run_command(*arguments, FASTBP_DATA=str(data))
    assert run.returncode == 0, run.stderr
    assert network.load(model).dtype == np.float32


def test_without_data_the_synthetic_digits_are_used_and_a_message_says_so():
    run = run_command("train", "--epochs", "1", "--sizes", "784,10", "--mini-batch-size", "100")
    assert run.returncode == 0, run.stderr
    said = [line for line in run.stderr.splitlines() if "synthetic digits" in line]
    assert said[0].startswith(
        "fastbp: using the built-in synthetic digits: MNIST cannot be downloaded"
    )
    assert said[1].startswith("fastbp: synthetic digits: 50,000 training and 10,000 test images")
    assert re.search(r"Epoch 0: \d+ / 10000", run.stdout)


def test_help_has_examples():
    """That of a command has those of the command, that of fastbp alone all."""
    for command, example in (
        ("train", "fastbp train --seed 1 --save model.npz"),
        ("evaluate", "fastbp evaluate model.npz"),
        ("predict", "fastbp predict model.npz photo.jpg"),
    ):
        shown = run_command(command, "--help").stdout
        assert example in shown
        assert example in run_command("-h").stdout
        assert ("fastbp train" in shown) == (command == "train")
    assert re.fullmatch(r"fastbp \d+\.\d+\.\d+\n", run_command("--version").stdout)


# ------------------------------------------------ errors

TRAIN = ["train", "--data", "{data}"]
ERRORS = [  # what the line says, the arguments
    ("the following arguments are required: COMMAND", []),
    ("invalid choice: 'trian'", ["trian"]),
    ("invalid int value: 'many'", ["train", "--epochs", "many"]),
    ("'784;10', expected e.g. 784,30,10", ["train", "--sizes", "784;10"]),
    ("nowhere does not exist; expected a folder", ["train", "--data", "nowhere"]),
    ("nowhere.npz", ["evaluate", "nowhere.npz"]),
    ("nowhere.npz", ["predict", "nowhere.npz", "x.npy"]),
    ("is not a network saved as JSON", ["evaluate", "{tmp}/bad.json"]),
    ("epochs is -1", [*TRAIN, "--epochs", -1]),
    ("mini_batch_size is 0", [*TRAIN, "--mini-batch-size", 0]),
    ("eta is nan", [*TRAIN, "--eta", "nan"]),
    ("threads is 0", [*TRAIN, "--threads", 0]),
    ("sizes has 1 layer", [*TRAIN, "--sizes", "784"]),
    ("expected (n, 100)", [*TRAIN, "--sizes", "100,10"]),
    ("outside 0..2", [*TRAIN, "--sizes", "784,3"]),
    ("does not exist", [*TRAIN, "--save", "{tmp}/no/m.npz"]),
    ("is a folder", [*TRAIN, "--save", "{tmp}"]),
    ("is a folder", [*TRAIN, "--save", ""]),
    ("bytes, more than the free memory", [*TRAIN, "--sizes", "100000000000,10"]),
    ("bytes, more than the free memory", ["train", "--lmbda", 1, "--sizes", "9,5000000000,1"]),
    ("weights; expected at most", [*TRAIN, "--sizes", "784,1000000000000,10"]),
    ("lmbda is -1.0, expected at least 0", ["train", "--lmbda", "-1"]),
    ("dropout is 1.0", ["train", "--dropout", "1"]),
    ("invalid choice", ["train", "--cost", "hinge"]),
    ("schedule is 'fast' (str), expected e.g. geometric:0.01, linear, cosine or step:10,0.5, or "
     "halve", ["train", "--schedule", "fast"]),
    ("to is 0.0, expected more than 0", ["train", "--schedule", "geometric:0"]),
    ("warmup is -1, expected at least 0", ["train", "--warmup", "-1"]),
    ("expected 0 with schedule 'halve'", [*TRAIN, "--warmup", "1", "--schedule", "halve"]),
    ("bad.json exists: --resume goes on with it; to begin anew, remove /",
     [*TRAIN, "--checkpoint", "{tmp}/bad.json"]),
    ("old.npz.previous exists: --resume goes on with it; to begin anew, remove /",
     [*TRAIN, "--checkpoint", "{tmp}/old.npz"]),
    ("--checkpoint-every needs --checkpoint PATH", [*TRAIN, "--checkpoint-every", "5"]),
    ("--resume needs --checkpoint PATH", [*TRAIN, "--resume"]),
    ("expected e.g. 30s or 5", [*TRAIN, "--checkpoint-every", "often"]),
    ("does not exist", [*TRAIN, "--checkpoint", "{tmp}/none/run.npz"]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "arguments"), ERRORS, ids=str)
def test_errors_are_one_line(message, arguments, data, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "old.npz.previous").write_text("")
    assert message in refused(*[str(a).format(data=data, tmp=tmp_path) for a in arguments])


REPLACED = [  # what an output would replace, the arguments
    ("a file of a data set", [*TRAIN, "--save", "{data}/train-labels-idx1-ubyte.gz"]),
    ("a file of a data set", [*TRAIN, "--save", "{tmp}/link"]),
    ("a file of a data set", [*TRAIN, "--checkpoint", "{tmp}/mnist_test.csv", "--resume"]),
    ("a file of a data set", ["train", "--data", "synthetic", "--save", "{tmp}/mnist_test.csv"]),
    ("a file that is read", ["train", "--data", "{tmp}/digits.npz", "--save", "{tmp}/digits.npz"]),
    ("a file of a data set", ["report", "{tmp}/m.npz", "-o", "{data}/train-labels-idx1-ubyte.gz"]),
    ("a file that is read", ["report", "{tmp}/m.npz", "-o", "{tmp}/m.npz"]),
    ("a file that is read", ["report", "m", "--history", "{tmp}/run", "-o", "{tmp}/run"]),
    ("a file of a data set", ["data", "{data}", "--sheet", "{data}/train-labels-idx1-ubyte.gz"]),
    ("a file of a data set", ["expand", "--sheet", "{data}/train-labels-idx1-ubyte.gz"]),
    ("a file of a data set", ["book", "--save", "{tmp}/mnist_test.csv"]),
]
ENDINGS = [["plan", "--plot"], ["expand", "--sheet"], ["data", "--sheet"], ["book", "--pictures"]]
SAME = [
    [*TRAIN, "--checkpoint", "r.npz", "--save", "r.npz"],
    [*TRAIN, "--checkpoint", "r", "--save", "r.previous"],
    ["expand", "--save", "x.pkl.gz", "--sheet", "x.pkl.gz"],
]


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        *((f"would replace {what}, expected another name", call) for what, call in REPLACED),
        *(("m.npz ends in '.npz', expected e.g. .png", [*c, "{tmp}/m.npz"]) for c in ENDINGS),
        *(("give them files of their own", call) for call in SAME),
    ],
    ids=str,
)
def test_outputs_replace_no_other_files(message, arguments, data, tmp_path):
    (tmp_path / "link").symlink_to(data / "train-labels-idx1-ubyte.gz")
    paths = [tmp_path / name for name in ("m.npz", "digits.npz", "mnist_test.csv", "run")]
    for path in paths:
        path.write_bytes(b"precious")
    paths += data.iterdir()
    before = [path.read_bytes() for path in paths]
    assert message in refused(*[a.format(data=data, tmp=tmp_path) for a in arguments])
    assert [path.read_bytes() for path in paths] == before


def test_an_unusable_FASTBP_DATA_is_an_error(tmp_path):
    assert "FASTBP_DATA: " in refused("train", FASTBP_DATA=str(tmp_path / "no"))


def test_an_error_does_not_wait_for_the_compiler(data, tmp_path):
    """With an empty cache the compiler is at work when the data turn out not to fit."""
    began = time.monotonic()
    arguments = "train", "--data", data, "--sizes", "100,10"
    line = refused(*arguments, run=run_process, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert "expected (n, 100)" in line
    assert time.monotonic() - began < 15


@pytest.mark.slow
def test_a_network_is_saved_though_an_error_ends_the_run(data, tmp_path, monkeypatch):
    model = tmp_path / "model.json"
    train = (
        "train", "--data", data, "--cost", "log-likelihood", "--epochs", 2, "--save", model,
        "--quiet",
    )  # fmt: skip
    error = refused(*train, "--activation", "linear", "--eta", 1e200)
    assert "the weights became infinite or NaN in epoch 0, mini-batch" in error
    assert "set on_divergence to 'continue'" in error
    assert np.isfinite(network2.load(model).weights[0]).all()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    model.unlink()
    monkeypatch.setattr(checkpoint, "write", full)
    assert "No space left" in refused(*train, "--checkpoint", tmp_path / "run.npz")
    assert network2.load(model).sizes == [784, 30, 10]

    model.write_bytes(b"precious")
    error = refused(*train, "--data", data / "nowhere")  # before anything is trained
    assert model.read_bytes() == b"precious"


# ------------------------------------------------ images


def test_bad_images(tmp_path):
    model = tmp_path / "m.npz"
    network.Network([784, 5, 10]).save(model)
    cases = [
        (np.zeros((14, 56, 2), np.uint8), r"shape (14, 56, 2) and dtype uint8, expected 784"),
        (np.full((28, 28), 300), r"values from 300 to 300, expected 0..1 or 0..255"),
        (np.full((28, 28), -0.5), r"values from -0.5 to -0.5, expected 0..1 or 0..255"),
        (np.full((28, 28), np.nan), r"values from nan to nan"),
        (np.full((28, 28), "a"), r"dtype <U1, expected 784 numbers"),
        (np.full((28, 28), None), r"is not an .npy file of numbers"),
    ]
    for image, message in cases:
        np.save(tmp_path / "i.npy", image, allow_pickle=True)
        assert message in refused("predict", model, tmp_path / "i.npy")
    (tmp_path / "i.npy").write_bytes(b"\x89PNG")
    line = refused("predict", model, tmp_path / "i.npy")
    assert "i.npy is not an .npy file of numbers" in line
    assert "written by numpy.save('image.npy', image)" in line


def test_an_image_of_any_type_and_shape_is_read_the_same(tmp_path):
    model = tmp_path / "m.npz"
    net = network.Network([784, 5, 10])
    net.save(model)
    grey = np.zeros((28, 28), np.uint8)
    grey[4:20, 9:14] = 192
    black_or_white = (grey > 0).astype(np.uint8)
    as_0_to_1 = "its numbers are read as 0..1"
    same = [  # the values, the forms of one image with the message that each brings
        (grey / 256, [
            (grey, ""), (grey.ravel(), ""), (grey[:, :, None], ""), (grey.astype(np.int64), ""),
            (grey.astype(np.float32), "its numbers are read as 0..255"), (grey / 256, ""),
        ]),
        (black_or_white, [
            (black_or_white, as_0_to_1), (black_or_white.astype(bool), ""),
            (black_or_white.astype(np.float32), ""), (black_or_white.astype(int), as_0_to_1),
        ]),
    ]  # fmt: skip
    for values, images in same:
        output = net.feedforward(values.reshape(784, 1).astype(float))
        for image, said in images:
            np.save(tmp_path / "i.npy", image)
            run = run_command("predict", model, tmp_path / "i.npy")
            assert f": {output.argmax()} (output {output.max():.3f})" in run.stdout
            assert said in run.stderr
            assert bool(run.stderr) == bool(said)


def test_predict_of_one_output_neuron(tmp_path):
    np.save(tmp_path / "i.npy", np.zeros((28, 28), np.uint8))
    for make, activation, bias, answer in (
        (network, "sigmoid", 5.0, "1 (output 0.993)"),
        (network, "sigmoid", -5.0, "0 (output 0.007)"),
        (network2, "tanh", -9.0, "-1 (output -1.000)"), (network2, "linear", 7.25, "7.25"),
    ):  # fmt: skip
        how = {} if make is network else dict(cost=network2.QuadraticCost, output=activation)
        net = make.Network([784, 1], **how)
        net.weights[0][...], net.biases[0][...] = 0, bias
        net.save(tmp_path / "model")
        run = run_command("predict", tmp_path / "model", tmp_path / "i.npy")
        assert run.stdout == f"{tmp_path / 'i.npy'}: {answer}\n", run.stderr


# ------------------------------------------------ streams, in processes


def shell(command):
    command = f"{sys.executable} -m fastbp {command}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [">&-", "2>&-", "2>/dev/full"])
def test_a_stream_that_is_closed_or_full_is_no_error(streams, data, tmp_path):
    model = tmp_path / "m.npz"
    run = shell(f"train --data {data} --epochs 1 --save {model} {streams}")
    assert run.returncode == 0
    assert "fastbp:" not in run.stdout
    assert model.exists()


def test_files_that_are_missing_or_of_another_kind(data, tmp_path):
    """Which file, and why, without an error's number."""
    assert "error: none.npz: No such file" in refused("evaluate", "none.npz", "--data", data)
    path = tmp_path / "run.npz"
    run_command("train", "--data", data, "--epochs", 1, "--checkpoint", path)
    line = refused("evaluate", path, "--data", data)
    assert "it is the checkpoint of a run; Network.save, or train --save, writes one" in line


@pytest.mark.slow
def test_the_sources_result_stands_beside_a_run_like_its_own_only(monkeypatch):
    sets = mnist_loader.synthetic(200, 40, 40, seed=1, pixels=True)
    monkeypatch.setattr(mnist_loader, "load_data", lambda *path, **options: sets)
    monkeypatch.setattr(mnist_loader, "synthetic", lambda **options: sets)
    monkeypatch.setattr(train_settings, "RECIPE_OPTIONS", ("sizes",))  # of which epochs are no more
    train = "train", "--recipe", "nielsen-ch1", "--epochs", 1, "--quiet"
    for more, is_shown in (
        ([], True), (["--cost", "cross-entropy"], False), (["--sizes", "784,5,10"], False),
        (["--data", "synthetic"], False),
    ):  # fmt: skip
        assert ("4.58% in the source" in run_command(*train, *more).stdout) == is_shown


def test_a_pipe_whose_reader_ends_is_no_error(data):
    assert "rror" not in shell(f"train --data {data} --epochs 3000 | head -1").stderr


@pytest.mark.parametrize("command", ["train --list-recipes", "--print-completion bash"])
def test_what_is_printed_in_place_of_a_command(command):
    assert shell(f"{command} | true").stderr == ""
    full = shell(f"{command} > /dev/full")
    assert (full.returncode, full.stderr.count("\n")) == (2, 1)
    assert "No space left" in full.stderr


def test_a_mini_batch_size_beyond_the_data(data):
    for m in (10**9, 10**30):
        assert run_command("train", "--data", data, "--epochs", 1, "--mini-batch-size", m).stdout


# ------------------------------------------------ warmup


@pytest.mark.slow
def test_warmup_compiles_all_that_the_default_command_needs(capsys):
    assert cli.main(["warmup"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"everything is compiled, after \d+\.\d s\n", out)
    said = err.splitlines()
    assert len(said) == 7
    assert said[-1] == "fastbp: compiling: deformations ..."
    assert all(line.startswith("fastbp: compiling: ") for line in said)
    for dtype in ("float64", "float32"):
        assert sum(dtype in line for line in said) == 3


def test_warmup_where_compiled_code_cannot_be_kept(monkeypatch):
    monkeypatch.setattr("fastbp.cli.warmup_command.uncached", ["run_batches"])
    assert refused("warmup") == (
        "fastbp: error: compiled code cannot be stored: set NUMBA_CACHE_DIR to a writable folder"
    )


# ------------------------------------------------ checkpoints


@pytest.mark.slow
def test_a_run_in_two_parts(data, tmp_path):
    common = "train", "--data", data, "--seed", 1, "--sizes", "784,8,10"
    whole = run_command(*common, "--epochs", 4, "--save", tmp_path / "whole.npz")
    path, model = tmp_path / "run.npz", tmp_path / "model.npz"
    both = *common, "--checkpoint", path, "--resume", "--save", model, "--checkpoint-every"
    first = run_command(*both, "1", "--epochs", 2)
    assert first.returncode == 0, first.stderr
    second = run_command(*both, "5s", "--epochs", 4, "--threads", 1)
    assert f"{path}: goes on after 2 of 4 epochs" in second.stderr
    assert second.stdout.splitlines()[:5] == whole.stdout.splitlines()[:5]
    assert model.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    kept = model.read_bytes()
    third = run_command(*both, "1", "--epochs", 4)  # finished: nothing is trained, but saved
    assert "per epoch" not in third.stdout
    assert model.read_bytes() == kept

    for more, message in (
        (("--epochs", 3), "4 epochs are behind it, epochs is 3"),
        (("--epochs", 5, "--seed", 2), "a run with seed 1, this one has 2"),
        (("--epochs", 5, "--eta", 0.5), "a run with eta 3.0, this one has 0.5"),
        (("--epochs", 5, "--lmbda", 1), "a run with network"),
    ):
        run = run_command(*both, "1", *more)
        assert run.returncode == 2
        assert message in run.stderr
        assert model.read_bytes() == kept  # a refused run replaces no model

    assert run_command(*both, "1", "--epochs", 4, "--seed", 1).returncode == 0
    unseeded = [word for word in both if word not in ("--seed", 1)]
    assert run_command(*unseeded, "1", "--epochs", 4).returncode == 0
    assert "seed 1, this one has 2" in run_command(*both, "1", "--epochs", 4, "--seed", 2).stderr

    path.write_bytes(b"damaged")
    run = run_command(*both, "1", "--epochs", 4)
    assert run.returncode == 0
    assert f"fastbp: warning: {path} is damaged" in run.stderr
    assert model.read_bytes() == kept


def test_an_error_of_the_system_is_its_text(monkeypatch, capsys, tmp_path):
    """As write_atomically raises it on a full disk: without [Errno 28] in front."""

    def write_folder(*arguments):
        raise OSError(errno.ENOSPC, "cannot write x: No space left on device")

    monkeypatch.setattr(generated_folder, "write_folder", write_folder)
    assert cli.main(["generate", "-o", str(tmp_path), "--count", "10", "--quiet"]) == 2
    error = "fastbp: error: cannot write x: No space left on device\n"
    assert capsys.readouterr().err == error
