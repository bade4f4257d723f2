"""A verb is found in one guess: `ptmtorrent X` is `cli/X.py` and `workflows/X.py` or `workflows/X/X.py`."""

import builtins
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.texts import verbs

VERBS = [name for name, command in verbs() if name and not hasattr(command, "commands")]


def function_of(verb: str) -> str:
    name = verb.rpartition(" ")[2]
    return f"{name}_" if hasattr(builtins, name) else name


def cli_module(verb: str) -> str:
    """`store check` has a file of its own in a folder; the short verbs of other groups share the file of the group."""
    group, _, name = verb.rpartition(" ")
    folder = f"ptmtorrent.cli.{group}.{name}" if group == "store" else f"ptmtorrent.cli.{group or name}"
    assert find_spec(folder), f"`{verb}` has no file"
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_function_in_a_file_of_its_name(verb: str) -> None:
    assert callable(getattr(import_module(cli_module(verb)), function_of(verb)))
