"""The page of promises: each with the command that tests it, and what was seen."""

HEAD = """# What fastbp promises, and how to see it

Every promise has a test that fails when it is broken: run the command in a checkout that is
installed with `pip install -e '.[test]'`. The larger trials are in `bench/`; their figures stand
below, with their dates. This page is made by `python -m bench.endurance page`.

| promise | command |
| --- | --- |
"""
TESTS = [
    (
        "Same seeds, same weights as the book's algorithm",
        "pytest tests/test_training.py tests/test_contract.py tests/test_network2.py",
    ),
    (
        "Same seed, same bits, whatever the number of threads, and whether fresh or from the cache",
        "pytest tests/test_rules.py tests/test_kernels.py tests/test_processes.py",
    ),
    (
        "Bad input is refused in one line, before any weight, random state or list changes; "
        "unusual input (read-only, strided, Fortran, byte-swapped, float16 ... uint8) works and "
        "compiles nothing",
        "pytest tests/test_boundary.py tests/test_bad_input.py",
    ),
    (
        "NaN and infinity in data or weights are refused by name and place; a run that diverges "
        "ends with the last finite weights, naming epoch and mini-batch",
        "pytest tests/test_not_finite.py",
    ),
    (
        "A run that was stopped or killed at any moment and resumed ends with the same bits and "
        "the same printed lines",
        "pytest tests/test_checkpoint.py; python -m bench.endurance kills",
    ),
    (
        "Ctrl-C, and SIGTERM on the command line, end a run between mini-batches, with whole lines "
        "and the checkpoint written, within 300 ms",
        "pytest tests/test_interrupts.py; python -m bench.endurance interrupts",
    ),
    (
        "Python threads, joblib, forks, spawned processes, pools, every threading layer, quotas, "
        "and a cache that is read-only, full, shared, damaged or gone",
        "pytest tests/test_processes.py tests/test_threads.py",
    ),
    (
        "No file can crash a reader, have it execute anything, take more than 2 s or 3 times the "
        "memory of an honest one",
        "pytest tests/test_hostile_files.py; python -m tests.fuzz --count 100000",
    ),
    (
        "A file is written whole or not at all: with a full disk or a power cut the old one is "
        "there",
        "pytest tests/test_files.py tests/test_checkpoint.py",
    ),
    (
        "Every line of the kernels is tested, with guard values around every buffer; each vector "
        "operation against its twin",
        "pytest tests/test_without_jit.py tests/test_kernels.py tests/test_simd.py",
    ),
    ("Memory does not grow", "python -m bench.endurance soak"),
]


def page(figures):
    """Return the page, as Markdown, with the figures of bench.endurance as far as there are any."""
    text = HEAD + "".join(f"| {promise} | `{command}` |\n" for promise, command in TESTS)
    text += "\n## What was seen\n\n"
    for name, describe in SEEN.items():
        if name in figures:
            text += f"- {describe(figures[name])} ({figures[name]['date']})\n"
    if "interrupts" in figures:
        text += _table("Ctrl-C, seconds until SGD had ended", figures["interrupts"]["nets"])
    if "cost" in figures:
        text += _table(
            "The look at the weights: its share of an epoch, in percent; and the median of epochs "
            "with it over epochs without, in turns, which is as noisy as the machine",
            figures["cost"]["nets"],
        )
    if "files" in figures:
        text += (
            f"\n`{figures['files']['command']}`\n\n```\n{figures['files']['table'].strip()}\n```\n"
        )
    return text


SEEN = {
    "kills": lambda f: (
        f"**{f['kills']} SIGKILLs** at random moments of {f['runs']} runs, on 1 to 4 threads, "
        f"{f['while_writing']} of them while a checkpoint was being written: {f['different_ends']} "
        f"runs ended otherwise than one that was let alone, {f['unreadable']} files were unreadable"
    ),
    "interrupts": lambda f: (
        f"**Ctrl-C** {f['each'] * len(f['nets'])} times, while training or monitoring: the slowest "
        f"took {f['most']:.3f} s"
    ),
    "files": lambda f: "**Hostile files**: see the table below",
    "soak": lambda f: (
        f"**A soak of {f['seconds'] / 60:.0f} minutes**, 4 threads that train, evaluate, save and "
        f"load: {f['rounds']:,} rounds, {len(f['errors'])} errors, memory {f['megabytes'][0]} MB "
        f"early and {f['megabytes'][1]} MB late: {f['growth_percent']:+.1f} %"
    ),
}


def _table(title, nets):
    columns = list(next(iter(nets.values())))
    text = f"\n{title}:\n\n| net | {' | '.join(c.replace('_', ' ') for c in columns)} |\n"
    text += "| --- |" + " --- |" * len(columns) + "\n"
    for name, row in nets.items():
        text += f"| {name} | {' | '.join(str(row[c]) for c in columns)} |\n"
    return text
