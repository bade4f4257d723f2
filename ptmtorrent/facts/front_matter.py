"""Reads YAML front matter, the part of a card between `---` lines, without running or expanding anything."""

import re

import yaml

from ptmtorrent.errors import HubError
from ptmtorrent.model.text import count

MAX_FRONT_CHARACTERS = 1 << 16
MAX_EVENTS = 4096
"""Limit of YAML events in a front matter; a real one has about 60."""

MAX_BRACKETS = 500
"""Limit of brackets and braces in a front matter: the time for nested ones grows with their square."""

FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)


def read_front(content: str) -> dict[str, object]:
    """Return a YAML mapping. Anchors are refused, because a few of them can expand beyond the available memory.

    Raises:
        HubError: `content` is not such a mapping, or too long or too deep.
    """
    if len(content) > MAX_FRONT_CHARACTERS:
        raise HubError(f"the front matter of the card has more than {count(MAX_FRONT_CHARACTERS, 'character')}")
    if sum(content.count(mark) for mark in "[{") > MAX_BRACKETS:
        raise HubError(f"the front matter of the card is refused: it has more than {count(MAX_BRACKETS, 'bracket')}")
    try:
        for number, event in enumerate(yaml.parse(content, Loader=yaml.SafeLoader)):
            if number > MAX_EVENTS or getattr(event, "anchor", None) is not None:
                raise HubError("the front matter of the card is refused: it has anchors or too many values")
        front = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise HubError(f"the front matter of the card is not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(front, dict):
        raise HubError("the front matter of the card is not a mapping")
    return {str(key): value for key, value in front.items()}
