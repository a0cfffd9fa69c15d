"""`pupil models export`: what is written loads into transformers by itself and answers as the version does."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from bot.cli import export as command
from bot.services.export import export_version
from bot.web.guilds import PLAYGROUND
from storage.artifacts import seal
from storage.database import Database
from storage.errors import ArtifactError, Conflict, InvalidInput, NotFound, StorageError
from storage.records import ModelVersion
from storage.settings import Settings
from storage.stores import Stores
from tests.fakes.lessons import one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.bases import PACKAGED, resolve
from trainer.export import CANARY_TEXTS, export_encoder
from trainer.model.head import Head, label_text
from trainer.network import Network

Floats = NDArray[np.float32]
LABELS = ("crash report", "refund", "password_reset", "praise", "feature wish")
TEXTS = (
    "hi",
    "the app crashes when I open it",
    "I want my money back",
    "how do I change my password or reset the login, please? I tried three times and nothing arrives in my inbox",
    "thank you, it works well",
    "Überweisung fehlgeschlagen 😀 https://example.org/a?b=c",
    "please add a dark mode " * 60,
)
PADDED = {
    "roberta": (transformers.RobertaConfig, 1),
    "xlm-roberta": (transformers.XLMRobertaConfig, 1),
    "camembert": (transformers.CamembertConfig, 1),
    "electra": (transformers.ElectraConfig, 0),
    "albert": (transformers.AlbertConfig, 0),
    "mpnet": (transformers.MPNetConfig, 1),
}


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()
    transformers.logging.disable_progress_bar()


def make_encoder(directory: Path, model_type: str = "bert", pooling: str = "mean", max_tokens: int = 48) -> Path:
    """A random encoder of a family with the tiny tokenizer; norms scale and shift, as trained ones do."""
    make_tiny_encoder(directory)
    vocabulary = json.loads((directory / "config.json").read_text())["vocab_size"]
    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 130}
    if model_type == "bert":
        config: Any = transformers.BertConfig(**sizes)
    elif model_type == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=130
        )
    else:
        kind, padding = PADDED[model_type]
        config = kind(**sizes, pad_token_id=padding, embedding_size=16)
    torch.manual_seed(1)
    body = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in body.named_parameters():
            # Random vectors, but for the norms: those stay near what they begin with.
            parameter.add_(torch.randn_like(parameter) * (0.1 if "norm" in name.lower() else 0.25))
    body.save_pretrained(directory)
    description = {"max_tokens": max_tokens, "dimensions": 32, "pooling": pooling}
    (directory / "encoder.json").write_text(json.dumps(description))
    return directory


def make_version(
    root: Path, encoder: Path, labels: Sequence[str] = LABELS, served: Floats | None = None, *, kept: bool = False
) -> Path:
    """An artifact with `encoder` and a head whose rows are the labels' names, at the scale of a trained one.

    `kept`: with the encoder's own files, as `trainer.learn` leaves a version that is a head over its base.
    """
    staging = root / "staging"
    network = Network(encoder)
    network.save(staging)
    if kept:
        shutil.copyfile(encoder / "model.safetensors", staging / "model.safetensors")
    shutil.copyfile(encoder / "encoder.json", staging / "encoder.json")
    vectors = network.embed(CANARY_TEXTS) if served is None else served
    (staging / "canary.json").write_text(json.dumps({"texts": CANARY_TEXTS, "vectors": vectors.tolist()}))
    names = network.embed([label_text(name) for name in labels])
    # An untrained encoder's vectors are much alike: labels are level at the average of the texts.
    rows, middle = 20 * names, network.embed(TEXTS).mean(axis=0)
    Head(tuple(labels), rows, -rows @ middle, 0.8, 0.25).save(staging)
    known = [{"id": index, "name": name, "description": ""} for index, name in enumerate(labels)]
    return root / seal(staging, root, "version", known, {"base": "tiny"}, 0.0)


def expected(artifact: Path, texts: Sequence[str] = TEXTS) -> Floats:
    """What the float32 network and the head say."""
    return Head.load(artifact).probabilities(Network(artifact).embed(list(texts)))


def piped(folder: Path, texts: Sequence[str] = TEXTS, labels: Sequence[str] = LABELS, **more: Any) -> Floats:
    """The pipeline's probabilities in the order of `labels`."""
    classify = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    rows = classify(list(texts), top_k=None, truncation=True, **more)
    found: list[dict[str, float]] = [{score["label"]: score["score"] for score in row} for row in rows]  # type: ignore
    return np.array([[row[label] for label in labels] for row in found], np.float32)


def same(found: Floats, wanted: Floats, most: float) -> None:
    assert np.abs(found - wanted).max() < most
    assert (found.argmax(1) == wanted.argmax(1)).all()


# Answers


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"])
def test_a_pipeline_answers_as_the_version_does(model_type: str, pooling: str, tmp_path: Path) -> None:
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder", model_type, pooling))
    exported = export_version(artifact, tmp_path / "out", "triage v1")
    assert exported.obstacle is None
    assert exported.difference is not None
    assert exported.difference < 1e-3
    wanted = expected(artifact)
    assert np.ptp(wanted, axis=0).max() > 0.2, "the texts must differ for this to mean anything"
    same(piped(tmp_path / "out"), wanted, 2e-3)  # each text alone
    same(piped(tmp_path / "out", batch_size=len(TEXTS)), wanted, 2e-3)  # all lengths in one padded batch


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"])
def test_every_tensor_finds_its_place(model_type: str, tmp_path: Path) -> None:
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder", model_type))
    export_version(artifact, tmp_path / "out", "triage v1")
    model, told = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert {name: found for name, found in told.items() if found} == {}
    assert model.dtype == torch.float32
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_takes_no_part_whichever_way_attention_is_computed(attention: str, tmp_path: Path) -> None:
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder"))
    folder = export_version(artifact, tmp_path / "out", "triage v1").folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation=attention)
    inputs = tokenizer(list(TEXTS), truncation=True, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        found = torch.softmax(model.eval()(**inputs).logits, -1).numpy()
    same(found, expected(artifact), 2e-3)


def test_the_tokenizer_is_the_versions(tmp_path: Path) -> None:
    """Also where it reads otherwise than its family's usual one."""
    encoder = make_encoder(tmp_path / "encoder")
    unusual = json.loads((encoder / "tokenizer.json").read_text())
    unusual["normalizer"] = {"type": "Replace", "pattern": {"String": "e"}, "content": "a"}
    (encoder / "tokenizer.json").write_text(json.dumps(unusual))
    artifact = make_version(tmp_path, encoder)
    folder = export_version(artifact, tmp_path / "out", "triage v1").folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer(list(TEXTS), truncation=True)["input_ids"] == Network(artifact).tokenize(TEXTS)
    assert max(map(len, tokenizer(list(TEXTS), truncation=True)["input_ids"])) == 48
    assert (tokenizer.model_max_length, tokenizer.pad_token) == (48, "[PAD]")


def test_two_labels_are_two_probabilities(tmp_path: Path) -> None:
    labels = ("yes please", "no thanks")
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder"), labels)
    folder = export_version(artifact, tmp_path / "out", "triage v1").folder
    found = piped(folder, labels=labels)
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    same(found, expected(artifact), 2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("head_alone", [False, True])
def test_the_packaged_encoder_as_a_pipeline(tmp_path: Path, head_alone: bool) -> None:
    """A version that is only a head keeps the published weights, of which some count less than they say."""
    staged = tmp_path / "encoder"
    served = export_encoder(resolve(PACKAGED), staged).encode_many(CANARY_TEXTS)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(resolve(PACKAGED) / name, staged / name)
    artifact = make_version(tmp_path, staged, served=served, kept=head_alone)
    exported = export_version(artifact, tmp_path / "out", "triage v1")
    assert exported.difference is not None
    assert exported.difference < 1e-3
    assert exported.served_difference is not None
    assert 1e-3 < exported.served_difference < 0.2, "int8 is near, and not the same"
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert (written["padding"], written["truncation"]) == (None, None), "the packaged one pads all to 128"
    texts = [*TEXTS, *CANARY_TEXTS]
    wanted = expected(artifact, texts)
    found = piped(tmp_path / "out", texts, batch_size=len(texts))
    print(f"largest difference {np.abs(found - wanted).max():.2e}")
    same(found, wanted, 1e-3)


# Encoders that are no stock classifier


@pytest.mark.parametrize(("model_type", "pooling"), [("albert", "mean"), ("albert", "cls"), ("mpnet", "mean")])
def test_the_program_in_the_readme_answers_where_a_pipeline_cannot(
    model_type: str, pooling: str, tmp_path: Path
) -> None:
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder", model_type, pooling))
    exported = export_version(artifact, tmp_path / "out", "triage v1")
    assert f"type {model_type}" in (exported.obstacle or "")
    assert (exported.difference, exported.served_difference) == (None, None)
    page = (tmp_path / "out" / "README.md").read_text()
    assert exported.obstacle in page  # type: ignore[operator]
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    program = program.replace("path/to/this/folder", str(tmp_path / "out"))
    program = program.replace('["some text", "another"]', repr(list(TEXTS)))
    names: dict[str, Any] = {}
    exec(program, names)
    same(names["probabilities"].numpy(), expected(artifact), 1e-4)


def test_a_classifier_that_comes_not_near_enough_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder"))
    monkeypatch.setattr("trainer.model.plain.LOUD", 1.0)  # the state it is added to is then as loud
    exported = export_version(artifact, tmp_path / "out", "triage v1")
    assert "would differ by 0." in (exported.obstacle or "")
    assert (tmp_path / "out" / "head.safetensors").is_file()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertModel"]


# The folder


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("version")
    return make_version(root, make_encoder(root / "encoder"))


def test_the_folder_holds_what_is_needed_and_its_page_is_honest(version: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder may be there
    exported = export_version(version, tmp_path / "out", "triage v1")
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}
    assert {path.name for path in exported.folder.iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    page = (exported.folder / "README.md").read_text()
    assert f"{exported.difference:.1e}" in page
    for told in ("# triage v1", "truncation=True", "after 48 tokens", "float32", "int8", "0.250", version.name[:12]):
        assert told in page
    assert not any(text in page for text in CANARY_TEXTS[1:4])


def test_a_folder_with_something_in_it_is_refused(version: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Conflict, match="something in"):
        export_version(version, tmp_path, "triage v1")
    with pytest.raises(Conflict, match="no folder"):
        export_version(version, tmp_path / "thesis.txt", "triage v1")
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_left_of_an_export_that_fails(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bot.services.export.export_card.write", full)
    with pytest.raises(StorageError, match="no room"):
        export_version(version, tmp_path / "out", "triage v1")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_artifact_is_refused(version: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(version, tmp_path / version.name)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    with pytest.raises(ArtifactError, match=r"model\.safetensors has another sha256"):
        export_version(copy, tmp_path / "out", "triage v1")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_the_served_ones_are_refused(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder")
    other = Network(encoder).embed(CANARY_TEXTS)[::-1].copy()
    artifact = make_version(tmp_path, encoder, served=other)
    with pytest.raises(ArtifactError, match="not the ones it serves"):
        export_version(artifact, tmp_path / "out", "triage v1")


def test_files_that_do_not_fit_each_other_are_told_not_thrown(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder")
    artifact = make_version(tmp_path, encoder)
    staging = tmp_path / "again"
    shutil.copytree(artifact, staging)
    config = json.loads((staging / "config.json").read_text()) | {"num_hidden_layers": 3}
    (staging / "config.json").write_text(json.dumps(config))
    broken = tmp_path / seal(staging, tmp_path, "version", (), {}, 1.0)
    with pytest.raises(ArtifactError, match="do not fit"):
        export_version(broken, tmp_path / "out", "triage v1")


def test_one_label_is_no_classifier(tmp_path: Path) -> None:
    artifact = make_version(tmp_path, make_encoder(tmp_path / "encoder"), ("only",))
    with pytest.raises(InvalidInput, match="one label"):
        export_version(artifact, tmp_path / "out", "triage v1")


def test_a_base_encoder_is_no_version(tmp_path: Path) -> None:
    base = tmp_path / "staging"
    make_tiny_encoder(base)
    artifact = tmp_path / seal(base, tmp_path, "base", (), {}, 0.0)
    with pytest.raises(ArtifactError, match="no version that can be exported"):
        export_version(artifact, tmp_path / "out", "v0")


# The command


class Api:
    """The two calls that the command makes."""

    def __init__(self, versions: list[dict[str, Any]]) -> None:
        self._versions = versions

    async def only_classifier(self) -> str:
        return "triage"

    async def versions(self, classifier: str) -> dict[str, Any]:
        return {"serving": "v0", "versions": self._versions}


def row(number: int, artifact: str, live: bool = False) -> dict[str, Any]:
    return {"number": number, "version": f"v{number}", "live": live, "artifact": artifact}


def run(data: Path, known: list[dict[str, Any]], version: int | None, out: Path) -> dict[str, Any]:
    api: Any = Api(known)
    return asyncio.run(command.export(api, Settings(data=data), None, version, out))


def test_the_live_version_is_taken_where_none_is_named(
    version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = Settings(data=tmp_path).space / "models"
    shutil.copytree(version, models / version.name)
    known = [row(3, "f" * 64), row(2, version.name, live=True), row(1, "e" * 64)]
    written = run(tmp_path, known, None, tmp_path / "out")
    assert (written["version"], written["loads_as"]) == ("v2", "sequence classifier")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    json.dumps(written)
    command.show_result(written)
    assert "holds v2 of triage as a sequence classifier of transformers with 5 labels." in capsys.readouterr().out
    with pytest.raises(NotFound, match=r"files of v3 .* not in"):
        run(tmp_path, known, 3, tmp_path / "other")
    known[0]["files_deleted_at"] = 86_400.0
    with pytest.raises(NotFound, match="were deleted on 1970-01-02"):
        run(tmp_path, known, 3, tmp_path / "other")
    with pytest.raises(NotFound, match="no v9"):
        run(tmp_path, known, 9, tmp_path / "other")


@pytest.mark.parametrize("version_number", [None, 0])
def test_the_base_encoder_stays_where_it_is(version_number: int | None, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="v0 cannot be exported"):
        run(tmp_path, [row(1, "e" * 64)], version_number, tmp_path / "out")


def test_an_artifact_id_never_becomes_another_path(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="names no artifact"):
        run(tmp_path, [row(1, "../../etc")], 1, tmp_path / "out")


@pytest.mark.parametrize(("name", "number"), [("v3", 3), ("3", 3), ("v0", 0)])
def test_a_version_is_named_as_everywhere(name: str, number: int) -> None:
    assert command.parse_version(name) == number


@pytest.mark.parametrize("name", ["", "v", "three", "v1+7", "-1", "v٣"])
def test_anything_else_is_no_version(name: str) -> None:
    with pytest.raises(InvalidInput, match="a version like v3"):
        command.parse_version(name)


async def keep(data: Path, artifact: Path) -> None:
    """A data directory in which v1 of `triage`, with this artifact, is live."""
    space = Settings(data=data).space
    shutil.copytree(artifact, space / "models" / artifact.name)
    async with Database(space / "pupil.db") as database:
        stores = Stores.over(database)
        classifier = await stores.classifiers.create(PLAYGROUND, "triage", "local", "tiny", 1.0)
        version = ModelVersion(PLAYGROUND, classifier.id, 0, artifact.name, None, "s", 0, LABELS, "", "", 1.0)
        await stores.registry.add(version)
        await stores.registry.promote(PLAYGROUND, classifier.id, 1, 0, "local", "better", 1.0)


def test_the_command_line_exports_the_live_version(version: Path, tmp_path: Path) -> None:
    asyncio.run(keep(tmp_path / "data", version))
    folder = tmp_path / "new" / "triage"
    line = [sys.executable, "-m", "bot", "models", "export", "--data", str(tmp_path / "data"), "--out", str(folder)]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith(f"{folder} holds v1 of triage as a sequence classifier")
    same(piped(folder), expected(version), 1e-3)
    again = subprocess.run([*line, "--version", "v1"], capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith(f"Error: There is something in {folder}.")


def test_the_export_needs_no_torch(version: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from bot.services.export import export_version\n"
        f"export_version(Path({str(version)!r}), Path({str(tmp_path / 'out')!r}), 'triage v1')\n"
        "print(sorted({'torch', 'transformers', 'sklearn', 'onnxruntime'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert found.stdout.strip() == "[]", found.stdout + found.stderr
