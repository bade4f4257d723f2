"""The supported hubs. The module of a hub is imported when needed; it has a `make(options, session)`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ptmtorrent.errors import UsageError
from ptmtorrent.scrub import Login

if TYPE_CHECKING:
    from ptmtorrent.hubs.port import Hub, NewSession


@dataclass(frozen=True, kw_only=True)
class HubOptions:
    """The options of a hub. `work` is a folder for its own state; `tokens` are secrets, by prefix of the hub.

    `environment` is the environment of programs of other projects. `mirror` is a base URL with the same files at the
    same paths. `logins` are those of addresses that the user named, by address without the login. `also` names what to
    keep besides the packages, among what the kind `keeps`. With `xet`, files in Xet storage are requested by its own
    protocol. `called` is the name to give to a local folder.
    """

    endpoint: str
    work: Path
    mirror: str | None = None
    logins: Mapping[str, Login] = field(default_factory=dict, repr=False)
    also: frozenset[str] = frozenset()
    xet: bool = False
    called: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class HubKind:
    """A hub: its name (`clone NAME`), the prefix of its packages, its adapter module and its default endpoint.

    `schemes` are those that an endpoint may have; without any, the endpoint is a folder. `mirror` is the base URL of
    copies of the files of `endpoint`. `keeps` is what `--with` may name; `xet` states whether it has Xet storage.
    """

    name: str
    prefix: str
    module: str
    endpoint: str
    schemes: tuple[str, ...] = ("https", "http")
    mirror: str | None = None
    keeps: frozenset[str] = frozenset()
    xet: bool = False

    def make(self, options: HubOptions, new_session: "NewSession | None" = None) -> "Hub":
        """Return the adapter, with a session that `new_session` makes.

        It sends no request inside this network unless the endpoint or mirror is there.

        Raises:
            ConfigError: as the adapter says of its options.
        """
        from ptmtorrent.hubs.client.session import Session
        from ptmtorrent.network import is_internal

        places = [place for place in (options.endpoint, options.mirror) if place]
        session = (new_session or Session)(
            logins={address: login.basic for address, login in options.logins.items()},
            guarded=bool(self.schemes) and not any(map(is_internal, places)),
        )
        hub: Hub = import_module(f"ptmtorrent.hubs.{self.module}").make(options, session)
        return hub


_GIT = frozenset({"history"})
_REMOTES = ("https", "http", "ssh", "git+ssh", "ssh+git", "git", "file")

HUBS = (
    HubKind(
        name="huggingface",
        prefix="hf",
        module="huggingface.adapter",
        endpoint="https://huggingface.co",
        keeps=frozenset({"history", "discussions"}),
        xet=True,
    ),
    HubKind(
        name="pytorch",
        prefix="pytorch",
        module="pytorch.adapter",
        endpoint="https://github.com/pytorch/hub",
        keeps=_GIT,
    ),
    HubKind(
        name="onnx",
        prefix="onnx",
        module="onnx.adapter",
        endpoint="https://github.com/onnx/models",
        mirror="https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main",
    ),
    HubKind(name="modelzoo", prefix="modelzoo", module="modelzoo", endpoint="https://modelzoo.co", keeps=_GIT),
    HubKind(
        name="tfhub",
        prefix="tfhub",
        module="tfhub.adapter",
        endpoint="https://github.com/tensorflow/tfhub.dev",
        mirror="https://tfhub.dev",
    ),
    HubKind(name="kaggle", prefix="kaggle", module="kaggle.adapter", endpoint="https://www.kaggle.com"),
    HubKind(
        name="modelhub",
        prefix="modelhub",
        module="modelhub.adapter",
        endpoint="https://github.com/modelhub-ai/modelhub",
        keeps=_GIT,
    ),
    HubKind(
        name="git", prefix="git", module="git.adapter", endpoint="https://github.com", schemes=_REMOTES, keeps=_GIT
    ),
    HubKind(name="dir", prefix="dir", module="folder", endpoint="", schemes=()),
)


def find_kind(name: str) -> HubKind:
    """Return the hub with this name, or with this prefix of packages.

    Raises:
        UsageError: there is no such hub.
    """
    for kind in HUBS:
        if name in {kind.name, kind.prefix}:
            return kind
    known = ", ".join(f"`{kind.name}`" for kind in HUBS)
    raise UsageError(f"there is no hub `{name}`", hint=f"choose one of {known}")
