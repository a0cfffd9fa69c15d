"""The gate's rule as tables: who gets in, who does not, and what is said about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.services.promotion import decide, paired
from storage.errors import InvalidInput
from storage.records import EvaluationReport, PairedOutcome, PromotionPolicy, Split
from trainer.protocol import from_json, to_json

POLICY = PromotionPolicy()


def rows(
    count: int,
    champion: bool,
    candidate: bool,
    label: str = "bug",
    split: Split = Split.TRAIN,
    surer: float | None = None,
) -> list[PairedOutcome]:
    """`count` rows of one label on which the two were right or wrong."""
    said = (label if champion else "other", label if candidate else "other")
    return [PairedOutcome(number, label, split, *said, surer) for number in range(count)]


def report(*parts: list[PairedOutcome]) -> EvaluationReport:
    outcomes = tuple(row for part in parts for row in part)
    share = max(1, len(outcomes))
    return EvaluationReport(
        outcomes=outcomes,
        candidate_accuracy=sum(row.candidate == row.label for row in outcomes) / share,
        champion_accuracy=sum(row.champion == row.label for row in outcomes) / share,
        candidate_macro_f1=0.0,
        champion_macro_f1=0.0,
        labels=(),
        confusion=(),
        calibration_error=0.0,
        champion="v3+2",
        train_rows=0,
        golden_rows=0,
    )


both_right = rows(80, True, True)


@pytest.mark.parametrize(
    ("better", "worse", "promoted"),
    [
        (0, 0, False),
        (1, 0, False),
        (2, 0, False),
        (3, 0, True),
        (6, 4, False),
        (7, 4, True),
        (20, 16, False),
        (21, 16, True),
        (40, 34, False),
        (41, 34, True),
    ],
)
def test_gain_must_exceed_noise(better: int, worse: int, promoted: bool) -> None:
    """b - c >= max(3, 0.75 times the root of b + c); the losses are spread so that no label guard speaks."""
    losses = [rows(1, True, False, label=f"label{number % 20}") for number in range(worse)]
    spread = [rows(10, True, True, label=f"label{number}") for number in range(20)]
    decision = decide(report(rows(better, False, True, label="gain"), *losses, *spread), POLICY, "v3+2")
    assert decision.promote is promoted
    assert (decision.better, decision.worse) == (better, worse)


def test_a_label_that_pays_keeps_the_champion_and_is_named() -> None:
    decision = decide(report(both_right, rows(20, False, True), rows(3, True, False, label="refund")), POLICY, "v3+2")
    assert not decision.promote
    assert "loses 3 of 3 texts of `refund`" in decision.reason


def test_a_small_loss_of_a_large_label_is_borne() -> None:
    large = rows(30, True, True, label="refund")
    decision = decide(report(large, rows(20, False, True), rows(4, True, False, label="refund")), POLICY, "v3+2")
    assert decision.promote


@pytest.mark.parametrize(
    ("train", "golden", "promoted"),
    [((4, 0), (0, 1), False), ((7, 0), (0, 1), True), ((0, 0), (1, 0), True), ((1, 3), (2, 0), True)],
)
def test_a_golden_answer_counts_three_times_where_no_more_is_known(
    train: tuple[int, int], golden: tuple[int, int], promoted: bool
) -> None:
    parts = [
        rows(1, champion, candidate, label=f"{split}{number}{champion}", split=split)
        for split, counts in ((Split.TRAIN, train), (Split.GOLDEN, golden))
        for count, champion, candidate in zip(counts, (False, True), (True, False), strict=True)
        for number in range(count)
    ]
    decision = decide(report(both_right, *parts), POLICY, "v3+2")
    assert decision.promote is promoted


@pytest.mark.parametrize(
    ("better", "surer", "promoted"),
    [
        (2, [0.05] * 10, True),  # 2 + 3 * 0.5
        (2, [0.03] * 10, False),  # 2 + 3 * 0.3
        (0, [0.1] * 10, True),  # level, but surer of what is right
        (5, [-0.1] * 10, False),  # 5 - 3 * 1.0
        (2, [0.9, -0.4, 0.0, 0.0, 0.0], True),  # 2 + 3 * 0.5, and 0.75 * root of 2 + 9 * 0.97 is less than 3
        (2, [0.9, 0.9, -0.9, -0.4, 0.0], False),  # the same gain, and 0.75 * root of 2 + 9 * 2.59 is 3.8
    ],
)
def test_golden_texts_count_by_how_much_surer_it_is(better: int, surer: list[float], promoted: bool) -> None:
    golden = [rows(1, True, True, split=Split.GOLDEN, surer=each) for each in surer]
    decision = decide(report(both_right, rows(better, False, True), *golden), POLICY, "v3+2")
    assert decision.promote is promoted


@pytest.mark.parametrize("surer", ["NaN", "Infinity", "1e9", "-1.5"])
def test_a_report_with_a_gain_that_no_probability_has_cannot_be_read(surer: str) -> None:
    told = to_json(report(rows(1, True, True, split=Split.GOLDEN, surer=0.125)))
    assert from_json(EvaluationReport, told).outcomes[0].surer == 0.125
    with pytest.raises(InvalidInput, match="between -1 and 1"):
        from_json(EvaluationReport, told.replace("0.125", surer))


def test_who_is_right_less_often_is_kept_out_however_sure() -> None:
    golden = rows(30, True, True, split=Split.GOLDEN, surer=0.3)
    decision = decide(report(both_right, rows(1, False, True), rows(2, True, False), golden), POLICY, "v3+2")
    assert not decision.promote
    assert "1 better and 2 worse, golden texts' labels 30 points more probable." in decision.reason


def test_among_many_labels_one_more_loss_is_borne() -> None:
    lost = [rows(5, True, True, label="refund"), rows(3, True, False, label="refund")]
    few, many = (
        [*lost, rows(20, False, True), *(rows(4, True, True, label=f"label{n}") for n in range(count))]
        for count in (5, 25)
    )
    assert "loses 3 of 8 texts of `refund`" in decide(report(*few), POLICY, "v3").reason
    assert decide(report(*many), POLICY, "v3").promote
    worse = decide(report(*many, rows(1, True, False, label="refund")), POLICY, "v3")
    assert "loses 4 of 9 texts of `refund`" in worse.reason


def test_golden_set_has_a_veto() -> None:
    golden = [rows(1, True, False, label=f"label{number}", split=Split.GOLDEN) for number in range(3)]
    spread = [rows(10, True, True, label=f"label{number}") for number in range(3)]
    decision = decide(report(rows(20, False, True), *golden, *spread), POLICY, "v3+2")
    assert not decision.promote
    assert "golden" in decision.reason


def test_without_evidence_the_champion_stays() -> None:
    decision = decide(report(), POLICY, "v0")
    assert not decision.promote
    assert decision.reason.startswith("Kept v0: there was no text")


def test_reason_carries_its_numbers() -> None:
    decision = decide(report(both_right, rows(20, False, True)), POLICY, "v3+2")
    assert decision.promote
    assert decision.reason == (
        "Better than v3+2: 0.80 → 1.00 on 100 held-out texts; 20 answers became right and 0 wrong."
    )
    golden = [rows(3, True, True, split=Split.GOLDEN, surer=0.02), rows(1, True, True, split=Split.GOLDEN, surer=0.06)]
    decision = decide(report(both_right, rows(2, False, True), *golden), POLICY, "v3+2")
    assert decision.reason == (
        "Kept v3+2: 0.98 → 1.00 on 86 held-out texts; 2 better and 0 worse, golden texts' labels 3 points more "
        "probable: not clearly an improvement (a gain of 2.4 where it takes 3.0)."
    )
    assert "1 point less probable" in decide(report(rows(1, True, True, "a", Split.GOLDEN, -0.01)), POLICY, "v3").reason
    assert "as probable as before" in decide(report(rows(1, True, True, "a", Split.GOLDEN, 0.0)), POLICY, "v3").reason


outcome = st.builds(
    PairedOutcome,
    st.integers(1, 50),
    st.sampled_from("abc"),
    st.sampled_from(Split),
    st.sampled_from("abc"),
    st.sampled_from("abc"),
)
surely = st.builds(lambda row, surer: replace(row, surer=surer), outcome, st.none() | st.floats(-1, 1))


@given(st.lists(outcome, max_size=60))
def test_a_candidate_that_is_never_better_is_never_promoted(outcomes: list[PairedOutcome]) -> None:
    worse_or_equal = [row for row in outcomes if not (row.candidate == row.label != row.champion)]
    assert not decide(report(worse_or_equal), POLICY, "v1").promote


@given(st.lists(surely, max_size=60))
def test_the_reverse_comparison_swaps_better_and_worse(outcomes: list[PairedOutcome]) -> None:
    turned = [
        replace(r, champion=r.candidate, candidate=r.champion, surer=None if r.surer is None else -r.surer)
        for r in outcomes
    ]
    assert paired(outcomes) == paired(turned)[::-1]
    assert not (decide(report(outcomes), POLICY, "a").promote and decide(report(turned), POLICY, "b").promote)
