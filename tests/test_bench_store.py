"""The benchmark's own parts, and one run of it on tiny data. Nothing is timed, and no figure is judged."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from bench_store import checks, formats, groups, main, real_sets, tensors
from bench_store.peers import Peer
from bench_store.rows import Row, Rows
from bench_store.running import Broken, run
from bench_store.scales import SCALES
from bench_store.sets import File, FileSet, Sets
from bench_store.systems import check_restored

PROGRAM = Path(__file__).parent.parent / "scripts" / "bench-store"
TINY = SCALES["tiny"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    made = Sets(TINY, tmp_path_factory.mktemp("sets"))
    made.make(["siblings", "formats", "revision", "big"], tmp_path_factory.mktemp("scratch"))
    return made


def path_of(sets: Sets, name: str) -> Path:
    return next(file.path for files in (sets.twin(), *sets.lone()) for file in files.files if file.name == name)


def test_the_same_bytes_are_made_as_ever(sets: Sets) -> None:
    revisions = FileSet("revisions", sets.revisions())
    made = [sets.siblings(), *sets.lone(), sets.twin(), sets.heavy(), sets.big(), revisions]
    assert {files.name: files.verdict(TINY) for files in made} == {files.name: "as frozen" for files in made}


def test_the_library_of_safetensors_reads_them(sets: Sets) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    single, half = (load_file(path_of(sets, f"{name}.safetensors")) for name in ("fp32", "fp16"))
    assert single.keys() == half.keys()
    assert all(np.array_equal(single[name].astype(np.float16), half[name]) for name in single)


def test_the_zip_of_torch_holds_the_same_tensors_at_multiples_of_64(sets: Sets) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    path = path_of(sets, "fp32.bin")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        found = Unpickler(archive).load()
        datas = [info for info in archive.infolist() if "/data/" in info.filename]
    data = path.read_bytes()
    starts = [info.header_offset + 30 + sum(data[info.header_offset + at] for at in (26, 28)) for info in datas]
    assert [start % 64 for start in starts] == [0] * len(found)
    wanted = load_file(path_of(sets, "fp32.safetensors"))
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


class Unpickler(pickle.Unpickler):
    """What torch does with the pickle, and no more."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(io.BytesIO(archive.read("fp32/data.pkl")))
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild
        return {("torch", "FloatStorage"): np.float32, ("collections", "OrderedDict"): dict}[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        sort, dtype, key, place, count = pid
        storage = np.frombuffer(self._archive.read(f"fp32/data/{key}"), dtype)
        assert (sort, place, count) == ("storage", "cpu", storage.size)
        return storage

    @staticmethod
    def _rebuild(storage: np.ndarray, offset: int, shape: Any, stride: Any, *rest: Any) -> np.ndarray:
        assert (offset, rest) == (0, (False, {}))
        return np.lib.stride_tricks.as_strided(storage, shape, [4 * step for step in stride])


def test_bf16_is_rounded_to_nearest_and_ties_to_even() -> None:
    words = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF], np.uint32)
    assert tensors.to_bf16(words.view(np.float32)).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x3F80]


def test_a_header_is_a_multiple_of_eight_bytes(tmp_path: Path) -> None:
    formats.write_safetensors(tmp_path / "a", "I8", {"a": (3,)}, [("a", np.ones(3, np.int8))])
    data = (tmp_path / "a").read_bytes()
    assert int.from_bytes(data[:8], "little") == len(data) - 8 - 3
    assert (len(data) - 3) % 8 == 0


def test_a_run_on_tiny_data_tells_every_value_and_writes_the_page(tmp_path: Path) -> None:
    groups = ("siblings", "hashes", "revision")
    told, page = tmp_path / "told.json", tmp_path / "page.md"
    command = [sys.executable, str(PROGRAM), "--size", "tiny", "--no-peers", "--only", *groups]
    command += ["--json", str(told), "--markdown", str(page), "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(told.read_text())
    assert all(row.keys() == {"case", "system", "metric", "value", "unit"} and row["value"] > 0 for row in rows)
    assert {"ours, base declared", "ours, base found", "ours, no delta"} <= {row["system"] for row in rows}
    titles = [line for line in page.read_text().splitlines() if line.startswith("#")]
    assert titles[:4] == ["# Benchmarks", "## Machine", "## Sets", "## Siblings against peers"]


def test_a_peer_that_is_missing_is_named_with_its_package() -> None:
    peer = Peer(name="other", program="no-such-program-here", apt="other-tools", ingest=":", restore=":")
    assert main.missing_peers((peer,)) == ["other: `no-such-program-here` is missing (apt install other-tools)"]


def test_other_bytes_that_come_back_are_a_failure(sets: Sets, tmp_path: Path) -> None:
    files = sets.lone()[0]
    (tmp_path / files.files[0].name).write_bytes(files.files[0].path.read_bytes()[:-1])
    with pytest.raises(Broken, match=r"base\.safetensors"):
        check_restored(files, tmp_path)


def test_a_program_that_fails_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="no room"):
        run(["sh", "-c", "echo no room; exit 3"], cwd=tmp_path, log=tmp_path / "log")


def test_only_files_that_describe_each_other_by_name_keep_theirs() -> None:
    names = ("model.safetensors", "external.onnx", "external.onnx_data", "model.ckpt.data-00000-of-00001")
    files = tuple(File(Path(name), name, 1, f"{number}" * 64, "") for number, name in enumerate(names))
    assert [file.name for file in real_sets.without_suffix(files)] == ["weights/000000000000", *names[1:]]


def test_groups_that_install_frameworks_run_only_if_they_are_named() -> None:
    assert set(groups.GROUPS) - set(groups.USUAL) == {"containers", "gguf"}


def test_the_least_container_is_judged() -> None:
    rows = Rows()
    for name, ratio in (("h5", 1.22), ("npz", 1.1)):
        rows.add(Row("containers", name, "ours", "raw / stored, alone", ratio, "x"))
    verdicts = {check.what: check.verdict for check in checks.check_all(rows)}
    assert verdicts["containers: raw / stored, alone, the least"] == "short"


def test_a_promise_is_kept_missed_or_not_measured() -> None:
    rows = Rows()
    rows.add(Row("siblings", "siblings", "ours, no delta", "ratio", 2.9, "x"))
    rows.add(Row("siblings", "siblings", "ours, base found", "ratio", 4.4, "x"))
    verdicts = [check.verdict for check in checks.check_all(rows)[:4]]
    assert verdicts == ["not measured", "short", "not measured", "ok"]
