"""Global options, accepted before the verb and after it, and help that shows flags as flags."""

import copy
from typing import Any

import typer

GLOBAL = {"home": "home", "form": "format", "verbose": "verbose"}
"""The parameters of the program's callback, and the names under which a session takes their values."""

HELP_OPTIONS = ("-h", "--help")
_PANEL = "Global options"


def spread_globals(command: Any) -> None:  # noqa: ANN401  # Typer does not export the classes of its commands
    """Give every verb below `command` the global options; show flags without a type in the help of all."""
    options = [parameter for parameter in command.params if parameter.name in GLOBAL]
    for option in options:
        option.rich_help_panel = _PANEL
    for child in _below(command):
        child.params.extend(_after_the_verb(option) for option in options)
    for each in (command, *_below(command)):
        help_option = each.get_help_option(typer.Context(each, help_option_names=list(HELP_OPTIONS)))
        for parameter in (*each.params, help_option):
            if getattr(parameter, "is_bool_flag", False):
                parameter.metavar = ""


def _after_the_verb(option: Any) -> Any:  # noqa: ANN401  # Typer does not export the classes of its options
    copied = copy.copy(option)
    copied.expose_value = False
    copied.callback = _take
    return copied


def _take(ctx: typer.Context, option: Any, value: Any) -> Any:  # noqa: ANN401  # the signature of option callbacks
    if ctx.obj is not None:
        ctx.obj.take(GLOBAL[option.name], value)
    return value


def _below(command: Any) -> list[Any]:  # noqa: ANN401  # Typer does not export the classes of its commands
    children = list(getattr(command, "commands", {}).values())
    return [*children, *(inner for child in children for inner in _below(child))]
