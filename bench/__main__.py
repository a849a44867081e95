"""python -m bench: measure, print the tables, write them and pictures to bench/results.

Without --peers: the oracle, matrix NumPy and fastbp, no other package needed. A full run writes
its summary into README.md.
"""

import argparse
import json
import random
import sys
import tempfile

from bench import claim, contest, kernel_list, layers, peaks, peers, pictures, report, target, work
from bench import threads as by_threads

COMMANDS = """all measurements:
  python -m bench               this one: contestants, threads, kernels, time to 95 %
  python -m bench.against       this checkout and another version of fastbp, in turns
  python -m bench.single_calls  single calls and overrides against the book's code
  python -m bench.endurance     kills, interrupts, hostile files, memory; the page of promises
  pytest bench                  each kernel, by pytest-benchmark
Each has a --help; tables are kept in bench/results/."""
ROUNDS = 5
QUICK_IMAGES = 2_560
SEEDS = (1, 2, 3)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--peers", action="store_true", help="PyTorch, JAX, scikit-learn, C, too")
    parser.add_argument("--quick", action="store_true", help="fewer images, one round")
    options = parser.parse_args()
    try:
        run(options)
    except (ValueError, OSError, contest.WorkerError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")


def run(options):
    training, _, test, name = work.data()
    n = min(QUICK_IMAGES, len(training[1])) if options.quick else len(training[1])
    command = "python -m bench" + " --peers" * options.peers + " --quick" * options.quick
    results = {
        "command": command,
        "machine": report.machine(),
        "data": name,
        "images": n,
        "quick": options.quick,
    }
    cores = results["machine"]["cores"]
    names = ["oracle", *contest.OWN, *(contest.OTHERS if options.peers else ())]
    for missing in [n for n in names if peers.PEERS[n].missing()]:
        say(f"{missing} is left out: {peers.PEERS[missing].missing()}")
        names.remove(missing)
    with tempfile.TemporaryDirectory() as folder:
        work.write_data(folder, training[0][:n], training[1][:n])
        results |= measure(options, folder, training[0][:n], test, names, cores)
    write(results)


def measure(options, folder, X, test, names, cores):
    """Return the figures of everything."""
    n = len(X)
    rounds = 1 if options.quick else ROUNDS
    counts = (1, cores) if cores > 1 else (1,)
    rows = []
    with contest.Workers() as workers:
        for row in contest.ROWS:
            for dtype in row.dtypes[-1:] if options.quick and row.parallel else row.dtypes:
                say(f"{list(row.sizes)}, mini-batch {row.m}, {dtype} ...")
                entering = [peer for peer in row.names if peer in names]
                event = contest.Contest(row, dtype, folder, n, test, workers, options.quick, say)
                rows.append(event.run(entering, counts, rounds))
                for c in rows[-1]["contestants"]:
                    say(f"  {c['name']:18} {c['threads']} {report.scaled(rows[-1], c):8.3f} s")
    say("threads ...")
    threads = by_threads.measured(folder, n, cores, 1 if options.quick else 3, say)
    say("peaks and kernels ...")
    figures = [
        kernel_list.measured(kernel, dtype)
        for dtype in ("float32", "float64")
        for kernel in kernel_list.KERNELS
    ]
    result = {
        "rows": rows,
        "threads": threads,
        "kernels": figures,
        "layers": layers.measured(X, rounds),
        "claim": claim.measured(rounds),
        "peaks": {
            "fma": {dtype: kernel_list.cached_peak(dtype) for dtype in ("float32", "float64")},
            "fma_all_cores": {
                dtype: peaks.fma_peak(dtype, cores) for dtype in ("float32", "float64")
            },
            "bandwidth": peaks.bandwidth(),
            "cache_bandwidth": peaks.bandwidth(peaks.CACHED),
        },
    }
    if not options.quick:
        state = random.getstate()
        result["target"] = target.measured(folder, n, test, SEEDS, say=say)
        random.setstate(state)
    return result


def write(results):
    """Print the report and write it, the figures and the pictures."""
    folder = work.ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    text = report.whole(results)
    print(text)
    (folder / "bench.md").write_text(text)
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    pictures.draw(results, folder)
    if not results["quick"]:
        report.write_summary(results)


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    main()
