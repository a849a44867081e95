"""The options of fastbp train."""

import argparse

from fastbp import network2
from fastbp.cli.deform_options import add_deform_options
from fastbp.cli.options import (
    add_data,
    add_threads,
    parse_interval,
    parse_rates,
    parse_schedule,
    parse_sizes,
)
from fastbp.cli.rank_options import add_rank_options
from fastbp.recipes import RECIPES
from fastbp.training.compute import plans

# Any of these trains network2's Network. (network's has schedules, too, but not "halve".)
CHAPTER_3 = (
    "cost", "lmbda", "l1", "activation", "momentum", "nesterov", "dropout", "max_norm", "init",
    "schedule", "warmup", "early_stopping",
)  # fmt: skip


def add_options(parser):
    """Add the options of fastbp train."""
    add = parser.add_argument
    add_data(add)
    add("--recipe", choices=RECIPES, metavar="NAME",
        help="train by named settings; other options have precedence over them")  # fmt: skip
    add("--list-recipes", action=_ListRecipes, help="print a table of the recipes")
    add("--sizes", type=parse_sizes, metavar="784,30,10",
        help="neurons per layer (default: 784,30,10, or outputs as the data need; of recipes their "
        "own)")  # fmt: skip
    add("--epochs", type=int, metavar="30", help="(default: 30, or the recipe's)")
    add("--mini-batch-size", type=int, metavar="10", help="(default: 10, or the recipe's)")
    add("--eta", type=float, metavar="3.0", help="learning rate (default: 3.0; 0.5 for chapter 3)")
    add("--seed", type=int, metavar="N", help="seed of random and numpy.random, as in the book")
    add("--dtype", choices=("float64", "float32"), help="(default: float64; of recipes float32)")
    add_threads(add)
    add("--final", action="store_true",
        help="train on the validation images, too; chapter 3 then measures nothing until the "
        "end")  # fmt: skip
    add("--save", metavar="model.npz",
        help="write the trained network to this file (for chapter 3: JSON)")  # fmt: skip
    add("--checkpoint", metavar="PATH",
        help="write the state of the run to this file, regularly and at the end; the one before "
        "it is kept as PATH.previous: to begin anew, remove both")  # fmt: skip
    add("--checkpoint-every", type=parse_interval, metavar="30s",
        help="seconds, e.g. 30s, or epochs, e.g. 5 (default: 30s)")  # fmt: skip
    add("--shuffle", choices=("book", "blocks"),
        help="the book's order, or blocks of the file in random order, shuffled in windows "
        "(default: blocks for files larger than the free memory)")  # fmt: skip
    add("--resume", action="store_true",
        help="continue from the checkpoint, if there is one, and print its lines again "
        "(--epochs: in all; as many as before where a schedule extends over them)")  # fmt: skip
    add("--quiet", action="store_true", help="print the results only: no epochs, no progress bar")
    add("--on-divergence", choices=("stop", "continue"), default="stop",
        help="what to do when weights become infinite or NaN (default: stop)")  # fmt: skip
    deform = parser.add_argument_group(
        "deformed images", "new in each epoch if one of these is given; the others then have their "
        "defaults, and 0 turns one off. Numbers are the limits of random ones, both ways"
    )  # fmt: skip
    deform.add_argument("--deform", action=argparse.BooleanOptionalAction,
        help="deform all training images (default: if the recipe does)")  # fmt: skip
    add_deform_options(deform.add_argument)
    ranks = parser.add_argument_group("several processes", "started by mpiexec; extra: mpi")
    add_rank_options(ranks.add_argument)
    chapter_3 = parser.add_argument_group(
        "chapter 3", "if one of these or a recipe is given, network2's Network is trained"
    )
    _add_chapter_3(chapter_3.add_argument)


def _add_chapter_3(add):
    """Add the options of fastbp train that only network2 has."""
    add("--cost", choices=network2.COSTS, help="(default: cross-entropy)")
    add("--init", choices=("default", "large", "he"), help="initial weights (default: default)")
    add("--lmbda", type=float, metavar="5.0", help="L2 regularisation (default: 0)")
    add("--l1", type=float, metavar="5.0", help="L1 regularisation (default: 0)")
    add("--activation", choices=plans.HIDDEN_ACTIVATIONS,
        help="of the hidden layers (default: sigmoid)")  # fmt: skip
    add("--momentum", type=float, metavar="0.9", help="(default: 0)")
    add("--nesterov", action=argparse.BooleanOptionalAction, help="Nesterov's momentum")
    add("--dropout", type=parse_rates, metavar="0.5",
        help="fraction of the hidden neurons, or of each layer's, the inputs first: 0.1,0.5 "
        "(default: 0)")  # fmt: skip
    add("--max-norm", type=float, metavar="3.0", help="greatest length of the weights of a neuron")
    add("--schedule", type=parse_schedule, metavar="NAME",
        help="how eta falls: geometric:0.01 (to a hundredth), linear, cosine, step:10,0.5; or "
        "halve, after 10 epochs (or --early-stopping N) without improvement")  # fmt: skip
    add("--warmup", type=int, metavar="N", help="eta rises linearly in the first N epochs")
    add("--early-stopping", type=int, metavar="N",
        help="end after N epochs without improvement on the validation images")  # fmt: skip


class _ListRecipes(argparse.Action):
    """Print a table of the recipes, and exit."""

    def __init__(self, option_strings, dest, **how):
        super().__init__(option_strings, dest, nargs=0, **how)

    def __call__(self, parser, namespace, values, option_string=None):
        rows = [("recipe", "network", "epochs", "deformed", "source and its test error")]
        for name, recipe in RECIPES.items():
            sizes = "-".join(map(str, recipe.sizes))
            deformed = "yes" if recipe.deform is not None else "no"
            error = "" if recipe.paper is None else f"{recipe.paper:.2f} %, "
            source = error + recipe.source
            rows.append((name, sizes, str(recipe.epochs), deformed, source))
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        print("\nWhere they are not the source's:")
        for name, recipe in RECIPES.items():
            if recipe.differs:
                print(f"  {name}: {recipe.differs}")
        parser.exit()
