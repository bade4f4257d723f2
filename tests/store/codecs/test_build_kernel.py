"""The build hook makes the kernel where a compiler works, and a pure wheel where none does."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ptmtorrent.store.codecs import kernel

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "build_kernel.py"
pytest.importorskip("hatchling", reason="hatchling is not installed")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def _default_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CC", "PTMTORRENT_KERNEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_kernel", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path, hook: ModuleType) -> Path:
    """A source tree with nothing in it but the kernel's source."""
    source = tmp_path / hook.SOURCE
    source.parent.mkdir(parents=True)
    shutil.copy(ROOT / hook.SOURCE, source)
    return tmp_path


class App:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def display_info(self, message: str) -> None:
        self.messages.append(message)


def run(hook: ModuleType, tree: Path, version: str) -> tuple[dict[str, Any], list[str]]:
    app = App()
    made = hook.KernelHook(str(tree), {}, None, None, str(tree), "wheel", app)
    build_data: dict[str, Any] = {"artifacts": [], "pure_python": True, "tag": None}
    made.initialize(version, build_data)
    return build_data, app.messages


@needs_compiler
def test_a_wheel_takes_the_kernel_along_and_says_for_which_platform(hook: ModuleType, tree: Path) -> None:
    build_data, messages = run(hook, tree, "standard")
    assert build_data["artifacts"] == [hook.LIBRARY]
    assert not build_data["pure_python"]
    assert build_data["tag"].startswith("py3-none-")
    assert messages == []


@needs_compiler
@pytest.mark.skipif(sys.byteorder != "little", reason="a big-endian machine")
def test_an_editable_install_finds_the_kernel_in_the_tree(hook: ModuleType, tree: Path) -> None:
    run(hook, tree, "editable")
    found = kernel.load_native(tree / hook.LIBRARY)
    assert found is not None
    assert sorted(path.name for path in (tree / hook.LIBRARY).parent.iterdir()) == ["kernel.c", "kernel.native"]


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler", "true"])
def test_without_a_compiler_the_wheel_is_pure_and_one_line_says_so(
    compiler: str, hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    build_data, messages = run(hook, tree, "standard")
    assert build_data == {"artifacts": [], "pure_python": True, "tag": None}
    assert len(messages) == 1
    assert compiler in messages[0]


def test_an_editable_install_without_a_compiler_leaves_no_old_kernel_behind(
    hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "false")
    (tree / hook.LIBRARY).write_bytes(b"of yesterday")
    run(hook, tree, "editable")
    assert not (tree / hook.LIBRARY).exists()


def test_the_kernel_can_be_left_out(hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTMTORRENT_KERNEL", "numpy")
    build_data, messages = run(hook, tree, "standard")
    assert build_data["pure_python"]
    assert len(messages) == 1


def test_the_file_that_is_built_is_never_committed(hook: ModuleType) -> None:
    assert "/ptmtorrent/store/codecs/kernel.native*" in (ROOT / ".gitignore").read_text().splitlines()
    assert hook.LIBRARY == "ptmtorrent/store/codecs/kernel.native"
