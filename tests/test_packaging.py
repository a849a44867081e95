"""The wheel and the sdist: what is in them, and that the wheel works where nothing else is."""

import email
import pathlib
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

import fastbp

ROOT = pathlib.Path(__file__).parents[1]
NAME = f"fastbp-{fastbp.__version__}"

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Return a folder with both, built from the checkout by the build backend."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


def files_of_the_package():
    paths = (ROOT / "fastbp").rglob("*")
    return {
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if not name.startswith(f"{NAME}.dist-info/")} == (
        files_of_the_package()
    )
    assert "fastbp/py.typed" in names


def test_the_sdist_holds_what_is_needed_to_build_and_test(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as file:
        names = {name.removeprefix(f"{NAME}/") for name in file.getnames()}
    assert files_of_the_package() <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names
    assert {"tests/test_packaging.py", "bench/__main__.py"} <= names
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"fastbp", "tests", "bench"}
    assert path.stat().st_size < 5e6


def test_the_metadata(wheel):
    with zipfile.ZipFile(wheel) as file:
        metadata = email.message_from_bytes(file.read(f"{NAME}.dist-info/METADATA"))
        scripts = file.read(f"{NAME}.dist-info/entry_points.txt").decode()
    assert "fastbp = fastbp.cli:main" in scripts
    assert (metadata["Name"], metadata["Version"]) == ("fastbp", fastbp.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    always = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert sorted(r.split(">")[0] for r in always) == ["numba", "numpy", "pooch", "tqdm"]


SESSION = """
import sys, fastbp
from fastbp import mnist_loader, network, exchange
assert fastbp.__file__.startswith(sys.prefix), fastbp.__file__
training_data, _, test_data = mnist_loader.synthetic(500, 0, 50)
net = network.Network([784, 30, 10])
net.SGD(training_data, 1, 10, 3.0, test_data=test_data)
try:
    import fastbp.estimator
except ImportError as error:
    print(error)
print(net)
"""


def test_the_wheel_installs_into_a_fresh_environment_and_trains(wheel, tmp_path):
    """Its dependencies come from the index; no optional package is there."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel)
    said = run(python, "-c", SESSION, cwd=tmp_path).splitlines()
    assert said[0].startswith("Epoch 0: ")
    assert said[1] == "fastbp.estimator needs scikit-learn: pip install 'fastbp[sklearn]'"
    assert said[2].startswith("<Network [784, 30, 10]")
    version = run(tmp_path / "env" / "bin" / "fastbp", "--version", cwd=tmp_path)
    assert version == f"fastbp {fastbp.__version__}\n"
