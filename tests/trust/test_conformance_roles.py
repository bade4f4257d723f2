"""Case classes of the public TUF conformance suite: keys, thresholds, rotations and delegations."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner

from tests.trust.conftest import TOP
from tests.trust.repository import SIGNERS, Client, TufRepository

# Keys and thresholds


def test_too_few_signatures_are_refused_and_enough_accepted(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    for _ in range(3):
        repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 5
    repository.publish("root")
    repository.publish_all()
    assert client.refresh() == 1
    assert (client.trusted()["root"], client.trusted()["snapshot"]) == (2, 1)
    repository.add_key("snapshot")
    repository.publish("root")
    repository.publish_all()
    assert client.refresh() == 0
    assert (client.trusted()["root"], client.trusted()["snapshot"]) == (3, 3)


def test_keys_that_only_the_root_names_do_not_count(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    signers = [repository.new_signer() for _ in range(4)]
    for signer in signers:
        repository.root.add_key(signer.public_key, "snapshot")
    repository.root.roles["snapshot"].threshold = 2
    repository.publish("root")
    repository.publish_all()
    assert client.refresh() == 1
    assert (client.trusted()["root"], client.trusted()["snapshot"]) == (2, 1)


def test_one_key_listed_several_times_counts_once(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    signer = repository.add_key("snapshot")
    repository.root.roles["snapshot"].keyids += [signer.public_key.keyid] * 8
    repository.root.roles["snapshot"].threshold = 6
    repository.publish("root")
    repository.publish_all()
    assert client.refresh() == 1
    assert client.trusted() == dict.fromkeys(TOP, 1)


def test_one_key_signing_several_times_counts_once(client: Client, repository: TufRepository) -> None:
    repository.root.roles["snapshot"].threshold = 2
    repository.root.add_key(repository.new_signer().public_key, "snapshot")
    repository.publish("root")
    repository.publish_all()
    signed = json.loads(repository.published["snapshot"][-1])
    signed["signatures"] *= 2
    repository.published["snapshot"][-1] = json.dumps(signed).encode()
    assert client.refresh() == 1
    assert "snapshot" not in client.trusted()


def test_the_hash_algorithms_of_a_key_are_not_read(client: Client, repository: TufRepository) -> None:
    keyid = repository.root.roles["snapshot"].keyids[0]
    repository.root.keys[keyid].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repository.publish("root")
    assert client.refresh() == 0
    assert client.trusted() == {**dict.fromkeys(TOP, 1), "root": 2}


@pytest.mark.parametrize(
    "signer",
    [
        CryptoSigner.generate_ed25519(),
        CryptoSigner.generate_ecdsa(),
        CryptoSigner.generate_rsa(),
        CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"),
    ],
    ids=lambda signer: signer.public_key.scheme,
)
def test_every_type_of_key_signs(client: Client, repository: TufRepository, signer: CryptoSigner) -> None:
    for role in ("timestamp", "snapshot", "targets"):
        repository.root.roles[role].keyids.clear()
        repository.signers[role].clear()
        repository.add_key(role, signer)
    repository.publish("root")
    repository.publish_all("targets")
    assert client.refresh() == 0
    assert client.trusted() == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}
    forged = json.loads(repository.published["timestamp"][-1])
    forged["signed"]["version"] = 3
    repository.published["timestamp"].append(json.dumps(forged).encode())
    assert client.refresh() == 1


ROOT_ROTATIONS: dict[str, tuple[bool, list[tuple[list[int], int, list[int]]]]] = {
    "1-of-1": (True, [([1], 1, [1]), ([2], 1, [2, 1]), ([2], 1, [2])]),
    "1-of-1-unused-signatures": (True, [([1], 1, [3, 1, 4]), ([2], 1, [3, 2, 1, 4]), ([2], 1, [3, 2, 4])]),
    "3-of-5-any-three": (
        True,
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 2, 3, 4], 3, [0, 4, 1]), ([0, 1, 2, 3, 4], 3, [0, 1, 3])],
    ),
    "3-of-5-one-rotated": (True, [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])]),
    "3-of-5-one-rotated-in-steps": (
        True,
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4, 5]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])],
    ),
    "3-of-5-all-rotated-in-steps": (
        True,
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]), ([5, 6, 7, 8, 9], 3, [5, 6, 7])],
    ),
    "threshold-up-of-three": (True, [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])]),
    "threshold-down": (True, [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])]),
    "threshold-up-with-a-key": (True, [([1], 1, [1]), ([1, 2], 2, [1, 2])]),
    "not-signed-by-the-old-key": (False, [([1], 1, [1]), ([2], 1, [2, 3, 4])]),
    "not-signed-by-the-new-key": (False, [([1], 1, [1]), ([2], 1, [1, 3, 4])]),
    "not-by-three-new-keys": (False, [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])]),
    "not-by-three-old-keys": (False, [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])]),
    "new-threshold-not-reached": (False, [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])]),
    "old-threshold-not-reached": (False, [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])]),
}


@pytest.mark.parametrize(("accepted", "versions"), ROOT_ROTATIONS.values(), ids=ROOT_ROTATIONS)
def test_roots_are_followed_only_when_old_and_new_keys_sign(
    tmp_path: Path, *, accepted: bool, versions: list[tuple[list[int], int, list[int]]]
) -> None:
    repository = TufRepository()
    repository.published["root"] = []
    repository.root.version = 0
    for keys, threshold, signed in versions:
        repository.root.roles["root"].keyids.clear()
        repository.root.roles["root"].threshold = threshold
        for number in keys:
            repository.root.add_key(SIGNERS[number].public_key, "root")
        repository.signers["root"] = [SIGNERS[number] for number in signed]
        repository.root.version += 1
        repository.publish("root", bump=False)
    client = Client(tmp_path, repository)
    assert client.refresh() == (0 if accepted else 1)
    assert (client.metadata / "root.json").read_bytes() == repository.published["root"][-1 if accepted else -2]


ROTATIONS: dict[str, tuple[bool, list[int], int, list[int]]] = {
    "1-of-1": (True, [2], 1, [2]),
    "unused-signatures": (True, [1], 1, [3, 1, 4]),
    "not-signed-by-the-new-key": (False, [2], 1, [1, 3, 4]),
    "a-key-of-before": (False, [0, 1, 3, 4, 5], 3, [0, 2, 4]),
    "threshold-not-reached": (False, [0, 1, 3, 4, 5], 3, [0, 4]),
    "first-three": (True, [0, 1, 2, 3, 4], 3, [0, 2, 4]),
    "second-three": (True, [0, 1, 2, 3, 4], 3, [0, 4, 1]),
    "third-three": (True, [0, 1, 2, 3, 4], 3, [0, 1, 3]),
    "fourth-three": (True, [0, 1, 2, 3, 4], 3, [1, 2, 3]),
    "fifth-three": (True, [0, 1, 2, 3, 4], 3, [2, 3, 4]),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(("accepted", "keys", "threshold", "signed"), ROTATIONS.values(), ids=ROTATIONS)
def test_keys_of_other_roles_rotate(  # noqa: PLR0917  # a case
    client: Client,
    repository: TufRepository,
    accepted: bool,  # of the case
    keys: list[int],
    threshold: int,
    signed: list[int],
    role: str,
) -> None:
    assert client.refresh() == 0
    repository.root.roles[role].keyids.clear()
    repository.root.roles[role].threshold = threshold
    for number in keys:
        repository.root.add_key(SIGNERS[number].public_key, role)
    repository.signers[role] = [SIGNERS[number] for number in signed]
    repository.publish("root")
    repository.publish_all("targets")
    assert client.refresh() == (0 if accepted else 1)
    assert client.trusted()[role] == (2 if accepted else 1)
    assert ((client.metadata / f"{role}.json").read_bytes() == repository.published[role][-1]) is accepted


# Delegations (5.6.7)

GRAPHS: dict[str, tuple[list[tuple[str, str, str, bool]], list[str]]] = {
    "one": ([("targets", "A", "*", False)], ["A"]),
    "two": ([("targets", "A", "*", False), ("targets", "B", "*", False)], ["A", "B"]),
    "two-levels": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("B", "C", "*", False)],
        ["A", "B", "C"],
    ),
    "depth-first": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("A", "C", "*", False), ("A", "D", "*", False)],
        ["A", "C", "D", "B"],
    ),
    "depth-first-three-levels": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("A", "C", "*", False), ("C", "D", "*", False)],
        ["A", "C", "D", "B"],
    ),
    "terminating": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("A", "C", "*", True), ("A", "D", "*", False)],
        ["A", "C"],
    ),
    "terminating-with-descendants": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("A", "C", "*", True), ("C", "D", "*", False)],
        ["A", "C", "D"],
    ),
    "other-paths": (
        [("targets", "A", "*.py", False), ("targets", "B", "*", False), ("A", "C", "*", False)],
        ["B"],
    ),
    "other-paths-below": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("A", "C", "*.py", False), ("C", "D", "*", False)],
        ["A", "B"],
    ),
    "cycle": (
        [
            ("targets", "A", "*", False),
            ("targets", "B", "*", False),
            ("B", "C", "*", False),
            ("C", "D", "*", False),
            ("D", "B", "*", False),
        ],
        ["A", "B", "C", "D"],
    ),
    "a-diamond": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("B", "C", "*", False), ("A", "C", "*", False)],
        ["A", "C", "B"],
    ),
    "a-diamond-of-paths": (
        [("targets", "A", "*", False), ("targets", "B", "*", False), ("B", "C", "*", False), ("A", "C", "*.py", False)],
        ["A", "B", "C"],
    ),
}


def delegate(repository: TufRepository, edges: list[tuple[str, str, str, bool]]) -> None:
    for delegator, name, pattern, terminating in edges:
        repository.delegate(delegator, name, pattern.split(), terminating=terminating)
    roles = dict.fromkeys(name for edge in edges for name in edge[:2])
    repository.publish_all(*roles)


@pytest.mark.parametrize(("edges", "visited"), GRAPHS.values(), ids=GRAPHS)
def test_delegations_are_walked_in_order(
    client: Client, repository: TufRepository, edges: list[tuple[str, str, str, bool]], visited: list[str]
) -> None:
    delegate(repository, edges)
    assert client.download("missing") == 1
    assert repository.asked[4:] == [(name, 1) for name in visited]


SEARCHES = {
    "targetfile": (b"by targets", []),
    "README.md": (b"by A", ["A"]),
    "releases/x/x_v1": (b"by C", ["B", "C"]),
    "releases/y/y_v1.zip": (b"by D", ["B", "D"]),
    "releases/z/z_v1.zip": (None, ["B"]),
}


@pytest.mark.parametrize(("path", "found", "visited"), [(path, *case) for path, case in SEARCHES.items()])
def test_a_target_is_found_where_each_role_of_the_chain_may_sign_it(
    client: Client, repository: TufRepository, path: str, found: bytes | None, visited: list[str]
) -> None:
    for delegator, name, patterns in (
        ("targets", "A", ["*.doc", "*.md"]),
        ("targets", "B", ["releases/*/*"]),
        ("B", "C", ["releases/x/*"]),
        ("B", "D", ["releases/y/*.zip"]),
    ):
        repository.delegate(delegator, name, patterns)
    repository.add_target("targets", "targetfile", b"by targets")
    repository.add_target("A", "README.md", b"by A")
    repository.add_target("C", "releases/x/x_v1", b"by C")
    repository.add_target("D", "releases/y/y_v1.zip", b"by D")
    repository.add_target("D", "releases/z/z_v1.zip", b"by D")
    repository.publish_all("A", "B", "C", "D", "targets")
    assert client.download(path) == (1 if found is None else 0)
    assert client.downloaded() == ([] if found is None else [found])
    assert repository.asked[4:] == [(name, 1) for name in visited]


def test_hashed_bins_lead_to_one_role(client: Client, repository: TufRepository) -> None:
    repository.delegate_bins(3)
    bins = [name for name in repository.documents if name.startswith("bin")]
    held = repository.targets.delegations
    assert held is not None
    assert held.succinct_roles is not None
    name = held.succinct_roles.get_role_for_target("file")
    repository.add_target(name, "file", b"content")
    repository.publish_all(*bins, "targets")
    assert client.download("file") == 0
    assert repository.asked[4:] == [(name, 1)]


def test_a_delegated_role_signed_by_another_key_is_refused(client: Client, repository: TufRepository) -> None:
    repository.delegate("targets", "A")
    repository.add_target("A", "file", b"content")
    repository.signers["A"] = [repository.new_signer()]
    repository.publish_all("A", "targets")
    assert client.download("file") == 1
    assert "A" not in client.trusted()


def test_a_role_that_was_read_is_verified_against_its_delegator_of_today(
    client: Client, repository: TufRepository
) -> None:
    repository.delegate("targets", "A")
    repository.add_target("A", "file", b"content")
    repository.publish_all("A", "targets")
    assert client.download("file") == 0
    trusted = repository.signers["A"][0]
    repository.delegate("targets", "A", signer=repository.new_signer())
    delegations = repository.targets.delegations
    assert delegations is not None
    assert trusted.public_key.keyid not in delegations.roles["A"].keyids  # type: ignore[index]
    repository.publish_all("targets")
    (client.targets / "file").unlink()
    assert client.download("file") == 1
    assert client.downloaded() == []


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "a b", "%41", "ü"])
def test_the_name_of_a_role_is_quoted_once(client: Client, repository: TufRepository, role: str) -> None:
    repository.delegate("targets", role)
    repository.publish_all(role, "targets")
    assert client.download("missing") == 1
    assert (quote(role, ""), 1) in repository.asked
    assert client.trusted().keys() == {*TOP, role}
    assert {path.parent for path in client.metadata.rglob(f"*{quote(role, '')}.json")} == {client.metadata}
