"""python -m bench: measure, print the table, write it to bench/results and into the README."""

import argparse
import re

from bench import epoch

MARK = "<!-- bench -->"


def main():
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round on 10,000 images, not kept")
    quick = parser.parse_args().quick
    *sets, name = epoch.data()
    if quick:
        sets[0] = tuple(part[:10_000] for part in sets[0])
    contests = []
    for sizes in ([784, 30, 10], [784, 100, 10]):
        print(f"measuring {sizes} on {len(sets[0][1]):,} images of {name} ...", flush=True)
        contests.append(epoch.Contest(sizes, 10, sets).run(rounds=1 if quick else 5))
    text = (
        f"{epoch.table(contests)}\n"
        f"One epoch of {len(sets[0][1]):,} images of {name}, eta {epoch.ETA}; medians of "
        f"interleaved runs, compiling and evaluation not included. {epoch.machine()}. "
        f"Made by `python -m bench`.\n"
    )
    print(text)
    if not quick:
        results = epoch.ROOT / "bench" / "results"
        results.mkdir(exist_ok=True)
        (results / "epoch.md").write_text(text)
        readme = epoch.ROOT / "README.md"
        parts = re.split(re.escape(MARK) + "\n", readme.read_text())
        if len(parts) == 3:
            readme.write_text(f"{MARK}\n".join([parts[0], text, parts[2]]))


if __name__ == "__main__":
    main()
