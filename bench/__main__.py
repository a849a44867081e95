"""python -m bench [section ...]: measure, print tables, keep them in bench/results/bench.md.

A full run of the section epochs also writes the table in README.md. Without --peers: the oracle,
matrix NumPy and fastbp, which need no package beyond those of fastbp[bench].
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import (
    claim,
    deform,
    epochs,
    kernels,
    layers,
    peers,
    single_calls,
    tables,
    target,
    threads,
)
from bench.processes import WorkerError
from bench.workload import RESULTS, Settings, load_data, progress, write_data
from fastbp.cli import machine

SECTIONS = dict(
    epochs=epochs,
    threads=threads,
    target=target,
    layers=layers,
    claim=claim,
    kernels=kernels,
    single_calls=single_calls,
    deform=deform,
)
OTHERS = """other measurements:
  python -m bench.against    this checkout and another version of fastbp, in turns
  python -m bench.endurance  kills, interrupts, hostile files, memory: the page of promises
  python -m bench.report_picture    the picture of a report
  python -m bench.recipes    recipes from several seeds, beside the papers
  python -m bench.large FOLDER      an epoch of more images than memory may hold
  python -m bench.ranks      processes of mpiexec on this machine, beside the model
  python -m bench.sweep      a search over hyper-parameters, with dask
  pytest bench               each kernel, by pytest-benchmark
Each has a --help."""
QUICK_IMAGES = 2_560


def main():
    sections = "\n".join(f"  {name:14}{module.TITLE}" for name, module in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog=f"sections:\n{sections}\n\n{OTHERS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("sections", nargs="*", metavar="section", help="default: all of them")
    parser.add_argument("--peers", action="store_true", help="PyTorch, JAX, scikit-learn, C, too")
    parser.add_argument(
        "--quick", action="store_true", help="few images, one round; tables are only printed"
    )
    parser.add_argument("--results", type=Path, help="another folder for tables and pictures")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"unknown section {sorted(unknown)[0]}: choose from {', '.join(SECTIONS)}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(options, Path(folder))
    except (ValueError, OSError, WorkerError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")


def run(options, folder):
    """Measure the sections; folder: for what is not kept."""
    (X, labels), _, test, name = load_data()
    n = min(QUICK_IMAGES, len(X)) if options.quick else len(X)
    write_data(folder, X[:n], labels[:n])
    results = options.results or (folder / "results" if options.quick else RESULTS)
    results.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        str(folder), n, test, name, machine.cores(), _installed(options.peers), options.quick,
        results, " ".join(["python -m bench", *sys.argv[1:]]),
    )  # fmt: skip
    for section in options.sections or SECTIONS:
        progress(f"{section} ...")
        module = SECTIONS[section]
        text = f"## {module.TITLE}\n\n{module.measure(settings)}\n{tables.source(settings.command)}"
        print(text, flush=True)
        tables.replace_section(results / "bench.md", section, text)


def _installed(all_peers):
    """Return the names of the peers that run; say which are left out."""
    names = tuple(peers.PEERS) if all_peers else peers.WITHOUT_PACKAGES
    missing = {name: reason for name in names if (reason := peers.PEERS[name].missing())}
    for name, reason in missing.items():
        progress(f"{name} is left out: {reason}")
    return tuple(name for name in names if name not in missing)


if __name__ == "__main__":
    main()
