"""Versions of models: what a folder may hold, what the bucket holds after any interruption, and what is in use."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from infra.ops.errors import PenstockError, RefusedError, UsageError
from infra.ops.registry import pointers
from infra.ops.registry.folder import read_facts, read_source
from infra.ops.registry.manifest import READY, File, Manifest, resolve, tree_digest, version_of
from infra.ops.registry.operate import check_fit, idle_colour
from infra.ops.registry.source_line import edit_source
from infra.ops.registry.store import OutrunError
from infra.ops.weights import StackFileError, Weights, edit
from infra.settings import Settings
from tests.unit.ops.registry_cases import CARD, Crash, PlayedS3, model_folder, registry_on, tensors
from tests.unit.settings_cases import CHECKOUT

STACK = re.sub(r"sources: \{.*\}", "sources: {}", edit((CHECKOUT / "Pulumi.local.yaml").read_text(), Weights(100, 0)))
"""The checkout's file moves with every release."""


@pytest.fixture
def s3() -> PlayedS3:
    return PlayedS3()


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(STACK)
    return file


def add(registry, folder: Path):
    return registry.add("tiny", folder, None, "", "")


# -- folders --


def test_a_folder_tells_its_size_quantisation_licence_and_what_made_it(tmp_path: Path):
    config = {"quantization_config": {"quant_method": "awq"}, "auto_map": {"AutoModel": "x.Y"}}
    folder = model_folder(tmp_path / "m", config=config)
    facts = read_facts(read_source(folder))
    assert (facts.licence, facts.quantisation, facts.parameters) == ("apache-2.0", "awq", 300)
    assert (facts.kind, facts.max_positions, facts.dtypes) == ("model", 2048, {"F32": 300})
    assert "auto_map" in facts.warnings[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pytorch_model.bin", b"x", "may hold a pickle"),
        ("weights.pt", b"x", "may hold a pickle"),
        ("modeling_tiny.py", b"x", "is code"),
        ("tokenizer.json", b"\x80\x04\x95", "begins like a pickle"),
        ("vocab.txt", b"PK\x03\x04", "begins like a pickle, an archive"),
        ("notes.docx", b"x", "is of no kind that is allowed"),
        ("a b.json", b"{}", "is not allowed"),
        (".env", b"KEY=x", "is not allowed"),
    ],
)
def test_what_can_run_code_or_is_unknown_is_refused_by_name(tmp_path: Path, name: str, content: bytes, words: str):
    folder = model_folder(tmp_path / "m")
    (folder / name).write_bytes(content)
    with pytest.raises(RefusedError, match=words):
        read_source(folder)


def test_links_are_refused_but_for_those_of_a_hubs_cache_into_its_own_blobs(tmp_path: Path):
    folder = model_folder(tmp_path / "m")
    (tmp_path / "secret.json").write_text("{}")
    (folder / "extra.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(RefusedError, match=r"extra\.json is a link"):
        read_source(folder)

    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc123\n")
    for number, (name, body) in enumerate(
        {"model.safetensors": tensors(), "config.json": b"{}", "README.md": CARD.encode()}.items()
    ):
        (cache / "blobs" / str(number)).write_bytes(body)
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    found = read_source(cache)
    assert found.revision == "abc123"
    assert sorted(found.files) == ["README.md", "config.json", "model.safetensors"]
    (snapshot / "out.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(RefusedError, match=r"out\.json is a link"):
        read_source(cache)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (tensors()[:-4], "cut short"),
        (tensors() + b"more", "cut short or has more"),
        (b"\xff" * 40, "header is longer"),
        (tensors(dtype="BF16"), "does not have the bytes"),
        (tensors(dtype="F128"), "unknown dtype"),
        (b"", "shorter than a header"),
    ],
)
def test_a_safetensors_file_that_is_not_whole_is_refused(tmp_path: Path, body: bytes, words: str):
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(body)
    with pytest.raises(RefusedError, match=words):
        read_facts(read_source(folder))


def test_a_shard_that_the_index_names_must_be_there_with_its_tensors(tmp_path: Path):
    folder = model_folder(tmp_path / "m")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model-2.safetensors"}}))
    with pytest.raises(RefusedError, match=r"model-2.safetensors, which is not there"):
        read_facts(read_source(folder))
    index.write_text(json.dumps({"weight_map": {"v": "model.safetensors"}}))
    with pytest.raises(RefusedError, match="holds the tensor 'v'; it does not"):
        read_facts(read_source(folder))


def test_without_a_licence_a_version_is_refused_until_one_is_said(tmp_path: Path):
    folder = model_folder(tmp_path / "m")
    (folder / "README.md").write_text("# no front matter")
    with pytest.raises(RefusedError, match="--licence"):
        read_facts(read_source(folder))
    assert read_facts(read_source(folder), "mit").licence == "mit"


# -- versions --


def test_the_digest_is_of_paths_sizes_and_bytes_and_of_nothing_else(tmp_path: Path, s3: PlayedS3):
    registry = registry_on(s3)
    one, created = add(registry, model_folder(tmp_path / "a"))
    same, again = add(registry, model_folder(tmp_path / "b"))
    other, _ = add(registry, model_folder(tmp_path / "c", fill=2))
    assert (created, again) == (True, False)
    assert one.digest == same.digest != other.digest
    files = [File("a", 1, "x"), File("b", 2, "y")]
    assert tree_digest(files) == tree_digest(reversed(files))
    assert version_of(one.weights) == ("tiny", one.digest)
    assert version_of("weights://tiny/2026-10-01") is None


def test_a_version_can_be_seen_only_once_all_of_it_is_there(tmp_path: Path, s3: PlayedS3):
    """The process dies before and after each effect in turn; each time the next one goes on to the same end."""
    folder = model_folder(tmp_path / "m")
    whole = PlayedS3()
    add(registry_on(whole), folder)
    effects = len(whole.calls)
    assert whole.calls.count("part") >= 2, "the weights go in parts"
    for side in ("before", "after"):
        for at in range(effects):
            s3 = PlayedS3()
            seen = iter(range(100))

            def die(name: str, at: int = at, seen=seen) -> None:
                if next(seen) == at:
                    raise Crash

            setattr(s3, side, die)
            last = side == "after" and at == effects - 1
            with pytest.raises(Crash):
                add(registry_on(s3), folder)
            assert registry_on(s3).digests("tiny") == [] or last, "half a version is none"
            s3.before = s3.after = lambda name: None
            manifest, _ = add(registry_on(s3), folder)
            assert registry_on(s3).digests("tiny") == [manifest.digest]
            assert registry_on(s3).verify("tiny", manifest.digest, read=True) == []


def test_parts_that_s3_has_are_not_sent_again(tmp_path: Path, s3: PlayedS3):
    folder = model_folder(tmp_path / "m")
    parts = iter(range(100))

    def die(name: str) -> None:
        if name == "complete" or (name == "part" and next(parts) == 5):
            raise Crash

    s3.before = die
    with pytest.raises(Crash):
        add(registry_on(s3), folder)
    sent = s3.calls.count("part")
    s3.before = lambda name: None
    add(registry_on(s3), folder)
    assert (s3.calls.count("create"), s3.calls.count("part")) == (1, 2)
    assert sent == 2, "both parts were there, and the second run sent none"


def test_a_file_that_changes_while_it_is_read_is_no_version(tmp_path: Path, s3: PlayedS3):
    folder = model_folder(tmp_path / "m")

    def change(name: str) -> None:
        (folder / "model.safetensors").write_bytes(tensors(fill=9))

    s3.before = change
    with pytest.raises(PenstockError, match="changed while it was read"):
        add(registry_on(s3), folder)
    assert registry_on(s3).digests("tiny") == []


def test_bytes_that_are_wrong_or_plain_in_the_bucket_are_found(tmp_path: Path, s3: PlayedS3):
    registry = registry_on(s3)
    manifest, _ = add(registry, model_folder(tmp_path / "m"))
    key = f"tiny/{manifest.digest}/config.json"
    body = s3.objects[key]["body"]
    s3.objects[key]["body"] = b"#" + body[1:]
    assert registry.verify("tiny", manifest.digest, read=False) == [], "S3 says what it was told when it was written"
    assert registry.verify("tiny", manifest.digest, read=True) == ["config.json holds other bytes than were added"]
    del s3.objects[key]
    s3.objects[f"tiny/{manifest.digest}/extra.json"] = s3.objects[f"tiny/{manifest.digest}/README.md"]
    found = registry.verify("tiny", manifest.digest, read=False)
    assert found == ["config.json is not there", "extra.json is not of the version"]
    s3.encryption = "AES256"
    assert any("not encrypted by a key of KMS" in each for each in registry.verify("tiny", manifest.digest, False))


def test_weights_that_would_rest_without_a_key_are_no_version(tmp_path: Path, s3: PlayedS3):
    s3.encryption = "AES256"
    with pytest.raises(PenstockError, match="not encrypted by a key of KMS"):
        add(registry_on(s3), model_folder(tmp_path / "m"))
    assert registry_on(s3).digests("tiny") == []


def test_a_version_is_named_by_some_of_its_digest_or_by_a_pointer():
    digests = ["sha256-" + "ab" * 32, "sha256-" + "abababcd" * 8]
    assert resolve("ababab" + "cd", digests, {}) == digests[1]
    assert resolve("stage", digests, {"stage": {"digest": digests[0]}}) == digests[0]
    for given, words in [("ababab", "2 versions begin"), ("cdcdcd", "There is no version"), ("ab", "is no version")]:
        with pytest.raises(UsageError, match=words):
            resolve(given, digests, {})
    with pytest.raises(UsageError, match="no version in production"):
        resolve("production", digests, {})


def test_a_manifest_that_was_tampered_with_is_refused(tmp_path: Path, s3: PlayedS3):
    manifest, _ = add(registry_on(s3), model_folder(tmp_path / "m"))
    content = manifest.as_dict()
    assert Manifest.parse(json.loads(json.dumps(content))) == manifest
    content["files"][0]["sha256"] = "0" * 64
    with pytest.raises(PenstockError, match="does not have its own digest"):
        Manifest.parse(json.loads(json.dumps(content)))


# -- pointers, promotion, removal --


def test_two_who_write_at_once_do_not_lose_each_others_change(s3: PlayedS3):
    bucket = registry_on(s3).bucket
    bucket.create("k", {"n": []})
    once = iter([True])

    def outrun(name: str) -> None:
        if next(once, False):
            bucket.change("k", lambda content: {"n": [*content["n"], "theirs"]})

    s3.before = outrun
    assert bucket.change("k", lambda content: {"n": [*content["n"], "ours"]})["n"] == ["theirs", "ours"]
    with pytest.raises(OutrunError):
        bucket.create("k", {"n": ["new"]})
    bucket.create("k", {"n": ["theirs", "ours"]})  # the answer to our own call was lost, and boto3 sent it again


def test_a_promotion_changes_one_line_of_the_idle_colour_and_moves_the_pointer(
    tmp_path: Path, s3: PlayedS3, stack_file: Path
):
    registry = registry_on(s3, stack_file)
    manifest, _ = add(registry, model_folder(tmp_path / "m"))
    done = registry.promote("tiny", manifest.digest[:20], stack_file, None, "why not")
    assert (done["colour"], done["changed"]) == ("green", True)
    before, after = STACK.splitlines(), stack_file.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [("      sources: {}", f"      sources: {{tiny: {manifest.weights}}}")]
    assert Settings.from_stack_file(stack_file).release.green.sources == {"tiny": manifest.weights}
    found = pointers.read(registry.bucket, "tiny")
    assert found["stage"]["digest"] == manifest.digest
    assert found["history"][-1]["why"] == "why not"
    assert registry.promote("tiny", "stage", stack_file, None, "")["changed"] is False


def test_a_version_that_does_not_fit_the_models_entry_is_not_promoted(tmp_path: Path, s3: PlayedS3, stack_file: Path):
    registry = registry_on(s3, stack_file)
    awq = {"quantization_config": {"quant_method": "awq"}}
    manifest, _ = add(registry, model_folder(tmp_path / "m", config=awq))
    with pytest.raises(RefusedError, match="quantised by awq, and the stack file says none"):
        registry.promote("tiny", manifest.digest, stack_file, None, "")
    plain, _ = add(registry, model_folder(tmp_path / "n"))
    with pytest.raises(RefusedError, match="blue has traffic"):
        registry.promote("tiny", plain.digest, stack_file, "blue", "")
    large = replace(plain, files=(File("x", 1 << 30, "0"),))
    with pytest.raises(RefusedError, match="weightsGib"):
        check_fit(large, Settings.from_stack_file(stack_file))
    assert stack_file.read_text() == STACK
    half = STACK.replace("      weight: 100", "      weight: 50").replace("      weight: 0\n", "      weight: 50\n")
    stack_file.write_text(half)
    with pytest.raises(RefusedError, match="Both colours"):
        idle_colour(Settings.from_stack_file(stack_file), None)


def test_what_a_pointer_a_stack_file_or_an_engine_names_is_not_removed(tmp_path: Path, s3: PlayedS3, stack_file: Path):
    registry = registry_on(s3, stack_file)
    one, _ = add(registry, model_folder(tmp_path / "one"))
    two, _ = add(registry, model_folder(tmp_path / "two", fill=2))
    registry.promote("tiny", one.digest, stack_file, None, "")
    with pytest.raises(RefusedError, match=r"in use: stage, Pulumi.local.yaml"):
        registry.remove("tiny", one.digest)
    running = registry_on(s3, deployed=f"--model s3://bucket/tiny/{two.digest}")
    with pytest.raises(RefusedError, match="in use: deployed"):
        running.remove("tiny", two.digest)
    assert registry.remove("tiny", two.digest)["files"] == 3
    assert registry.digests("tiny") == [one.digest]
    assert not [key for key in s3.objects if two.digest in key]


def test_a_removal_that_dies_is_gone_on_with_and_never_leaves_half_a_version(tmp_path: Path):
    for at in range(9):
        s3 = PlayedS3()
        manifest, _ = add(registry_on(s3), model_folder(tmp_path / f"m{at}"))
        seen = iter(range(100))

        def die(name: str, at: int = at, seen=seen) -> None:
            if next(seen) == at:
                raise Crash

        s3.before = die
        try:
            registry_on(s3).remove("tiny", manifest.digest)
        except Crash:
            s3.before = lambda name: None
            left = registry_on(s3).digests("tiny")
            if left and registry_on(s3).manifest("tiny", manifest.digest).state == READY:
                assert registry_on(s3).verify("tiny", manifest.digest, read=True) == [], "ready means whole"
            if left:
                registry_on(s3).remove("tiny", manifest.digest)
        assert not [key for key in s3.objects if key.startswith("tiny/")]


def test_a_version_that_is_taken_up_while_it_is_being_removed_stays(tmp_path: Path, s3: PlayedS3, stack_file: Path):
    registry = registry_on(s3, stack_file)
    manifest, _ = add(registry, model_folder(tmp_path / "m"))
    once = iter([True])

    def promoted_meanwhile(name: str) -> None:
        if next(once, False):
            pointers.move(registry.bucket, "tiny", "stage", manifest.digest, "bob", "")

    s3.before = promoted_meanwhile  # after the first look at the pointers, before the manifest is marked
    with pytest.raises(RefusedError, match="in use: stage"):
        registry.remove("tiny", manifest.digest)
    assert registry.manifest("tiny", "stage").state == READY
    assert registry.verify("tiny", "stage", read=True) == []


def test_the_version_before_the_one_in_production_is_known(s3: PlayedS3):
    bucket = registry_on(s3).bucket
    for digest in ("a", "b", "c", "b"):
        pointers.move(bucket, "tiny", "production", digest, "ann", "release")
    found = pointers.read(bucket, "tiny")
    assert (found["production"]["digest"], pointers.previous(found)) == ("b", "c")
    assert [entry["digest"] for entry in found["history"]] == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sources: {}", "sources: {tiny: weights://t/1}"),
        ("sources: {other: x}", "sources: {other: x, tiny: weights://t/1}"),
        ("sources: {tiny: 'weights://t/0'}", "sources: {tiny: weights://t/1}"),
        ("sources:\n        tiny: weights://t/0  # kept", "sources:\n        tiny: weights://t/1  # kept"),
        ("sources:\n        other: x", "sources:\n        tiny: weights://t/1\n        other: x"),
    ],
)
def test_a_source_is_written_as_the_file_is_written(written: str, expected: str):
    blue, _, rest = STACK.partition("    green:")
    text = blue + "    green:" + rest.replace("sources: {}", written, 1)
    changed = edit_source(text, "green", "tiny", "weights://t/1", "file")
    assert changed == blue + "    green:" + rest.replace("sources: {}", expected, 1)


def test_a_source_that_is_shared_by_an_anchor_is_refused():
    text = STACK.replace("sources: {}", "sources: &both {}", 1).replace("sources: {}", "sources: *both", 1)
    with pytest.raises(StackFileError):
        edit_source(text, "green", "tiny", "weights://t/1", "file")
