"""Modelhub.ai: a registry of git remotes in one JSON file; weights are in git, in release assets or in other remotes.

Files outside git are named by `init/init.json` without size or hash: the first complete download is captured.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ptmtorrent.errors import HubError, IntegrityError
from ptmtorrent.hubs.catalogues import CatalogueHub, Link, Read, Weight, is_web_address, text
from ptmtorrent.hubs.client.redact import redact
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.modelhub.config import read_facts, with_config
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.ids import check_file_path, check_path
from ptmtorrent.model.text import count

REGISTRY = "models.json"
INIT = "init/init.json"
MAX_WEIGHTS = 1000


def make(options: HubOptions, session: Session) -> "Modelhub":
    """Return the adapter; its bare clones are kept below `options.work`."""
    clones = Clones(Git(options.environment), options.work, history="history" in options.also)
    return Modelhub(options.endpoint, clones, session)


class Modelhub(CatalogueHub):
    """The registry in the git remote `endpoint`."""

    name = "modelhub"
    prefix = "modelhub"
    any_branch = True

    def catalogue(self) -> Sequence[Listed]:
        """Return a package for every entry of the registry.

        Raises:
            HubError: the remote has no registry, or it is not a JSON list.
        """
        what = f"the registry of `{self.endpoint}`"
        remote = Remote(url=self.endpoint, commit=self.clones.git.head(self.endpoint, what), package=what)
        files, _ = self.clones.files(remote)
        oid = next((file.oid for file in files if file.path == REGISTRY and file.source == "git"), None)
        if oid is None:
            raise HubError(f"{what} could not be read: `{REGISTRY}` is missing")
        body = self.clones.read(remote, oid.removeprefix("git:"))
        self.clones.release(remote)
        return read_registry(body)

    def link(self, listed: Listed) -> Link:
        """Return the remote and branch of the entry."""
        record: dict[str, Any] = decode_json(listed.raw or "{}", dict[str, Any])
        remote = text(record, "github")
        if not is_web_address(remote):
            raise HubError(f"the entry's `github` is {str(record.get('github'))[:100]!r}, not the URL of a git remote")
        return Link(remote=str(remote), ref=text(record, "github_branch") or "")

    def with_facts(self, listed: Listed, read: Read) -> Listed:
        """Return `listed` with facts from its configuration and its licence text."""
        return with_config(listed, read)

    def weights(self, listed: Listed, read: Read) -> Sequence[Weight]:
        """Return the files outside git that `init/init.json` names."""
        del listed
        data = read(INIT)
        return [] if data is None else read_init(data)


def read_registry(body: bytes) -> list[Listed]:
    """Return the packages of `models.json` in its order; `raw` is the entry's own JSON without e-mail addresses.

    Raises:
        HubError: not a JSON list of objects, or a name is missing or repeated; IntegrityError: a name that is not
            allowed in a manifest.
    """
    try:
        rows = decode_json(body, list[dict[str, Any]])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"`{REGISTRY}` could not be read: not a list of models: {error}") from error
    found: dict[str, Listed] = {}
    for row in rows:
        name = text(row, "name")
        if name is None or name in found:
            name_shown = str(row.get("name"))[:100]
            raise HubError(f"`{REGISTRY}` could not be read: the name {name_shown!r} is unusable or repeated")
        check_path(name)
        record = redact(row)
        listed = Listed(name=name, hub_id=text(row, "id"), raw=msgspec.json.encode(record).decode())
        found[name] = fill(listed, read_facts(name, record))
    return list(found.values())


def read_init(body: bytes) -> list[Weight]:
    """Return the files that `init.json` names, with URL and path in the package; a leading slash is dropped.

    Raises:
        HubError: the JSON is malformed, or a URL is unusable; IntegrityError: a path leads out of the package.
    """
    try:
        rows = decode_json(body, dict[str, Any]).get("external_contrib_files") or []
        pairs = msgspec.convert(rows, list[dict[str, str]])
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise HubError(f"`{INIT}` could not be read: {error}") from error
    if len(pairs) > MAX_WEIGHTS:
        raise HubError(f"`{INIT}` names {count(len(pairs), 'file')}, over the limit of {MAX_WEIGHTS:,}")
    found: dict[str, Weight] = {}
    for pair in pairs:
        url, path = pair.get("src_url", "").strip(), pair.get("dest_file_path", "").removeprefix("/")
        if not is_web_address(url):
            raise HubError(f"`{INIT}` names {url[:100]!r}, which is not a URL")
        check_file_path(path)
        if found.setdefault(path, Weight(url=url, path=path)).url != url:
            raise IntegrityError(f"`{INIT}` names two URLs for `{path}`")
    return list(found.values())
