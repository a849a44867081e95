"""The benchmarks, run from a checkout; `python -m bench --help` names all commands."""
