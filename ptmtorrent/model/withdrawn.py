"""The packages that a channel has withdrawn: a cumulative list, which overrides all releases (docs/formats/channel.md).

::

    {"format":"ptmtorrent/withdrawn","number":2,"packages":{"hf:a/b":{"date":"2026-12-01T09:00:00Z","why":"…"}},…}
"""

from typing import ClassVar

import msgspec

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, parse_package_name

MAX_WITHDRAWN_BYTES = 4 << 20
"""Limit of the list (4 MiB)."""
MAX_WHY = 1000
"""Limit of a reason, in characters."""


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """When a package was withdrawn, and why."""

    date: str
    why: str

    def spell(self) -> str:
        """Return both, as a reason."""
        return f"withdrawn on {self.date[:10]}: {self.why}"


class Withdrawn(canonical.Document, frozen=True, kw_only=True):
    """The `number`-th list of a channel: every package that was ever withdrawn from it."""

    FORMAT: ClassVar[str] = "ptmtorrent/withdrawn"

    number: int
    packages: dict[PackageName, Withdrawal] = msgspec.field(default_factory=dict)

    def adding(self, package: PackageName, withdrawal: Withdrawal) -> "Withdrawn":
        """Return the next list, with one more package."""
        packages = {**self.packages, package: withdrawal}
        return msgspec.structs.replace(self, number=self.number + 1, packages=packages)


NOTHING_WITHDRAWN = Withdrawn(format=Withdrawn.FORMAT, version=Withdrawn.VERSION, requires=(), number=0)


def decode_withdrawn(data: bytes) -> Withdrawn:
    """Return the list in `data`.

    Raises:
        IntegrityError: it is malformed.
        UnsupportedFormat: written by a newer version.
    """
    found = canonical.decode(data, Withdrawn, name="withdrawn.json")
    for name, withdrawal in found.packages.items():
        if parse_package_name(name) != name or len(withdrawal.why) > MAX_WHY or found.number < 1:
            raise IntegrityError(f"the list of withdrawn packages is malformed at `{name}`")
    return found
