"""Reads the policy of a release: from the files that a maintainer wrote, or as the previous release stored it."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound
from ptmtorrent.model.ids import check_path
from ptmtorrent.model.policy import MAX_POLICY_BYTES, MAX_SUBSETS, Policy, PolicyFile, decode_policy, new_policy
from ptmtorrent.model.release import Release
from ptmtorrent.model.subset import SubsetQuery
from ptmtorrent.model.text import count, spell_size

T = TypeVar("T")


def read_policy(path: Path) -> Policy:
    """Return the policy in the file `path`, with the subsets of the files that it names, which lie beside it.

    Raises:
        NotFound: no such file.
        ConfigError: a file is too long or not TOML, has an unknown key or a decision that cannot be applied.
    """
    file = _convert(_read_toml(path), PolicyFile, path)
    if len(file.subsets) > MAX_SUBSETS:
        number = count(len(file.subsets), "subset")
        raise ConfigError(f"`{path}` has {number}, over the limit of {MAX_SUBSETS}", hint=f"correct `{path}`")
    subsets = {
        name: _read_subset(path.parent, query) if isinstance(query, str) else query
        for name, query in file.subsets.items()
    }
    return new_policy(file, subsets, name=str(path))


def read_stored_policy(channel: Path, release: Release | None) -> Policy | None:
    """Return the policy that a release of the home's own channel stores; None if it stores none.

    Raises:
        IntegrityError, NotFound, StoreError: it is damaged, missing or cannot be read.
        UnsupportedFormat: written by a newer version.
    """
    if release is None or release.policy is None:
        return None
    return decode_policy(read_listed(OwnReader(channel), release, release.policy))


def _read_subset(folder: Path, name: str) -> SubsetQuery:
    try:
        check_path(name)
    except IntegrityError as error:
        hint = "write the name of a file beside the policy, such as `popular.toml`"
        raise ConfigError(f"`{name}` cannot be the file of a subset: {error.message}", hint=hint) from error
    path = folder / name
    return _convert(_read_toml(path), SubsetQuery, path)


def _convert(tree: dict[str, Any], kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"`{path}` is not a valid policy or subset: {error}", hint=f"correct `{path}`") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_bounded(path).decode())
    except FileNotFoundError as error:
        raise NotFound(f"there is no file `{path}`", hint="name the file of a policy: `--policy FILE`") from error
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be read: {error.strerror}", hint=f"correct `{path}`") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"`{path}` is not valid TOML: {error}", hint=f"correct `{path}`") from error


def _read_bounded(path: Path) -> bytes:
    """Return the bytes of a regular file; pipes and devices, which may never end, are refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError(f"`{path}` is not a regular file", hint="name the file of a policy: `--policy FILE`")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(MAX_POLICY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_POLICY_BYTES:
        raise ConfigError(
            f"`{path}` is longer than {spell_size(MAX_POLICY_BYTES)}", hint="split it, or shorten reasons"
        )
    return data
