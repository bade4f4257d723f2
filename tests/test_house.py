"""A verb is found in one guess: `ptmtorrent X` is `cli/X.py` and `workflows/X.py` or `workflows/X/X.py`."""

import ast
import builtins
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import SampleHub
from tests.store.samples import bf16, safetensors
from tests.texts import verbs

TOP = Path(__file__).resolve().parent.parent
VERBS = [name for name, command in verbs() if name and not hasattr(command, "commands")]
MAX_LINES = 500
TENSORS = safetensors({"a": ("BF16", [100, 1000], bf16(100_000))})
WITHOUT_WORKFLOW = {
    *("auth login", "auth status", "config show", "demo", "keys init", "keys show", "store init", "subsets"),
    *("trust add", "trust remove", "trust show"),
}
"""Verbs whose work is one call into a room below the workflows, or the demo."""


PACKAGES = sorted(path.parent for path in (TOP / "ptmtorrent").rglob("__init__.py"))
SPOKEN_OF = {"cover", "cut", "decode", "encode_delta", "git", "hf_xet"}
"""Names in the docstrings of packages that are no modules of theirs: functions, a library, another room."""


def function_of(verb: str) -> str:
    name = verb.rpartition(" ")[2]
    return f"{name}_" if hasattr(builtins, name) else name


def cli_module(verb: str) -> str:
    """`store check` has a file of its own in a folder; the short verbs of other groups share the file of the group."""
    group, _, name = verb.rpartition(" ")
    folder = f"ptmtorrent.cli.{group}.{name}" if group == "store" else f"ptmtorrent.cli.{group or name}"
    assert find_spec(folder), f"`{verb}` has no file"
    return folder


def workflow_module(verb: str) -> str:
    group, _, name = verb.rpartition(" ")
    if group == "store":
        return f"ptmtorrent.workflows.maintain.{name}"
    if group == "keys":
        return f"ptmtorrent.workflows.keys.{name}"
    alone, inside = f"ptmtorrent.workflows.{name}", f"ptmtorrent.workflows.{name}.{name}"
    spec = find_spec(alone)
    assert spec is not None, f"`{verb}` has no workflow"
    return inside if spec.submodule_search_locations else alone


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_function_in_a_file_of_its_name(verb: str) -> None:
    assert callable(getattr(import_module(cli_module(verb)), function_of(verb)))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_WORKFLOW])
def test_every_verb_has_a_workflow_of_its_name(verb: str) -> None:
    assert callable(getattr(import_module(workflow_module(verb)), function_of(verb)))


def test_verbs_without_a_workflow_exist() -> None:
    assert set(VERBS) >= WITHOUT_WORKFLOW


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_the_docstring_of_a_package_names_modules_that_it_has(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    modules = {path.stem for path in package.rglob("*") if path.is_dir() or path.suffix == ".py"}
    rooms = {path.stem for path in (TOP / "ptmtorrent").iterdir()}
    named = set(re.findall(r"`([a-z_]+)`", docstring))
    assert named - modules - rooms - {*VERBS} - SPOKEN_OF == set()


def test_no_module_is_longer_than_the_limit() -> None:
    folders = (TOP / "ptmtorrent", TOP / "tests", TOP / "scripts")
    lines = {path: len(path.read_text().splitlines()) for folder in folders for path in folder.rglob("*.py")}
    assert [str(path) for path, length in lines.items() if length > MAX_LINES] == []


def test_path_of_one_package_through_a_fetch_is_twenty_files() -> None:
    text = (TOP / "docs/ARCHITECTURE.md").read_text()
    path = text.partition("through a fetch from a folder")[2].partition("And through a clone")[0]
    files = re.findall(r"`([a-z_/]+\.py)`", path)
    assert 10 < len(files) == len(set(files)) <= 20
    assert [file for file in files if not (TOP / "ptmtorrent" / file).is_file()] == []


def entered_by(home: Path, *arguments: str) -> list[str]:
    """Return the modules that a run of the program enters."""
    script = [sys.executable, str(TOP / "scripts/trace-verb"), "--home", str(home)]
    done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()


def test_fetch_of_one_package_enters_no_more_modules_than_it_did(tmp_path: Path) -> None:
    entered = entered_by(tmp_path / "home", "fetch", "hf:quill-lab/quill-base", "--to", str(tmp_path / "to"))
    assert {"workflows/fetch/fetch.py", "reading/transfer.py", "trust/client.py"} <= set(entered)
    assert len(entered) <= 49, entered  # with what the release says of findings


def test_clone_of_one_package_enters_no_more_modules_than_it_did(tmp_path: Path) -> None:
    with SampleHub(sample_packages()) as hub:
        named = ["--endpoint", hub.endpoint, "--id", "quill-lab/quill-base"]
        entered = entered_by(tmp_path / "home", "clone", "huggingface", *named)
    assert {"workflows/clone/clone.py", "hubs/huggingface/adapter.py", "store/store.py"} <= set(entered)
    assert len(entered) <= 87, entered  # with the scan for findings; the parser of a format is not its cutter


def test_clone_of_one_folder_enters_no_more_modules_than_it_did(tmp_path: Path) -> None:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "one" / "model.safetensors").write_bytes(TENSORS)
    (tmp_path / "models" / "one" / "README.md").write_text("# One\n")
    entered = entered_by(tmp_path / "home", "clone", "dir", "--endpoint", str(tmp_path / "models"))
    assert {"workflows/clone/clone.py", "hubs/folder.py", "store/store.py"} <= set(entered)
    assert len(entered) <= 83, entered  # with the scan for findings; the parser of a format is not its cutter


HEAVY = {"numpy", "duckdb", "httpx2", "stamina", "tuf.ngclient", "pydantic", "libtorrent", "globus_sdk", "minisign"}
"""Libraries that take tens of milliseconds to import each, and that a verb which only reads does without."""


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--help"], set()),
        (["subsets"], set()),
        (["releases"], set()),
        (["status"], set()),
        (["show", "hf:quill-lab/quill-base"], {"numpy", "duckdb"}),
        (["list"], {"numpy", "duckdb"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_verb_that_reads_imports_only_the_libraries_that_it_needs(
    tmp_path: Path, arguments: list[str], needed: set[str]
) -> None:
    script = (
        "import sys; from ptmtorrent.cli.main import run; "
        "sys.stdout = sys.stderr; code = run(sys.argv[1:]); "
        "print(code, *sys.modules, file=sys.__stdout__)"
    )
    command = [sys.executable, "-c", script, "--home", str(tmp_path / "home"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    code, *modules = done.stdout.split()
    assert code == "0", done.stderr
    assert {*modules} & HEAVY == needed
    assert [name for name in modules if name.startswith("ptmtorrent.workflows.fetch")] == []
