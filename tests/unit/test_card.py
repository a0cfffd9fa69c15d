"""The model card: every figure of the report stands on it, nothing that was not measured, and no text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from storage.records import CandidateKind, Certainty, EvaluationReport, LabelReport, PairedOutcome, Split
from tests.unit.test_report_figures import OLD
from trainer.card import card, write_card
from trainer.protocol import JobSpec, from_json

SPEC = JobSpec("j1", 1, "ab12" * 16, "all-MiniLM-L6-v2", "cd34" * 16, "v3", 7, {"epochs": 5})
LABELS = ("bug", "how to | why", "spam")


def rows() -> tuple[PairedOutcome, ...]:
    """100 rows: 12 became right (ids 0 to 11), 3 wrong (20 to 22), 2 are wrong in another way (30, 31)."""
    made = []
    for number in range(100):
        label = LABELS[number % 2]
        champion = "spam" if number < 12 or number in (30, 31) else label
        candidate = "spam" if 20 <= number < 23 else LABELS[1 - number % 2] if number in (30, 31) else label
        made.append(PairedOutcome(number, label, Split.TRAIN, champion, candidate))
    return tuple(made)


def report() -> EvaluationReport:
    labels = (
        LabelReport("bug", 50, 0.98, 0.94, 0.86),
        LabelReport("how to | why", 50, 0.98, 0.96, 0.86),
        LabelReport("spam", 0, 0.0, 0.0, 0.0),
    )
    return EvaluationReport(
        rows(), 0.95, 0.86, 0.94, 0.85, labels, ((47, 1, 2), (1, 48, 1), (0, 0, 0)), 0.028, "v3", 300, 26,
        {"preparing": 3.1, "measuring": 21.7, "training": 14.2}, 22_900_000, CandidateKind.DEEP, 0.9, "base",
        Certainty(0.098, 0.84, 0.61, 0.95, 0.043, 0.97), 4.21,
    )  # fmt: skip


def shown(measured: EvaluationReport, spec: JobSpec = SPEC) -> str:
    return card("triage", spec, measured)


def test_the_first_paragraph_is_the_verdict_of_the_measurement() -> None:
    title, verdict = shown(report()).split("\n\n")[:2]
    assert title == "# triage"
    assert verdict == (
        "A text classifier with 3 labels, trained by Pupil on 300 texts. On 100 texts that it was not trained on, 95 % "
        "of its answers are right; with v3, which served before it, 86 %. 17 answers differ: 12 became right, 3 wrong, "
        "2 wrong in another way; it is 99 % likely better."
    )


def test_candidate_and_champion_stand_beside_each_other_with_their_intervals() -> None:
    page = shown(report())
    assert "| accuracy | 95 % | 86 % |" in page
    assert "| 95 % interval | 88.8 to 97.8 % | 77.9 to 91.5 % |" in page
    assert "| macro-F1 | 0.94 | 0.85 |" in page


def test_what_the_confidence_is_worth_and_what_it_costs() -> None:
    page = shown(report())
    for line in (
        "Its confidence is off by 2.8 % on average (9.8 % before calibration).",
        "Answers 84 % of the texts if 95 % of the answers have to be right, from confidence 0.61.",
        "Recognises 97 % of everyday texts about other things, and mistakes 4.3 % of its own for such.",
        "On 100 of these texts it gets 95 %, the head alone 90 %.",
        "23 MB, 4.2 ms per text, on one thread of the trainer's machine.",
        "It took 39 seconds: preparing 3, measuring 22, training 14",
    ):
        assert f"- {line}\n" in page


def test_what_changed_names_examples_by_id_and_labels_by_their_net_change() -> None:
    page = shown(report())
    assert "- Fixed: 12 texts (#0, #1, #2, #3, #4, #5, #6, #7, #8, #9 and 2 more)\n" in page
    assert "- Broken: 3 texts (#20, #21, #22)\n" in page
    assert "- Wrong in another way: 2 texts (#30, #31)\n" in page
    assert "- Gained: how to \\| why +5 of 50, bug +4 of 50\n" in page
    assert "Forgotten" not in page
    lost = replace(report(), outcomes=tuple(replace(row, champion=row.label) for row in rows()))
    assert "- Forgotten: bug -3 of 50, how to \\| why -2 of 50\n" in shown(lost)


def test_lineage_says_from_what_it_was_made() -> None:
    page = shown(report())
    for line in (
        "Kind: fine-tuned from the base encoder",
        "Base encoder: `all-MiniLM-L6-v2`",
        "Snapshot `ab12ab12ab12`: 300 texts to learn from, 26 kept aside to measure",
        "Compared with v3, artifact `cd34cd34cd34`",
        "Seed 7; recipe changed: epochs 5",
    ):
        assert f"- {line}\n" in page
    first = shown(replace(report(), champion="v0"), replace(SPEC, champion=None, recipe={}))
    assert "- Compared with v0\n- Seed 7\n" in first
    assert "- Kind: the head alone, over the base encoder\n" in shown(replace(report(), kind=CandidateKind.INSTANT))
    assert "- Kind: fine-tuned from support v3\n" in shown(replace(report(), started_from="support v3"))


def test_labels_and_their_confusions_are_tables_that_a_name_cannot_break() -> None:
    page = shown(report())
    assert "| bug | 50 | 0.98 | 0.94 | 0.86 |\n" in page
    assert "| how to \\| why | 50 | 0.98 | 0.96 | 0.86 |\n" in page
    assert "| spam | 0 | | | |\n" in page  # 0.00 would look measured
    confused = page.partition("## Most confused")[2].splitlines()
    assert confused[4:8] == [
        "| bug | spam | 2 |",
        "| bug | how to \\| why | 1 |",
        "| how to \\| why | bug | 1 |",
        "| how to \\| why | spam | 1 |",
    ]


def test_only_the_five_largest_confusions_are_shown() -> None:
    names = [f"label {number}" for number in range(8)]
    labels = tuple(LabelReport(name, 9, 0.5, 0.5, 0.5) for name in names)
    matrix = tuple(tuple(row if column == 0 else 0 for column in range(8)) for row in range(8))
    page = shown(replace(report(), labels=labels, confusion=matrix))
    assert page.count("| label 0 | ") == 6  # five confusions and its own row
    assert "| label 7 | label 0 | 7 |" in page
    assert "| label 2 | label 0 | 2 |" not in page


def test_without_a_measured_text_the_card_says_so_and_shows_no_figure() -> None:
    empty = replace(
        report(), outcomes=(), certainty=None, candidate_accuracy=0.0, champion_accuracy=0.0, calibration_error=0.0
    )
    page = shown(empty)
    assert "There was no text to measure it on." in page
    assert "0 %" not in page
    assert "What changed" not in page


def test_a_report_without_the_newer_figures_leaves_their_lines_out() -> None:
    page = shown(from_json(EvaluationReport, json.dumps(OLD)))
    assert "- Its confidence is off by 12 % on average.\n" in page
    for words in ("Recognises", "Does not tell", "have to be right", "MB", "ms per text", "head alone"):
        assert words not in page


def test_the_card_is_the_readme_of_the_artifact(tmp_path: Path) -> None:
    write_card(tmp_path, classifier="triage", spec=SPEC, report=report())
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == shown(report())
