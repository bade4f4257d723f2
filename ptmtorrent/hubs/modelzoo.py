"""ModelZoo.co: a catalogue with a JSON API, whose records link to git remotes that hold the weights."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ptmtorrent.errors import HubError, IntegrityError
from ptmtorrent.hubs.catalogues import CatalogueHub, Link, is_web_address, text
from ptmtorrent.hubs.client.redact import redact
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.ids import check_path


def make(options: HubOptions, session: Session) -> "ModelZoo":
    """Return the adapter; its bare clones are kept below `options.work`."""
    clones = Clones(Git(options.environment), options.work, history="history" in options.also)
    return ModelZoo(options.endpoint, clones, session)


class ModelZoo(CatalogueHub):
    """The catalogue at `endpoint`; a package is a record, named by its slug."""

    name = "modelzoo"
    prefix = "modelzoo"
    licence_in_files = True

    def catalogue(self) -> Sequence[Listed]:
        """Return a package for every record that has a usable slug.

        Raises:
            HubError: the answer is not a list of models.
        """
        what = f"the catalogue of `{self.endpoint}`"
        body, _ = self.session.read(f"{self.endpoint}/api/models/", {}, budget="api", what=what)
        return read_catalogue(body, what)

    def link(self, listed: Listed) -> Link:
        """Return the remote of the record's `link`: host and the first two components of its path."""
        record: dict[str, Any] = decode_json(listed.raw or "{}", dict[str, Any])
        url = record.get("link")
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
        raw = msgspec.json.encode(redact(row)).decode()
        found[slug] = Listed(name=slug, library=text(row, "framework"), raw=raw)
    return list(found.values())
