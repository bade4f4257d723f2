"""Settings: flag, environment, project file, user file, default."""

import os
import resource
from dataclasses import fields
from pathlib import Path

import pytest

from ptmtorrent.config import (
    MANY_OPEN_FILES,
    MAX_FILE_BYTES,
    MAX_JOBS,
    MAX_PATIENCE_SECONDS,
    MIN_MEMORY,
    PROJECT_SETTINGS,
    SECRETS,
    Settings,
    allow_open_files,
    load_settings,
    network_environment,
    requested_format,
)
from ptmtorrent.errors import ConfigError
from ptmtorrent.model.locations import FolderLocation
from ptmtorrent.store.ingest.encode_pool import MIN_MEMORY_BYTES
from ptmtorrent.store.store import MEMORY_BYTES
from tests.deadline import deadline


def load(folder: Path, environment: dict[str, str] | None = None, **flags: str | int | None) -> Settings:
    return load_settings(flags, environment=environment or {}, folder=folder, user_file=folder / "user.toml")


def test_each_origin_wins_over_the_next(tmp_path: Path) -> None:
    (tmp_path / "user.toml").write_text('jobs = 2\ntransport = "http"\nformat = "json"\nchannel = "http://user/"\n')
    (tmp_path / "ptmtorrent.toml").write_text('transport = "local"\nformat = "quiet"\n')
    environment = {"PTMTORRENT_FORMAT": "human", "PTMTORRENT_CHANNEL": "http://environment/"}

    settings = load(tmp_path, environment, channel="http://flag/")

    assert str(settings.channel) == "http://flag"
    assert settings.format == "human"
    assert settings.transport == "local"
    assert settings.jobs == 2
    assert settings.origins == {
        "home": "default",
        "channel": "flag --channel",
        "format": "environment PTMTORRENT_FORMAT",
        "transport": f"project file `{tmp_path / 'ptmtorrent.toml'}`",
        "jobs": f"user file `{tmp_path / 'user.toml'}`",
        "max_memory": "default",
        "globus_client_id": "default",
        "globus_here": "default",
        "globus_patience": "default",
        "hf_token": "default",
        "git_token": "default",
        "kaggle_token": "default",
        "key_passphrase": "default",
        "globus_client_secret": "default",
    }


def test_a_flag_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    settings = load(tmp_path, jobs=None)
    assert settings.with_flags(jobs=None).origins["jobs"] == "default"
    assert settings.with_flags(jobs=9).jobs == 9


def test_a_relative_home_starts_at_the_file_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "user.toml").write_text('home = "data"\nchannel = "served"\n')
    settings = load(tmp_path)
    assert settings.home == tmp_path / "data"
    assert settings.channel == FolderLocation(path=tmp_path / "served")


@pytest.mark.parametrize(
    "name",
    [
        *("home", "channel", "max_memory", "globus_client_id", "globus_here"),
        *("hf_token", "git_token", "kaggle_token", "key_passphrase", "globus_client_secret"),
    ],
)
@pytest.mark.parametrize("overridden", [False, True])
def test_a_project_file_cannot_decide_whom_to_trust_or_where_things_are(
    tmp_path: Path, name: str, overridden: bool
) -> None:
    (tmp_path / "ptmtorrent.toml").write_text(f'jobs = 2\n{name} = "h"\n')
    flags = {"home": "mine", "channel": "http://mine/"} if overridden else {}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **flags)
    assert f"`{name}` is refused" in caught.value.message
    assert str(tmp_path / "ptmtorrent.toml") in caught.value.message
    assert "remove it" in str(caught.value.hint)


def test_a_project_file_sets_no_setting_that_is_not_known_to_be_harmless() -> None:
    every = {setting.name for setting in fields(Settings)} - {"origins"}
    deciding = {"home", "channel", "max_memory", "globus_client_id", "globus_here", *(name for name, _ in SECRETS)}
    assert set(PROJECT_SETTINGS) == every - deciding


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "endless"])
def test_a_settings_file_that_is_no_small_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "ptmtorrent.toml"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.write_text("# " + "x" * MAX_FILE_BYTES)
    with deadline(), pytest.raises(ConfigError, match=f"`{place}`"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('hom = "x"', ["`hom`", "user.toml"]),
        ("jobs = 0", ["`jobs`", "user.toml"]),
        ("jobs = true", ["`jobs`", "user.toml"]),
        ('max_memory = "255MiB"', ["`max_memory`", "`255MiB`", "user.toml"]),
        ('max_memory = "much"', ["`max_memory`", "user.toml"]),
        ("max_memory = true", ["`max_memory`", "user.toml"]),
        ("home = 3", ["`home`", "user.toml"]),
        ('transport = "pigeon"', ["`pigeon`", "user.toml"]),
        ("jobs = [", ["not valid TOML", "user.toml"]),
        ('hf_token = "secret"', ["`hf_token`", "user.toml"]),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "user.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert all(word in caught.value.message for word in words)


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {"PTMTORRENT_JOBS": "many"})
    assert "PTMTORRENT_JOBS" in caught.value.message


@pytest.mark.parametrize(("value", "size"), [("1GiB", 1 << 30), ("300MB", 300_000_000), (1 << 28, 1 << 28)])
def test_memory_is_a_size_from_any_origin(tmp_path: Path, value: str | int, size: int) -> None:
    (tmp_path / "user.toml").write_text(f"max_memory = {value!r}")

    assert load(tmp_path).max_memory == size
    assert load(tmp_path, {"PTMTORRENT_MAX_MEMORY": "2GiB"}).max_memory == 2 << 30
    assert load(tmp_path, max_memory=value).origins["max_memory"] == "flag --max-memory"


def test_least_memory_is_what_a_store_can_work_with(tmp_path: Path) -> None:
    assert load(tmp_path, max_memory=MIN_MEMORY).max_memory == MIN_MEMORY_BYTES
    assert load(tmp_path).max_memory == MEMORY_BYTES


def test_secrets_are_read_from_the_environment_and_not_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, {"HF_TOKEN": "hf_secret", "PTMTORRENT_KEY_PASSPHRASE": "word"})
    assert (settings.hf_token, settings.key_passphrase) == ("hf_secret", "word")
    assert "hf_secret" not in repr(settings)
    assert "word" not in repr(settings)


@pytest.mark.parametrize(
    ("arguments", "environment", "form"),
    [
        (["list"], {}, "auto"),
        (["--format", "json", "list"], {}, "json"),
        (["--format=quiet"], {"PTMTORRENT_FORMAT": "json"}, "quiet"),
        (["list"], {"PTMTORRENT_FORMAT": "json"}, "json"),
        (["--format", "xml"], {}, "auto"),
        (["--format"], {}, "auto"),
        ([], {}, "auto"),
    ],
)
def test_the_format_is_known_before_anything_is_parsed(
    arguments: list[str], environment: dict[str, str], form: str
) -> None:
    assert requested_format(arguments, environment) == form


def test_other_programs_get_the_search_path_and_network_settings_only() -> None:
    given = {"PATH": "/bin", "https_proxy": "http://p", "HF_TOKEN": "secret", "GIT_DIR": "/x", "HOME": "/home"}

    assert network_environment(given) == {"PATH": "/bin", "https_proxy": "http://p"}


@pytest.mark.parametrize(("name", "most"), [("jobs", MAX_JOBS), ("globus_patience", MAX_PATIENCE_SECONDS)])
def test_whole_numbers_are_read_from_a_variable_as_from_a_file(tmp_path: Path, name: str, most: int) -> None:
    variable = f"PTMTORRENT_{name.upper()}"
    for number in (1, most):
        (tmp_path / "user.toml").write_text(f"{name} = {number}")
        assert getattr(load(tmp_path), name) == getattr(load(tmp_path, {variable: str(number)}), name) == number
    for wrong in ("0", str(most + 1), "-1", "1.0", "\u0661"):
        with pytest.raises(ConfigError, match=f"{variable}.* cannot be `{wrong}`"):
            load(tmp_path, {variable: wrong})


@pytest.mark.parametrize(
    ("limits", "refused", "wanted"),
    [
        ((256, 1024), False, 1024),
        ((256, resource.RLIM_INFINITY), False, MANY_OPEN_FILES),
        ((256, 1 << 30), False, MANY_OPEN_FILES),
        ((256, 1024), True, 256),
        ((1024, 1024), False, 1024),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), False, MANY_OPEN_FILES),
    ],
)
def test_open_files_are_raised_as_far_as_they_may_be(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, *, refused: bool
) -> None:
    asked: list[tuple[int, int]] = []

    def change(_: int, pair: tuple[int, int]) -> None:
        asked.append(pair)
        if refused:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", change)

    assert allow_open_files() == wanted
    assert [pair[1] for pair in asked] == ([limits[1]] if limits[0] == 256 else [])
    assert refused or all(pair[0] == wanted for pair in asked)


def test_user_without_a_home_folder_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_data_path", refuse)
    monkeypatch.setattr("platformdirs.user_config_path", refuse)
    with pytest.raises(ConfigError, match="`HOME` is not set") as caught:
        load_settings({}, environment={}, folder=tmp_path)
    assert "PTMTORRENT_HOME" in str(caught.value.hint)
    settings = load_settings({}, environment={"PTMTORRENT_HOME": str(tmp_path / "h")}, folder=tmp_path)
    assert settings.home == tmp_path / "h"
    assert load_settings({"home": str(tmp_path)}, environment={}, folder=tmp_path).home == tmp_path
