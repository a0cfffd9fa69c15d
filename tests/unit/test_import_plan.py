"""What an import would do, and examples as files: pure functions."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from bot.services.collection import Row, read_table
from bot.services.examples_files import ExportFormat, defused, files_of
from bot.services.import_plan import plan_import
from storage.listing import Known, StandingVote, WholeExample
from storage.records import EventKind, Source, Split, text_hash

KNOWN = Known(
    labels={"bug": "Bug", "defect": "Bug", "idea": "idea"},
    archived=frozenset({"old"}),
    texts={text_hash("taught"): "Bug", text_hash("waits"): None},
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40).filter(
    lambda text: text.strip()
)
NAMES = st.sampled_from(["bug", "=x", "'-y", None])


def rows(*pairs: tuple[str, str | None]) -> list[Row]:
    return [Row(number, text, label) for number, (text, label) in enumerate(pairs, start=2)]


def test_every_text_is_sorted_into_what_would_happen_to_it() -> None:
    plan = plan_import(
        rows(
            ("new", "BUG"),
            ("Taught", "bug"),
            ("taught ", "idea"),
            ("waits", "idea"),
            ("pooled", None),
            ("WAITS", None),
            ("fresh", "Praise"),
            ("fresh2", "praise"),
            ("x", "old"),
            ("y", "@all"),
        ),
        KNOWN,
    )
    assert [(each.text, each.label) for each in plan.new] == [("new", "Bug"), ("fresh", "Praise"), ("fresh2", "Praise")]
    assert [(each.text, each.now, each.label) for each in plan.conflicts] == [("taught ", "Bug", "idea")]
    assert [each.text for each in plan.gaining] == ["waits"]
    assert [each.text for each in plan.pool] == ["pooled"]
    assert plan.new_labels == ["Praise"]
    assert [each.line for each in plan.refused] == [10, 11]
    assert (plan.rows, plan.repeated, plan.contradicting, plan.unchanged) == (8, 2, 1, 0)
    assert [each.line for each in plan.labelled] == [2, 4, 5, 8, 9]


def test_a_merged_label_means_the_one_it_was_merged_into() -> None:
    assert plan_import(rows(("taught", "Defect")), KNOWN).unchanged == 1


def test_of_a_repeated_text_the_last_label_counts_and_no_label_does_not() -> None:
    plan = plan_import(rows(("a", "bug"), ("A", "idea"), ("a", None)), KNOWN)
    assert [(each.text, each.label) for each in plan.new] == [("A", "idea")]
    assert (plan.repeated, plan.contradicting) == (2, 1)


def test_a_tolerant_table_keeps_what_can_be_used_and_says_what_cannot() -> None:
    table = read_table(b'text,label\none,bug\ntwo,\n,bug\n"three",bug,x\n', "a.csv")
    assert [(row.line, row.text, row.label) for row in table.rows] == [(2, "one", "bug"), (3, "two", None)]
    assert [bad.line for bad in table.bad] == [4, 5]
    assert [row.label for row in read_table(b"text\none\n", "a.csv").rows] == [None]
    lines = b'{"text": "a"}\n{"text": "b", "label": null}\n{"text": "c", "label": 7}\n{"label": "x"}\n'
    table = read_table(lines, "a.jsonl")
    assert [(row.text, row.label) for row in table.rows] == [("a", None), ("b", None)]
    assert [bad.why for bad in table.bad] == ["`label` is not a string", "`text` is missing"]


def test_an_apostrophe_is_taken_away_only_where_an_export_has_put_it() -> None:
    assert [row.text for row in read_table(b"text,label\n'=1,bug\n", "a.csv").rows] == ["'=1"]


def example(text: str, label: str | None = "bug", id: int = 1) -> WholeExample:
    vote = StandingVote("1", "bug", EventKind.VOTE, 5.0)
    return WholeExample(id, text, label, Split.TRAIN, Source.COMMAND, 5.0, (vote, vote))


def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe() -> None:
    assert [defused(cell) for cell in ("=1", "+1", "-1", "@x", "\tx", "\rx")] == [
        *("'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx"),
    ]
    assert [defused(cell) for cell in ("", "a=1", "'quoted'", "'=1", "''")] == ["", "a=1", "'quoted'", "''=1", "''"]


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(["bug", "=x", "'-y", None])), max_size=12), st.sampled_from(ExportFormat)
)
def test_what_was_exported_is_read_back(pairs: list[tuple[str, str | None]], format: ExportFormat) -> None:
    wanted = [(text.strip(), label) for text, label in pairs]
    whole = [example(text, label) for text, label in wanted]
    read = []
    for file in files_of(whole, format, 700):
        if file.count(b"\n") > (format is ExportFormat.CSV):
            table = read_table(file, f"a.{format}")
            assert table.bad == []
            read += [(row.text, row.label) for row in table.rows]
    assert read == wanted


def test_a_csv_has_one_row_per_example_and_json_lines_have_the_votes() -> None:
    (table,) = files_of([example("one", None)], ExportFormat.CSV)
    (row,) = csv.DictReader(io.StringIO(table.decode("utf-8-sig")))
    assert row == {
        **{"text": "one", "label": "", "split": "train", "source": "command", "annotators": "1", "id": "1"},
        "created_at": "1970-01-01T00:00:05+00:00",
    }
    (lines,) = files_of([example("ünï\nx")], ExportFormat.JSONL)
    assert lines.count(b"\n") == 1
    assert json.loads(lines)["votes"][0] == {"annotator": "1", "label": "bug", "kind": "vote", "created_at": 5.0}
    assert list(files_of([], ExportFormat.JSONL)) == [b""]
