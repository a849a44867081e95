"""Finding the files of a data set in a folder, or beside one of them, and reading them.

Invariants: a file is used only after its header, its length and its labels have been checked;
nothing in it is executed; a folder with several data sets is an error.
"""

import pathlib

from fastbp.data import messages
from fastbp.data.readers import array_files, csv_files, idx_files, npz_files, pickle_files
from fastbp.data.readers.image_sets import as_set, split, warn_about_black_images

# The same data as the IDX files without a prefix: used only where a folder does not hold these.
ONE_FILE = ("mnist.pkl.gz", "mnist.npz")
PICKLES = ".pkl.gz", ".pkl"
EXPANDED = "mnist_expanded.pkl.gz"  # used only where a folder holds no other data set
EXPECTED = (
    "expected a folder with the four IDX files (train-images-idx3-ubyte.gz and so on) or a "
    "mnist.pkl.gz, mnist.npz, or two csv files with train and test in their names; or one of "
    "these files"
)


def load(path, pixels=False, transpose=False):
    """Return (training, validation, test) from a folder or file, as mnist_loader.load_data does.

    Raises ValueError for files with wrong content, OSError for files that cannot be read.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {EXPECTED}")
    sets = _read_folder(path) if path.is_dir() else _read_file(path)
    warn_about_black_images(sets[0][0], f"{path}: the training images")
    names = "training", "validation", "test"
    return tuple(
        as_set(images, labels, pixels, transpose, f"{path}: the {name} images")
        for name, (images, labels) in zip(names, sets)
    )


def is_data_name(name):
    """Tell whether a file of this name is taken for a data set, or a part of one."""
    forms = idx_files, npz_files, array_files
    return (
        any(form.parse_name(name) for form in forms)
        or name in ONE_FILE
        or name.endswith(PICKLES)
        or csv_files.is_csv(name)
    )


def is_complete(folder):
    """Tell whether a folder holds MNIST's four IDX files and all of them can be read."""
    try:
        return bool(idx_files.read(*_complete_sets(folder, idx_files)[""]))
    except (KeyError, OSError, ValueError):
        return False


def _read_folder(folder):
    """Return the three sets of the one data set in a folder."""
    idx_sets, npz_sets, csv_sets, array_sets = (
        _complete_sets(folder, form) for form in (idx_files, npz_files, csv_files, array_files)
    )
    found = [(paths[0], idx_files.read, paths) for paths in idx_sets.values()]
    if "" not in idx_sets:
        found += [(folder / name, None, None) for name in ONE_FILE if (folder / name).is_file()][:1]
    found += [(paths[0], npz_files.read_four, paths) for paths in npz_sets.values()]
    found += [(paths[0], csv_files.read_pair, paths) for paths in csv_sets.values()]
    found += [(paths[0], array_files.read, paths) for paths in array_sets.values()]
    if not found and (folder / EXPANDED).is_file():
        found.append((folder / EXPANDED, None, None))
    if not found:
        raise FileNotFoundError(f"{folder} holds no MNIST{_missing_files(folder)}; {EXPECTED}")
    if len(found) > 1:
        names = ", ".join(messages.shorten(path.name, 80) for path, *_ in found[:4])
        names += ", ..." * (len(found) > 4)
        advice = "pass the path of one of these files instead of the folder"
        if csv_sets:
            advice += "; for a pair of csv files, give it a folder of its own"
        raise ValueError(f"{folder} holds {len(found)} data sets: {names}; {advice}")
    path, read, paths = found[0]
    return _split_training(*read(*paths)) if read else _read_file(path)


def _read_file(path):
    """Return the three sets of the data set that a file is, or is a part of."""
    for form, read in (
        (idx_files, idx_files.read), (npz_files, npz_files.read_four),
        (array_files, array_files.read),
    ):  # fmt: skip
        if form.parse_name(path.name):
            return _split_training(*read(*_files_beside(path, form)))
    if path.name.endswith(".npz"):
        return _split_training(*npz_files.read(path))
    if path.name.endswith(PICKLES):
        return pickle_files.read(path)
    if csv_files.is_csv(path.name):
        images, labels = csv_files.read(path)
        if len(images) < csv_files.MIN_SAMPLES:
            raise ValueError(
                f"{path} holds {len(images)} samples, expected at least {csv_files.MIN_SAMPLES}, "
                f"to split off a sixth for the test and a sixth for validation"
            )
        return _split_training(*split(images, labels))
    raise ValueError(f"{path} is not a known kind of file; {EXPECTED}")


def _split_training(training, test):
    """Return (training, validation, test): the last sixth of the training set is for validation."""
    return *split(*training), test


def _files_beside(path, form):
    """Return the paths of all files of the data set that `path` is a part of, in order of role."""
    name, role, preference = form.parse_name(path.name)
    candidates = _sets_in(path.parent, form)[name] | {role: {preference: path}}
    roles = _named_alike(candidates, preference)
    for other in form.ROLES:
        if other not in roles:
            raise FileNotFoundError(
                f"{path} needs the {other.replace('-', ' ')} of the same data set beside it, a "
                f"file named like it with {other.replace('-', ' and ')}"
            )
    return [roles[other] for other in form.ROLES]


def _sets_in(folder, form):
    """Return {name of a data set: {role: {preference: path}}} for the files of one format."""
    sets = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        parsed = form.parse_name(path.name)
        if parsed and path.is_file():
            name, role, preference = parsed
            sets.setdefault(name, {}).setdefault(role, {}).setdefault(preference, path)
    return sets


def _named_alike(roles, preference=None):
    """Return {role: path}: of several files with one role, one that is named like the others.

    Images and labels of a part have one form if they can: that of `preference`, or the smallest.
    """
    chosen = {}
    for part in sorted({role.partition("-")[0] for role in roles}):
        files = {role: paths for role, paths in roles.items() if role.partition("-")[0] == part}
        form = _common_form([*files.values()], preference)
        for role, paths in files.items():
            chosen[role] = paths[min(paths, key=lambda other: (_differences(form, other), other))]
    return chosen


def _common_form(files, preference):
    """Return the preference that most of the files of each role share, or nearly so.

    files: a dictionary {preference: path} for each role.
    """

    def key(form):
        nearest = [min(_differences(form, other) for other in paths) for paths in files]
        return sum(nearest), _differences(form, preference or form), form

    return min({form for paths in files for form in paths}, key=key)


def _differences(preference, other):
    return sum(a != b for a, b in zip(preference, other))


def _complete_sets(folder, form):
    """Return {name of a data set: [path of each role]} for those that have all their files."""
    complete = {}
    for name, roles in _sets_in(folder, form).items():
        if all(role in roles for role in form.ROLES):
            paths = _named_alike(roles)
            complete[name] = [paths[role] for role in form.ROLES]
    return complete


def _missing_files(folder):
    """Return, as a part of a message, which files of an incomplete data set are missing."""
    for form in (idx_files, npz_files, csv_files, array_files):
        for roles in _sets_in(folder, form).values():
            present = next(path for paths in roles.values() for path in paths.values()).name
            missing = [role.replace("-", " ") for role in form.ROLES if role not in roles]
            alone = "; a csv file alone can be passed by its path" * (form is csv_files)
            return f": with {present} belong files for {', '.join(missing)}{alone}"
    return ""
