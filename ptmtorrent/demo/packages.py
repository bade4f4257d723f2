"""The sample packages: small, generated, the same bytes everywhere, and as varied as a hub."""

from ptmtorrent.demo.families import ink_family, papyrus_family, quill_family
from ptmtorrent.demo.oddities import odd_packages
from ptmtorrent.demo.package import Package


def sample_packages() -> tuple[Package, ...]:
    """Return all sample packages, about four megabytes of different bytes, sorted by name."""
    packages = (*quill_family(), *papyrus_family(), *ink_family(), *odd_packages())
    return tuple(sorted(packages, key=lambda package: package.name))
