"""What verbs share: the options of a channel, the global options, and option values read as types."""

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ptmtorrent.cli._completion import complete_subsets
from ptmtorrent.cli._session import Session
from ptmtorrent.errors import UsageError
from ptmtorrent.scrub import shown

if TYPE_CHECKING:
    from ptmtorrent.reading.open_channel import OpenChannel
    from ptmtorrent.stop import Stop
    from ptmtorrent.transports.globus.locations import GlobusAccess

ChannelOption = Annotated[
    str | None,
    typer.Option(
        "--channel", metavar="LOC", help="Location of a channel: a folder, URL or Globus folder (default: the sample)."
    ),
]
ReleaseOption = Annotated[
    str | None,
    typer.Option("--release", metavar="NAME|b3:HASH", help="Release name or content root (default: the newest)."),
]
SubsetOption = Annotated[
    str | None,
    typer.Option("--subset", metavar="NAME", help="A subset of the release.", autocompletion=complete_subsets),
]


def open_requested(
    session: Session, channel: str | None, release: str | None, stop: "Stop", *, accept_expired: bool = False
) -> "OpenChannel":
    """Open the channel that the options name, else the configured one, else the sample, and show which release it is.

    Its reads heed `stop`. With `accept_expired`, expired signatures are a warning.

    Raises:
        TrustError: the channel is not trusted, or its signatures do not hold.
        NotFound: no such channel or release.
    """
    from ptmtorrent.model.moments import read_clock
    from ptmtorrent.reading.open_channel import open_channel

    settings = session.settings.with_flags(channel=channel)
    home, emit = session.home, session.emit

    def globus() -> "GlobusAccess":
        from ptmtorrent.reading.collection import access_of

        return access_of(settings, home)

    opened = open_channel(
        settings.channel,
        release,
        home,
        clock=read_clock,
        emit=emit,
        globus=globus,
        stop=stop,
        accept_expired=accept_expired,
    )
    emit(opened.cite())
    return opened


_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/@]+)):([0-9]{1,5})")
MAX_PORT = 65535

Choice = TypeVar("Choice", bound=str)


def parse_address(text: str, *, any_port: bool = False) -> tuple[str, int]:
    """Read `HOST:PORT` or `[IPV6]:PORT`; port 0 (any free port) only if `any_port`.

    Raises:
        UsageError: anything else.
    """
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match[3]) if match else -1
    if match is None or not (0 if any_port else 1) <= port <= MAX_PORT:
        raise UsageError(
            f"`{text}` is not an address", hint="write HOST:PORT, such as `127.0.0.1:6881` or `[::1]:6881`"
        )
    return match[1] or match[2], port


def parse_url(text: str, schemes: Sequence[str], option: str) -> str:
    """Return a URL as it was typed, once it starts like one of `schemes`.

    Raises:
        UsageError: anything else.
    """
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)) or not text.split("://", 1)[1].strip("/"):
        raise UsageError(
            f"`{option}` cannot be `{shown(text)}`", hint=f"write a URL, such as `{schemes[0]}://example.org`"
        )
    return text


def parse_list(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the items of an option that may be repeated, each value being one item or several joined by commas."""
    return tuple(item.strip() for text in texts or () for item in text.split(",") if item.strip())


def parse_choices(texts: str | Sequence[str] | None, choices: Sequence[Choice], option: str) -> tuple[Choice, ...]:
    """Return the items of a list option (`parse_list`), each one of `choices`; empty when the option was not given.

    Raises:
        UsageError: an item that is not a choice.
    """
    named = {str(choice): choice for choice in choices}
    items = parse_list([texts] if isinstance(texts, str) else texts)
    if unknown := next((item for item in items if item not in named), None):
        known = ", ".join(f"`{choice}`" for choice in choices)
        raise UsageError(f"`{option}` cannot be `{unknown}`", hint=f"choose from {known}, joined by commas")
    return tuple(named[item] for item in items)


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
