"""What the address of a git remote states: where it is and whose it is. A folder of this machine states nothing."""

from collections.abc import Mapping
from typing import Any

from ptmtorrent.hubs.facts import Answer, is_web, map_text, owner_in, page_of_owner, stated
from ptmtorrent.hubs.git.addresses import protocol_of
from ptmtorrent.model.uniform_record import Facts


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the address of the package `name` states."""
    del name
    url = Answer("remote", answer).text("/url")
    url = map_text(url, lambda address: None if protocol_of(address) == "file" else address)
    web = map_text(url, lambda address: address if is_web(address) else None)
    return stated(owner=owner_in(web), url=url, owner_url=page_of_owner(web))
