"""The model card of a version: README.md beside its weights, for people. Counts and label names, never texts."""

from __future__ import annotations

from pathlib import Path

from storage.records import EvaluationReport
from trainer.protocol import JobSpec


def write_card(directory: Path, *, classifier: str, spec: JobSpec, report: EvaluationReport) -> None:
    """Write README.md into an artifact's directory."""
    rows = "\n".join(
        f"| {_cell(row.label)} | {row.rows} | {row.precision:.2f} | {row.recall:.2f} | {row.champion_recall:.2f} |"
        for row in report.labels
    )
    (directory / "README.md").write_text(
        f"""# {_cell(classifier)}

A text classifier: an encoder (text to a unit vector) and a linear head over it, trained by Pupil.

- Base encoder: `{spec.base}`; snapshot `{spec.snapshot[:12]}`; seed {spec.seed}
- Trained on {report.train_rows} labelled texts; {report.golden_rows} golden texts were kept aside
- Measured, as served, on {len(report.outcomes)} texts that it was not trained on:
  accuracy {report.candidate_accuracy:.1%}, macro-F1 {report.candidate_macro_f1:.2f},
  calibration error {report.calibration_error:.1%}
- {report.champion}, which served before it, on the same texts:
  accuracy {report.champion_accuracy:.1%}, macro-F1 {report.champion_macro_f1:.2f}

| label | texts measured | precision | recall | recall before |
|---|---|---|---|---|
{rows}

Files: `model.safetensors` with `config.json` and the tokenizer (to train on from here), `encoder.onnx` with
`encoder.json` and `head.safetensors` (what serves), `canary.json` (vectors that a loader compares), `evidence.json`
(example ids it was trained on, and its twin's answers), `report.json` (every outcome), `manifest.json` (sha256 of all).

It knows only the labels above. For other texts, and for languages other than the base encoder's, its answers mean
little.
""",
        encoding="utf-8",
    )


def _cell(text: str) -> str:
    """A name inside a Markdown table or heading."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
