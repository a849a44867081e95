"""fastbp --print-completion: a script that makes a shell complete the words of the command line."""

import argparse

SHELLS = "bash", "zsh", "tcsh"
# Options and arguments whose value is a file or a folder.
FILES = {"checkpoint", "data", "images", "model", "path", "pictures", "save", "sheet", "show"}


class PrintCompletion(argparse.Action):
    """Print the script for a shell, and exit."""

    def __call__(self, parser, namespace, shell, option_string=None):
        try:
            import shtab
        except ImportError:
            parser.error(f"{option_string} needs shtab: pip install 'fastbp[completion]'")
        _mark_files(parser, shtab.FILE)
        print(shtab.complete(parser, shell))
        parser.exit()


def _mark_files(parser, complete):
    """Set how a shell completes the arguments of a parser, and of its commands, that are files."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_files(command, complete)
        elif action.dest in FILES:
            action.complete = complete
