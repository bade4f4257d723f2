"""`--help` and completion cost what Typer costs, and no more; public names are the documented ones."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys

import pytest

import ptmtorrent

BARE = """
import json, os, sys
import typer
app = typer.Typer(name="bare")
@app.callback(epilog="Example")
def top() -> None: ...
@app.command(epilog="Example")
def verb(name: str = "") -> None: ...
import typer.main
def run(arguments):
    typer.main.get_command(app).main(arguments, prog_name="ptmtorrent")
"""
OURS = "import json, os, sys\nfrom ptmtorrent.cli.main import run\n"
RUN = """
with open(os.devnull, "w") as nowhere:
    stdout, sys.stdout = sys.stdout, nowhere
    try:
        run(sys.argv[1:])
    except SystemExit:
        pass
    sys.stdout = stdout
print(json.dumps(sorted(sys.modules)))
"""
COMPLETION = {"_PTMTORRENT_COMPLETE": "complete_bash", "COMP_WORDS": "ptmtorrent v", "COMP_CWORD": "1"}


def modules_after(program: str, arguments: list[str], environment: dict[str, str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", program + RUN, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--help"], {}), (["verb", "--help"], {}), ([], COMPLETION)],
    ids=["help", "help-of-a-verb", "completion"],
)
def test_help_and_completion_import_nothing_that_typer_does_not(
    arguments: list[str], environment: dict[str, str]
) -> None:
    typers = modules_after(BARE, arguments, environment)
    ours = modules_after(OURS, ["fetch" if word == "verb" else word for word in arguments], environment)

    foreign = {name for name in ours - typers if name.partition(".")[0] != "ptmtorrent"}

    assert "typer" in ours
    assert foreign <= {"__future__", "dataclasses"}
    assert not {name for name in ours if name.startswith(("ptmtorrent.model", "ptmtorrent.workflows"))}


def test_the_public_names_are_the_documented_ones() -> None:
    api = importlib.import_module("ptmtorrent.api")
    assert ptmtorrent.__all__ == ["__version__"]
    assert api.__all__ == [
        *("Channel", "FetchRequest", "File", "Opened", "Package", "PackageFacts", "PackageRow", "PlanMade", "PtmError"),
        *("Release", "Result", "Stop", "SubsetRef", "Summary", "open", "verify"),
    ]


def test_every_module_imports_and_keeps_its_word_about_public_names() -> None:
    names = [info.name for info in pkgutil.walk_packages(ptmtorrent.__path__, "ptmtorrent.")]
    for name in names:
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
        assert missing == [], name
    assert "ptmtorrent.cli.main" in names
