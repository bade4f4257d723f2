"""A package while it is worked: its files so far, the keys of those to come, and those whose turn is later."""

from dataclasses import dataclass, field

from ptmtorrent.facts.licences import rights_of
from ptmtorrent.hubs.port import HubFile, Listed
from ptmtorrent.model.capture import Rights
from ptmtorrent.state.clone_journal import Work
from ptmtorrent.store.cutters import needs_nearby
from ptmtorrent.store.pack.classes import PackClass
from ptmtorrent.store.store import StoredFile
from ptmtorrent.workflows.clone.known import Weights
from ptmtorrent.workflows.clone.manifest import class_of, is_weights
from ptmtorrent.workflows.clone.plan import PackagePlan


@dataclass(eq=False)
class Open:
    """A package being worked."""

    work: Work
    plan: PackagePlan
    rights: Rights
    stored: dict[str, tuple[HubFile, StoredFile]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    later: list[HubFile] = field(default_factory=list)

    @property
    def listed(self) -> Listed:
        """What the hub's listing said."""
        return self.plan.described.listed

    @property
    def weights(self) -> Weights:
        """The weights files stored so far."""
        return tuple(
            (path, file)
            for path, (listed, file) in self.stored.items()
            if listed.answer is None and is_weights(path, file.size)
        )

    @property
    def is_complete(self) -> bool:
        """Are all files stored?"""
        return not self.missing and not self.later

    def class_of(self, file: HubFile) -> PackClass:
        """Return the class of the pack that one of its files goes to."""
        return class_of(file, self.listed, self.rights)

    def take_ready(self) -> list[HubFile]:
        """Return, and take from `later`, the files whose turn has come.

        What an ONNX file keeps outside of itself is cut by what that file says. So its turn comes when all ONNX files
        of its folder are stored: a recipe must not depend on which download was faster.
        """
        graphs = {
            _folder(file.path) for file in self.plan.files if _is_graph(file.path) and file.path not in self.stored
        }

        def must_wait(path: str) -> bool:
            return _folder(path) in graphs and not _is_graph(path) and needs_nearby(path)

        ready = [file for file in self.later if not must_wait(file.path)]
        self.later = [file for file in self.later if must_wait(file.path)]
        return ready


def open_package(work: Work, plan: PackagePlan) -> Open:
    """Begin a package: all of its files are for later, the largest first."""
    return Open(
        work=work,
        plan=plan,
        rights=rights_in(plan.described.listed),
        later=sorted(plan.files, key=lambda file: -(file.size or 0)),
    )


def rights_in(listed: Listed) -> Rights:
    """Return what may be done with the bytes of a package, by licence and gate: what is not public is gated."""
    return rights_of(listed.licence, gated=listed.access != "public")


def _is_graph(path: str) -> bool:
    return path.lower().endswith(".onnx")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
