"""What fastbp train does by its options, by a recipe, and by default; and whether that is possible.

Invariant: options that are wrong whatever the data are reported before the data are read.
"""

import os

import numpy as np

from fastbp.cli import rank_options
from fastbp.cli.deform_options import LIMITS, given_limits
from fastbp.cli.outputs import check_outputs
from fastbp.cli.train_options import CHAPTER_3
from fastbp.data import arguments
from fastbp.recipes import RECIPES
from fastbp.training import checkpoint
from fastbp.training.epoch_data import new_data
from fastbp.training.monitoring.learning_rates import LearningRates
from fastbp.training.settings import RuleSettings

SIZES = [784, 30, 10]  # the default; the first and the last are adapted to the data
RECIPE_OPTIONS = "sizes", "epochs", "mini_batch_size", "eta", "deform", *LIMITS  # beside CHAPTER_3
DEFAULTS = dict(epochs=30, mini_batch_size=10, dtype="float64", warmup=0, schedule=None)
CHAPTER_3_DEFAULTS = dict(
    cost="cross-entropy", lmbda=0.0, l1=0.0, activation="sigmoid", momentum=0.0, nesterov=False,
    dropout=0.0, max_norm=None, init="default", early_stopping=0,
)  # fmt: skip


def complete(options):
    """Fill in what the options leave open: what the recipe says, else the defaults.

    options.chapter_3 tells which network is trained, options.hidden the neurons of its hidden
    layers, where no sizes are given; options.as_in_source whether the result can be held against
    that of the recipe's source; options.deform becomes an argument of SGD.
    """
    recipe = RECIPES.get(options.recipe)
    options.chapter_3 = recipe is not None or any(
        getattr(options, name) is not None for name in CHAPTER_3
    )
    options.as_in_source = (
        recipe is not None
        and recipe.paper is not None
        and not any(getattr(options, name) is not None for name in (*CHAPTER_3, *RECIPE_OPTIONS))
    )
    options.hidden = SIZES[1:-1] if recipe is None else list(recipe.sizes[1:-1])
    given = {name for name, value in vars(options).items() if value is not None}
    options.of_recipe = set() if recipe is None else set(vars(recipe)) - given
    options.deform = _deform(options, None if recipe is None else recipe.deform)
    defaults = DEFAULTS | {"eta": 0.5 if options.chapter_3 else 3.0}
    if options.chapter_3:
        defaults |= CHAPTER_3_DEFAULTS
    if recipe is not None:
        defaults |= vars(recipe) | {"dtype": "float32", "sizes": None, "deform": None}
    for name, value in defaults.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)


def _deform(options, of_recipe):
    """Return the argument deform of SGD: a dictionary or None."""
    given = given_limits(options)
    if options.deform is False:
        if given:
            raise ValueError(f"--{next(iter(given))} goes with --deform, not with --no-deform")
        return None
    if options.deform is None and not given and of_recipe is None:
        return None
    return (of_recipe or {}) | given


def check(options):
    """Raise for options that are wrong whatever the data are; set options.checkpointer."""
    try:
        _check_numbers(options)
    except ValueError as error:
        name = str(error).partition(" ")[0]
        if name not in options.of_recipe:
            raise
        option = ("no-" if getattr(options, name) is True else "") + name.replace("_", "-")
        raise ValueError(f"{error}; that is the recipe's, --{option} has precedence") from None
    rank_options.check(options)
    check_outputs(options)
    _check_checkpoint(options)
    config = {"seed": options.seed, "init": options.init if options.chapter_3 else None}
    every = 30.0 if options.checkpoint_every is None else options.checkpoint_every
    options.checkpointer = checkpoint.Checkpointer(
        options.checkpoint, every, options.resume,
        {name: value for name, value in config.items() if value is not None},
    )  # fmt: skip


def _check_checkpoint(options):
    """Raise for options of checkpoints that do not go together, and for one that is there."""
    path = options.checkpoint
    if path is None:
        if options.resume:
            raise ValueError("--resume needs --checkpoint PATH: where the state of the run is")
        if options.checkpoint_every is not None:
            raise ValueError("--checkpoint-every needs --checkpoint PATH: where it is written")
    elif not options.resume:
        there = [p for p in (path, path + checkpoint.PREVIOUS) if os.path.exists(p)]
        if there:
            names = " and ".join(there)
            raise ValueError(
                f"{there[0]} exists: --resume goes on with it; to begin anew, remove {names}"
            )


def _check_numbers(options):
    """Raise for settings that are wrong whatever the data are."""
    dtype = np.dtype(options.dtype)
    arguments.check_count("epochs", options.epochs, 0)
    arguments.check_count("mini_batch_size", options.mini_batch_size, 1)
    arguments.check_rate("eta", options.eta, dtype)
    LearningRates(
        dtype, options.eta, options.epochs, options.schedule, options.warmup, may_halve=True
    )
    new_data.deformation_of(options.deform)
    if options.chapter_3:
        num_layers = len(options.sizes or options.hidden) + 2 * (options.sizes is None)
        RuleSettings(
            dtype, num_layers, options.lmbda, options.l1, options.momentum, options.nesterov,
            options.dropout, options.max_norm,
        )  # fmt: skip
        arguments.check_count("early_stopping", options.early_stopping, 0)
        if options.final and (options.early_stopping or options.schedule == "halve"):
            name = "--early-stopping" if options.early_stopping else "--schedule halve"
            raise ValueError(f"{name} needs validation images, which --final trains on")
