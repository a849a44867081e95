"""The laws of the house: who imports whom, and what an import costs."""

import ast
import json
import pathlib
import subprocess
import sys

import fastbp

PACKAGE = pathlib.Path(fastbp.__file__).parent
# Reading order: a module imports only from those before it.
KERNELS = [
    "compiler", "cache", "processes", "emit", "simd", "jit", "layout", "activations", "layers",
    "sparse", "dropout", "optimizer", "costs", "passes", "drivers", "shuffle",
]  # fmt: skip
ORDER = [
    *(f"kernels.{name}" for name in ("__init__", *KERNELS)),
    "training.threads",
    "training.__init__",
    "data.__init__",
    "data.files",
    "data.npz",
    "training.signals",
    "data.pixels",
    "data.warn",
    "data.arguments",
    "data.numeric_arrays",
    "data.parameters",
    "training.engine",
    "data.answers",
    "data.containers",
    "data.datasets",
    "training.checkpoint",
    "training.reference_path",
    "training.progress_bar",
    "training.sgd",
    "data.digits",
    "data.download",
    "data.readers.__init__",
    "data.readers.bounded_reader",
    "data.readers.image_sets",
    "data.readers.idx_files",
    "data.readers.npz_files",
    "data.readers.pickled_arrays",
    "data.readers.pickle_files",
    "data.readers.csv_header",
    "data.readers.csv_files",
    "data.readers.find",
    "mnist_loader",
    "training.base",
    "network",
    "network2",
    "training.gradcheck",
    "__init__",
    "report.__init__",
    "report.learning_curves",
    "cli.book",
    "cli.console",
    "cli.data_options",
    "cli.train_command",
    "cli.model_commands",
    "cli.warmup_command",
    "cli.book_command",
    "cli.parser",
    "cli.__init__",
    "__main__",
]
OPTIONAL = {"tqdm", "pooch", "requests", "matplotlib"}


def path_of(module):
    return PACKAGE / f"{module.replace('.', '/')}.py"


def imports(module, top_level_only=False):
    tree = ast.parse(path_of(module).read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_its_place():
    seen = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")]
    assert sorted(".".join(path.parts) for path in seen) == sorted(ORDER)


def test_imports_never_go_upward():
    for place, module in enumerate(ORDER):
        for name in imports(module):
            if name.startswith("fastbp."):
                imported = name.removeprefix("fastbp.")
                while imported and imported not in ORDER:  # it may be a name in a module
                    imported = imported.rpartition(".")[0]
                if imported:  # else a name of the package itself, e.g. __version__
                    assert ORDER.index(imported) < place, f"{module} imports {imported}"


def test_only_the_kernels_know_numba_and_they_know_nothing_else():
    for module in ORDER:
        names = list(imports(module))
        if module.startswith("kernels."):
            ours = [name for name in names if name.startswith("fastbp")]
            assert all(name.startswith("fastbp.kernels") for name in ours), module
        else:
            assert not any(name.split(".")[0] in ("numba", "llvmlite") for name in names), module


def test_one_file_emits_llvm():
    """Others have to do with LLVM's libraries, but build no code."""
    for name in KERNELS:
        emits = any(n.startswith("llvmlite.ir") for n in imports(f"kernels.{name}"))
        assert emits == (name == "emit"), name


def test_files_and_functions_of_kernels_are_short():
    lengths = []
    for name in KERNELS:
        text = path_of(f"kernels.{name}").read_text()
        lengths.append(text.count("\n"))
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef):
                body = function.body[-1].end_lineno - function.body[0].lineno
                assert body <= 45, (name, function.name, body)
                assert len(function.args.args) <= 8, (name, function.name)
    assert sorted(lengths)[len(lengths) // 2] < 150
    assert max(lengths) <= 400


def test_optional_packages_are_imported_where_they_are_used():
    for module in ORDER:
        roots = {name.split(".")[0] for name in imports(module, top_level_only=True)}
        assert not roots & OPTIONAL, module


def test_import_loads_nothing_optional_and_compiles_nothing():
    code = """
import json, sys, fastbp
from fastbp.kernels import drivers, jit, shuffle
functions = {**vars(drivers), **vars(shuffle)}
compiled = [n for n, f in functions.items() if getattr(f, "signatures", None)]
compiled += jit._compiled
print(json.dumps([sorted(sys.modules), compiled]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, compiled = json.loads(run.stdout)
    assert not OPTIONAL & set(modules)
    assert compiled == []


def test_kernels_never_raise_print_or_open():
    for name in KERNELS[KERNELS.index("layout") :]:
        for function in ast.walk(ast.parse(path_of(f"kernels.{name}").read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    assert not isinstance(node, (ast.Raise, ast.Assert)), function.name
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                        assert node.func.id not in ("print", "open"), function.name
