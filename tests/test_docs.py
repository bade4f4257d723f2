"""What the documents say is what the program does."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from ptmtorrent import __version__
from ptmtorrent.cli.main import app
from ptmtorrent.errors import PtmError
from ptmtorrent.model.release import decode_release

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()
COMMANDS = typer.main.get_command(app).commands
LINK = re.compile(r"\]\(([^)#]+)")


def leaves() -> dict[str, typer.main.TyperCommand]:
    found = {}
    for name, command in COMMANDS.items():
        children = getattr(command, "commands", None)
        found |= {f"{name} {child}": inner for child, inner in children.items()} if children else {name: command}
    return found


def all_codes(kind: type[PtmError] = PtmError) -> set[int]:
    return {kind.code}.union(*(all_codes(child) for child in kind.__subclasses__()))


def test_the_table_of_verbs_is_that_of_the_program() -> None:
    assert re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", leaves())
def test_every_verb_has_a_sentence_and_an_example_of_itself(name: str) -> None:
    command = leaves()[name]
    assert command.help
    assert (command.epilog or "").startswith(f"Example: ptmtorrent {name}")


def test_the_exit_codes_in_the_readme_are_those_of_the_classes() -> None:
    sentence = README[README.index("Exit codes:") :].partition("\n\n")[0]
    codes = {int(code) for code in re.findall(r"(?:^|[:·])\s*(\d+) ", sentence)}
    assert codes == all_codes() | {0}


@pytest.mark.parametrize("page", sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")]), ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = TOP / "docs" / "adr"
    listed = set(LINK.findall((folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("[0-9]*.md")}


def test_the_version_is_the_same_wherever_it_stands() -> None:
    assert f'version = "{__version__}"' in (TOP / "pyproject.toml").read_text()
    assert f"version: {__version__}" in (TOP / "CITATION.cff").read_text()
    assert f"## {__version__}" in (TOP / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", sorted(TOP.glob("docs/guides/*.md")), ids=lambda page: page.name)
def test_guides_use_verbs_and_options_that_exist(page: Path) -> None:
    used = re.findall(r"^\$ ptmtorrent (.+?)(?:\s+#.*)?$", page.read_text(), flags=re.MULTILINE)
    assert used
    for line in used:
        words = line.partition(" | ")[0].removeprefix("--format json ").split()
        name = next(name for name in leaves() if words[: len(name.split())] == name.split())
        options = {option for parameter in leaves()[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def scripts() -> list[Path]:
    """The scripts that are run, and not only a part of others."""
    files = (path for path in sorted((TOP / "scripts").iterdir()) if path.is_file())
    return [path for path in files if path.read_bytes().startswith(b"#!")]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_every_script_starts_from_nothing(script: Path) -> None:
    text = script.read_text()
    assert "own_environment.enter(" in text or "source scripts/setup" in text or 'scripts/setup"' in text


def test_files_named_in_the_architecture_exist() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", (TOP / "docs" / "ARCHITECTURE.md").read_text())
    assert len(named) > 60
    places = (TOP / "ptmtorrent", TOP)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def shortened(text: str) -> str:
    """Spell hashes as the pages of the formats do: `ab12…`; line breaks are those of the page."""
    return re.sub(r"[0-9a-f]{40,}", lambda found: f"{found[0][:4]}…", text)


@pytest.mark.parametrize(
    ("page", "golden", "spell"),
    [
        ("release.md", "release.json", shortened),
        ("channel.md", "channel/metadata/timestamp.json", str),
        ("channel.md", "channel/releases/2026.12/release.json.minisig", str),
    ],
)
def test_examples_on_the_pages_of_formats_are_the_golden_files(
    page: str, golden: str, spell: Callable[[str], str]
) -> None:
    text = (TOP / "docs/formats" / page).read_text()
    blocks = {re.sub(r"\n *", "", block).strip() for block in re.findall(r"```(?:json)?\n(.*?)```", text, re.DOTALL)}

    assert spell((TOP / "tests/golden" / golden).read_text()).replace("\n", "") in blocks


def test_the_content_roots_on_the_page_of_releases_are_the_golden_ones() -> None:
    release = decode_release((TOP / "tests/golden/release.json").read_bytes())

    assert release.content_root in (TOP / "docs/formats/release.md").read_text()
