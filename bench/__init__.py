"""The benchmarks, run from a checkout: `python -m bench` and `pytest bench`."""
