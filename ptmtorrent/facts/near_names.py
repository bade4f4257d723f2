"""Names that resemble those of popular packages of other owners: by a typo, by letters that look alike, by a swap.

Names are compared without case, separators and accents, and with letters that look alike made the same. Popular names
are indexed by themselves and by themselves without one character, so that one look-up finds everything that is one
insertion, deletion, replacement or swap of neighbours away, whatever the number of names.
"""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

MIN_LENGTH = 6
"""Shorter names, without their separators, resemble too many."""

_ALIKE = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u0501\u0261\u04bb\u04cf"
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03c4\u03ba\u03b3"
    "013$|",
    "aceopxyijsdghlaopvitkyolesl",
)
"""Cyrillic and Greek letters, digits and signs, and the letters that they look like."""

_SEPARATORS = dict.fromkeys(map(ord, "-_. "))


class Resemblance(NamedTuple):
    """The popular name that is resembled, and how."""

    name: str
    how: str


class PopularNames:
    """The names of popular packages, `HUB:OWNER/NAME`, ready to be compared with others."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._equal: dict[str, str] = {}
        self._near: dict[str, list[str]] = {}
        for name in sorted(self._names):
            key = normalise(name)
            self._equal.setdefault(key, name)
            for near in (key, *_without_one(key)):
                self._near.setdefault(near, []).append(name)

    def resembled_by(self, name: str) -> Resemblance | None:
        """Return the popular package of another owner whose name `name` resembles; None for none, and for itself."""
        key = normalise(name)
        if name in self._names or len(key) < MIN_LENGTH or "/" not in name:
            return None
        hub, _, path = name.partition(":")
        owner, _, last = path.partition("/")
        if (found := self._other(self._equal.get(key), name)) is not None:
            return Resemblance(found, "is the same but for letters that look alike, case or separators")
        swapped = self._equal.get(normalise(f"{hub}:{last}/{owner}"))
        if (found := self._other(swapped, name)) is not None:
            return Resemblance(found, "has owner and name swapped")
        near = self._near
        candidates = [each for at in (key, *_without_one(key)) if at in near for each in near[at]]
        for each in candidates:
            found = self._other(each, name)
            if found is not None and _is_one_edit(key, normalise(found)):
                return Resemblance(found, "differs in one letter")
        return None

    @staticmethod
    def _other(found: str | None, name: str) -> str | None:
        """Return a found name, unless it belongs to the same owner or another hub."""
        return None if found is None or found.partition("/")[0] == name.partition("/")[0] else found


def normalise(name: str) -> str:
    """Return what names that look alike have in common."""
    plain = unicodedata.normalize("NFKD", name).casefold() if not name.isascii() else name.lower()
    if not plain.isascii():
        plain = "".join(char for char in plain if not unicodedata.combining(char))
    return plain.translate(_ALIKE).translate(_SEPARATORS).replace("rn", "m")


def _without_one(key: str) -> list[str]:
    start = key.find(":") + 1
    return [key[:at] + key[at + 1 :] for at in range(start, len(key))]


def _is_one_edit(one: str, two: str) -> bool:
    """Return whether one insertion, deletion, replacement or swap of neighbours makes one of the other."""
    if len(one) > len(two):
        one, two = two, one
    first = next((at for at, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), len(one))
    if len(one) < len(two):
        return len(two) - len(one) == 1 and one[first:] == two[first + 1 :]
    swap = one[first : first + 2] == two[first : first + 2][::-1] and one[first + 2 :] == two[first + 2 :]
    return one[first + 1 :] == two[first + 1 :] or swap
