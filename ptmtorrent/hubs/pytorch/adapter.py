"""PyTorch Hub: cards in a git remote, each naming another remote whose `hubconf.py` names the weights.

One card is one package (ADR 0023). The remotes that cards name are on the same forge as the cards.
"""

from collections.abc import Mapping, Sequence

import msgspec

from ptmtorrent.hubs.catalogues import CatalogueHub, Link, Read, Weight, weight_of
from ptmtorrent.hubs.client.redact import redact_text
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.pytorch.cards import MAX_CARD_BYTES, Card, find_weights, read_card
from ptmtorrent.hubs.pytorch.facts import read_facts
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.bounds import decode_json

FORGE = "https://github.com"
NOT_CARDS = {"README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md"}


def make(options: HubOptions, session: Session) -> "PyTorchHub":
    """Return the adapter; its bare clones are kept below `options.work`."""
    clones = Clones(Git(options.environment), options.work, history="history" in options.also)
    return PyTorchHub(options.endpoint, clones, session)


class PyTorchHub(CatalogueHub):
    """The cards in the git remote `endpoint`, `https://forge/owner/name`."""

    name = "pytorch"
    prefix = "pytorch"

    def catalogue(self) -> Sequence[Listed]:
        """Return a package for every card, including cards that cannot be parsed."""
        what = f"the cards of `{self.endpoint}`"
        remote = Remote(url=self.endpoint, commit=self.clones.git.head(self.endpoint, what), package=what)
        files, _ = self.clones.files(remote)
        cards = [file for file in files if file.path.endswith(".md") and "/" not in file.path]
        found = []
        for file in cards:
            if file.path in NOT_CARDS or file.oid is None or file.source != "git" or (file.size or 0) > MAX_CARD_BYTES:
                continue
            data = self.clones.read(remote, file.oid.removeprefix("git:"))
            found.append(list_card(file.path, data, self._forge))
        self.clones.release(remote)
        return found

    @property
    def _forge(self) -> str:
        return self.endpoint.rsplit("/", 2)[0]

    def link(self, listed: Listed) -> Link:
        """Return the remote and ref that the card loads from."""
        card = _card(listed)
        return Link(remote=f"{self._forge}/{card.owned}", ref=card.ref)

    def cards(self, listed: Listed) -> Mapping[str, bytes]:
        """Return the card, which lies in the catalogue and not in the remote."""
        record = decode_json(listed.raw or "{}", dict[str, str])
        return {record["card"]: record["text"].encode()} if {"card", "text"} <= record.keys() else {}

    def weights(self, listed: Listed, read: Read) -> Sequence[Weight]:
        """Return the weights that the card's entry points in `hubconf.py` can load."""
        data = read("hubconf.py")
        return [] if data is None else [weight_of(url) for url in find_weights(data, _card(listed).entries, read)]


def _card(listed: Listed) -> Card:
    record = decode_json(listed.raw or "{}", dict[str, str])
    return read_card(record.get("text", "").encode())


def list_card(path: str, data: bytes, forge: str = FORGE) -> Listed:
    """Return the package of a card, whose remote is at `forge`. A malformed card is listed too.

    `describe` raises its error.
    """
    name = path.removesuffix(".md")
    record = {"card": path, "text": redact_text(data.decode(errors="replace")), "forge": forge}
    return fill(Listed(name=name, raw=msgspec.json.encode(record).decode()), read_facts(name, record))
