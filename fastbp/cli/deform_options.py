"""How images are deformed: the options that fastbp train and expand have, and what they say."""

from fastbp.cli.options import parse_pair

LIMITS = "elastic", "rotation", "shear", "scale", "shift"


def add_deform_options(add):
    """Add the options that say how far images are deformed."""
    add("--elastic", type=parse_pair, metavar="36,5",
        help="alpha and sigma of elastic fields; 0,1 for none (default: 36,5)")  # fmt: skip
    add("--rotation", type=float, metavar="15", help="degrees, half for 1 and 7 (default: 15)")
    add("--shear", type=float, metavar="15",
        help="degrees; a coin decides: rotation or shear (default: 15)")  # fmt: skip
    add("--scale", type=float, metavar="15", help="percent (default: 15)")
    add("--shift", type=float, metavar="1", help="pixels (default: 1)")


def given_limits(options):
    """Return the arguments of Deformation that the options give, as a dictionary."""
    given = {name: value for name in LIMITS if (value := getattr(options, name)) is not None}
    if "elastic" in given and not given["elastic"][0]:
        given["elastic"] = None
    return given
