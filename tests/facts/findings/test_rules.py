"""What the rules find in a generated corpus, and what the child in which they run can do."""

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ptmtorrent.facts.findings import archives
from ptmtorrent.facts.findings.child import MEMORY_BYTES
from ptmtorrent.facts.findings.found import TOOL, Findings
from ptmtorrent.facts.findings.names import judge
from ptmtorrent.facts.findings.pickles import Walker
from ptmtorrent.facts.findings.scan import MAX_JSON, needs_scan, scan_package
from ptmtorrent.facts.findings.scanner import Scanner
from ptmtorrent.model.containers.source import MemorySource
from ptmtorrent.model.findings import MAX_FINDINGS, Finding, clip, new_scan
from tests.facts.findings.containers import safetensors
from tests.facts.findings.corpus import benign, bombs, malicious
from tests.facts.findings.evaluation import evaluate
from tests.facts.findings.pickled import attack

EVIL = attack("os", "system", "true")


def test_no_attack_is_missed_no_benign_package_alarms_and_nothing_runs(tmp_path: Path) -> None:
    marker = str(tmp_path / "ran")
    bad = evaluate([*malicious(marker), *bombs(marker, 48 << 20)], wide=False)
    good = evaluate(benign(), wide=False)
    assert len(bad.outcomes) >= 120
    assert len(good.outcomes) >= 200
    assert bad.share(TOOL, "suspicious") >= 0.95, bad.missed(TOOL, "suspicious")
    assert bad.share(TOOL, "runs-code") >= 0.9, bad.missed(TOOL, "runs-code")
    assert good.alarms(TOOL, "suspicious") == []
    assert list(tmp_path.iterdir()) == []
    assert max(bad.memory, good.memory) <= MEMORY_BYTES


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "open('written', 'w')",
        "os.system('true > written')",
        "pickle.loads(pickle.dumps(print))",
        "import colorsys",
        "b'x' * (2 << 30); open('written', 'w')",
    ],
)
def test_child_can_do_nothing_but_scan(tmp_path: Path, code: str) -> None:
    script = (
        f"import os, pickle, socket; from ptmtorrent.facts.findings import child; child.confine(); {code}; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode in {1, 70}, done
    assert list(tmp_path.iterdir()) == []


class Shorter(MemorySource):
    """A file that becomes shorter once it was looked at: the child ends."""

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        return data if length <= 512 else data[:-1]


def test_child_that_ends_costs_its_file_alone() -> None:
    with Scanner() as scanner:
        scan = scanner.scan({"a.pkl": Shorter(EVIL * 20), "b.pkl": MemorySource(EVIL)})
        again = scanner.scan({"b.pkl": MemorySource(EVIL)})
    ours = [finding for finding in scan.findings if finding.tool == TOOL]
    assert [(finding.file, finding.rule, finding.level) for finding in ours] == [
        ("b.pkl", "import", "runs-code"),
        ("a.pkl", "unread", "suspicious"),
    ]
    assert again.findings


def test_meaning_names_what_runs_and_where() -> None:
    scan = scan_package([("model.pkl", MemorySource(EVIL))])
    assert [(each.file, each.offset, each.level, each.meaning) for each in scan.findings] == [
        ("model.pkl", 2, "runs-code", "runs code when loaded: `os.system`")
    ]
    assert "safe" not in "".join(each.meaning for each in scan.findings)


def test_texts_and_plain_settings_are_not_sent_to_the_child() -> None:
    plain = {"README.md": b"# Hello", "config.json": b'{"a": 1}', "vocab.txt": b"a\nb\n", "empty.bin": b""}
    assert [name for name, data in plain.items() if needs_scan(name, MemorySource(data))] == []
    code = {"config.json": b'{"auto_map": {}}', "model.safetensors": safetensors(), "x.txt": EVIL, "a.py": b"1"}
    assert [name for name, data in code.items() if needs_scan(name, MemorySource(data))] == list(code)


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (b'{"auto_map": {"AutoModel": "net.Net"}}', "auto-map"),
        (b'{"\\u0061uto_map": {"AutoModel": "net.Net"}}', "auto-map"),
        (b'{"x": NaN, "auto_map": {"AutoModel": "net.Net"}}', "auto-map"),
        (b'{"auto_map": {"AutoModel": "net.Net"}}' + b" " * MAX_JSON, "unread"),
        (b'{"auto_map": {"AutoModel": "net.Net"}, "x": [' + b"[]," * 1_000_000 + b"[]]}", "unread"),
    ],
    ids=["plain", "escaped", "NaN", "long", "bomb"],
)
def test_settings_that_name_code_are_found_however_they_are_written(config: bytes, rule: str) -> None:
    source = MemorySource(config)
    assert needs_scan("config.json", source)
    assert [each.rule for each in scan_package([("config.json", source)]).findings] == [rule]


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("collections.OrderedDict", None),
        ("torch.nn.modules.linear.Linear", None),
        ("builtins.set", None),
        ("__builtin__.set", None),
        ("builtins.eval", "runs-code"),
        ("colorsys.rgb_to_hls", "runs-code"),
        ("models.yolo.Model", "suspicious"),
        ("__main__.Net", "suspicious"),
        ("torch.load", "runs-code"),
    ],
)
def test_names_are_judged(name: str, level: str | None) -> None:
    module, _, last = name.rpartition(".")
    assert judge(module, last) == level


def test_long_arguments_of_a_pickle_are_skipped_and_not_read() -> None:
    class Counting(MemorySource):
        taken = 0

        def read(self, offset: int, length: int) -> bytes:
            data = super().read(offset, length)
            self.taken += len(data)
            return data

    long = b"\x80\x03B" + (64 << 20).to_bytes(4, "little") + bytes(64 << 20) + b"."
    source, findings = Counting(long), Findings()
    assert Walker(source, "a", findings).walk() == len(long)
    assert source.taken < 1 << 20
    assert findings.found == []


def test_findings_of_a_package_are_bounded_and_the_worst_are_kept() -> None:
    many = [Finding(tool="t/1", file=f"{n}", rule="r", level="notice", meaning="m") for n in range(MAX_FINDINGS * 2)]
    bad = Finding(tool="t/1", file="z", rule="r", level="runs-code", meaning="m")
    scan = new_scan(["t/1"], [*many, bad])
    assert (scan.findings[0], len(scan.findings), scan.more) == (bad, MAX_FINDINGS, MAX_FINDINGS + 1)
    assert clip("a\nb\x1b[0m\udcff") == "a\\x0ab\\x1b[0m\\xdcff"


def test_what_is_too_long_or_too_much_to_be_read_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_INFLATED", 4 << 20)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.txt", b"plain")
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(3):
            tar.addfile(tarfile.TarInfo(f"{number}.txt"))
    long = {"a.gz": gzip.compress(b"x" * (5 << 20)), "a.zip": many.getvalue(), "a.tar": tarred.getvalue()}
    for name, data in long.items():
        assert [each.rule for each in scan_package([(name, MemorySource(data))]).findings] == ["unread"], name
    assert scan_package([("b.gz", MemorySource(gzip.compress(b"x" * (4 << 20))))]).findings == ()
