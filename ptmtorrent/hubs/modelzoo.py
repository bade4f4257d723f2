"""ModelZoo.co: a catalogue with a JSON API, whose records link to git remotes that hold the weights.

A record whose `link` is null is a package without files: what the catalogue says of it is kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ptmtorrent.errors import HubError, IntegrityError
from ptmtorrent.facts.papers import papers_in
from ptmtorrent.hubs.catalogues import CatalogueHub, Link, is_web_address, text
from ptmtorrent.hubs.client.redact import redact
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.facts import MAX_TEXTS, Answer, fill, owner_in, page_of_owner, stated
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.ids import check_path
from ptmtorrent.model.uniform_record import Facts, Texts


def make(options: HubOptions, session: Session) -> "ModelZoo":
    """Return the adapter; its bare clones are kept below `options.work`."""
    clones = Clones(Git(options.environment), options.work, history="history" in options.also)
    return ModelZoo(options.endpoint, clones, session)


class ModelZoo(CatalogueHub):
    """The catalogue at `endpoint`; a package is a record, named by its slug."""

    name = "modelzoo"
    prefix = "modelzoo"

    def catalogue(self) -> Sequence[Listed]:
        """Return a package for every record that has a usable slug.

        Raises:
            HubError: the answer is not a list of models.
        """
        what = f"the catalogue of `{self.endpoint}`"
        body, _ = self.session.read(f"{self.endpoint}/api/models/", {}, budget="api", what=what)
        return read_catalogue(body, what)

    def link(self, listed: Listed) -> Link | None:
        """Return the remote of the record's `link`: host and the first two components of its path; None without one."""
        record: dict[str, Any] = decode_json(listed.raw or "{}", dict[str, Any])
        url = record.get("link")
        if "link" in record and url is None:
            return None
        if not is_web_address(url):
            raise HubError(f"the record links to {str(url)[:100]!r}, which is not the URL of a git remote")
        scheme, _, rest = str(url).partition("#")[0].partition("?")[0].partition("://")
        steps = [step for step in rest.split("/") if step]
        if len(steps) < 3:
            raise HubError(f"the record links to `{url}`, which is not the URL of a git remote")
        return Link(remote=f"{scheme}://{'/'.join(steps[:3]).removesuffix('.git')}")


def is_usable(slug: str) -> bool:
    """Return whether `slug` is allowed as the name of a package."""
    try:
        check_path(slug)
    except IntegrityError:
        return False
    return True


def read_catalogue(body: bytes, what: str) -> list[Listed]:
    """Return the packages of the catalogue. Records without a usable slug cannot be requested and are left out.

    Raises:
        HubError: the body is not JSON with a list `models`.
    """
    try:
        rows = decode_json(body, dict[str, list[dict[str, Any]]]).get("models", [])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"{what} could not be read: not a list of models: {error}") from error
    found: dict[str, Listed] = {}
    for row in rows:
        slug = text(row, "slug")
        if slug is None or slug in found or "/" in slug:
            continue
        if not is_usable(slug):
            continue
        record = redact(row)
        listed = Listed(name=slug, raw=msgspec.json.encode(record).decode())
        found[slug] = fill(listed, read_facts(slug, record))
    return list(found.values())


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the record of the package `name` states. `papers` has addresses by title, or is null."""
    del name
    look = Answer("record", answer)
    url, categories = look.web("/link"), answer.get("categories")
    rows = [row for row in (categories if isinstance(categories, list) else ()) if isinstance(row, dict)]
    titles = tuple(title for row in rows if (title := text(row, "title")))[:MAX_TEXTS]
    named = answer.get("papers")
    papers = [address for address in named.values() if isinstance(address, str)] if isinstance(named, dict) else []
    spelled = tuple(dict.fromkeys(paper for address in papers for paper in papers_in(address) or (address,)))
    return stated(
        title=look.text("/title"),
        owner=owner_in(url),
        url=url,
        owner_url=page_of_owner(url),
        task=look.text("/categories/0/title"),
        papers=Texts(spelled[:MAX_TEXTS], look.source("/papers")) if spelled else None,
        library=look.text("/framework"),
        tags=Texts(titles, look.source("/categories")) if titles else None,
        description=look.description("/description", "/long_desc"),
        likes=look.count("/stars"),
    )
