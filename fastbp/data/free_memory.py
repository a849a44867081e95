"""How much memory this process may still fill: what decides whether a file is read in windows."""

import os
import pathlib

INFINITE = float("inf")
CGROUP = "/sys/fs/cgroup"


def free_memory(meminfo="/proc/meminfo", root=CGROUP, own="/proc/self/cgroup"):
    """Return how many bytes are free: those of the machine, or of a control group if fewer.

    Files that the system has cached count as free. Where the system does not tell (not Linux), it
    is the whole memory of the machine.
    """
    return min(_of_machine(meminfo), _of_control_groups(pathlib.Path(root), own))


def _of_machine(meminfo):
    kilobytes = _numbers_in(pathlib.Path(meminfo)).get("MemAvailable:")
    if kilobytes is not None:
        return kilobytes * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, or a system without these names
        return INFINITE


def _of_control_groups(root, own):
    """Return what the control groups leave: containers are limited so."""
    least = INFINITE
    for line in _lines_of(pathlib.Path(own)):
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):  # a limit of any group above holds, too
            least = min(least, _of_group(base.joinpath(*parts[:depth]), *names))
    return least


def _of_group(folder, limit_name, usage_name):
    limit, usage = (_lines_of(folder / name)[:1] for name in (limit_name, usage_name))
    if not limit or not usage or not limit[0].isdigit():  # "max"
        return INFINITE
    statistics = _numbers_in(folder / "memory.stat")
    cached = sum(statistics.get(name, 0) for name in ("active_file", "inactive_file"))
    return max(0, int(limit[0]) - int(usage[0]) + cached)


def _numbers_in(path):
    """Return {first word: second word as a number} of the lines of a file."""
    words = (line.split() for line in _lines_of(path))
    return {w[0]: int(w[1]) for w in words if len(w) > 1 and w[1].isdigit()}


def _lines_of(path):
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
