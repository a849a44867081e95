"""Prints the ratios at the end of the benchmarks."""

RATIOS = []


def pytest_terminal_summary(terminalreporter):
    if RATIOS:
        terminalreporter.section("one epoch of the book's algorithm against fastbp")
        for line in RATIOS:
            terminalreporter.write_line(line)
