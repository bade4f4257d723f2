"""The sample packages: small, generated, deterministic, and as varied as those of a real hub."""

from ptmtorrent.demo.families import ink_family, papyrus_family, quill_family
from ptmtorrent.demo.oddities import odd_packages
from ptmtorrent.demo.package import Package


def sample_packages() -> tuple[Package, ...]:
    """Return all sample packages, about 4 MB of distinct content, sorted by name."""
    packages = (*quill_family(), *papyrus_family(), *ink_family(), *odd_packages())
    return tuple(sorted(packages, key=lambda package: package.name))
