"""Finding the files of a data set in a folder, or beside one of them, and reading them.

Invariants: a file is used only after its header, its length and its labels have been checked;
nothing in it is executed; where a folder holds several data sets, none is chosen in silence.
"""

import pathlib

from fastbp.data import files
from fastbp.data.readers import csv_files, idx_files, npz_files, pickle_files
from fastbp.data.readers.image_sets import as_set, split, warn_of_black_images

BOOK = ("mnist.pkl.gz", "mnist.npz")  # MNIST, as train-images-idx3-ubyte.gz and so on are
EXPANDED = "mnist_expanded.pkl.gz"  # MNIST once more: read only where the others are not
KNOWN = (
    "expected a folder with the four IDX files (train-images-idx3-ubyte.gz and so on) or a "
    "mnist.pkl.gz, mnist.npz, or two csv files with train and test in their names; or one of "
    "these files"
)


def load(path, pixels=False, transpose=False):
    """Return (training, validation, test) from a folder or file, as mnist_loader.load_data does.

    Raises ValueError for content that is not what it should be, OSError if it can't be read.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {KNOWN}")
    sets = _read_folder(path) if path.is_dir() else _read_file(path)
    warn_of_black_images(sets[0][0], f"{path}: the training images")
    names = "training", "validation", "test"
    return tuple(
        as_set(images, labels, pixels, transpose, f"{path}: the {name} images")
        for name, (images, labels) in zip(names, sets)
    )


def is_whole(folder):
    """Tell whether a folder holds MNIST's four IDX files and all of them can be read."""
    try:
        return bool(idx_files.read(*_complete(_splits(folder, idx_files), idx_files)[""]))
    except (KeyError, OSError, ValueError):
        return False


def _read_folder(folder):
    """Return the three sets of the one data set in a folder."""
    idx, four = (_complete(_splits(folder, form), form) for form in (idx_files, npz_files))
    csv = _csv_pairs(folder)
    books = [folder / name for name in BOOK if (folder / name).is_file()]
    found = [(paths[0], idx_files.read, paths) for paths in idx.values()]
    if books and "" not in idx:
        found.append((books[0], None, None))
    found += [(paths[0], npz_files.read_four, paths) for paths in four.values()]
    found += [(paths[0], csv_files.read_pair, paths) for paths in csv]
    if not found and (folder / EXPANDED).is_file():
        found.append((folder / EXPANDED, None, None))
    if not found:
        raise FileNotFoundError(f"{folder} holds no MNIST{_lacking(folder)}; {KNOWN}")
    if len(found) > 1:
        names = ", ".join(files.brief(path.name, 80) for path, *_ in found[:4])
        names += ", ..." * (len(found) > 4)
        advice = "pass the path of one of these files instead of the folder"
        if csv:
            advice += "; for a pair of csv files, give it a folder of its own"
        raise ValueError(f"{folder} holds {len(found)} data sets: {names}; {advice}")
    path, read, paths = found[0]
    return _three(*read(*paths)) if read else _read_file(path)


def _read_file(path):
    """Return the three sets of the data set that a file is, or is a part of."""
    for form, read in ((idx_files, idx_files.read), (npz_files, npz_files.read_four)):
        named = form.parse(path.name)
        if named:
            prefix, role, _ = named
            paths_of = _splits(path.parent, form)[prefix] | {role: path}
            for other in form.ROLES:
                if other not in paths_of:
                    raise FileNotFoundError(
                        f"{path} needs the {other.replace('-', ' ')} of the same data set beside "
                        f"it, a file named like it with {other.replace('-', ' and ')}"
                    )
            return _three(*read(*(paths_of[other] for other in form.ROLES)))
    if path.name.endswith(".npz"):
        return _three(*npz_files.read(path))
    if path.name.endswith((".pkl.gz", ".pkl")):
        return pickle_files.read(path)
    if csv_files.is_csv(path.name):
        images, labels = csv_files.read(path)
        if len(images) < csv_files.FEWEST:
            raise ValueError(
                f"{path} holds {len(images)} samples, expected at least {csv_files.FEWEST}, to "
                f"split off a sixth for the test and a sixth for validation"
            )
        rest, test = split(images, labels)
        return _three(rest, test)
    raise ValueError(f"{path} is not a known kind of file; {KNOWN}")


def _three(training, test):
    """Return (training, validation, test): the last sixth of the training set is split off."""
    return *split(*training), test


def _splits(folder, form):
    """Return {prefix: {role: path}} for the files of one format in a folder."""
    best = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        named = form.parse(path.name)
        if named and path.is_file():
            prefix, role, preference = named
            roles = best.setdefault(prefix, {})
            if role not in roles or preference < roles[role][0]:
                roles[role] = preference, path
    return {
        prefix: {role: path for role, (_, path) in roles.items()} for prefix, roles in best.items()
    }


def _complete(splits, form):
    """Return {prefix: [path of each role]} of the data sets that have all their files."""
    return {
        prefix: [roles[role] for role in form.ROLES]
        for prefix, roles in splits.items()
        if all(role in roles for role in form.ROLES)
    }


def _csv_pairs(folder):
    return list(_complete(_splits(folder, csv_files), csv_files).values())


def _lacking(folder):
    """Return, as a part of a message, which files of a data set that has begun are missing."""
    for form in (idx_files, npz_files, csv_files):
        for roles in _splits(folder, form).values():
            there = next(iter(roles.values())).name
            lacking = [role.replace("-", " ") for role in form.ROLES if role not in roles]
            alone = "; a csv file alone can be passed by its path" * (form is csv_files)
            return f": with {there} belong files for {', '.join(lacking)}{alone}"
    return ""
