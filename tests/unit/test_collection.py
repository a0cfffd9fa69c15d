"""A file of labelled texts: what is read, and that every refusal names the file, the line and the reason."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.services.collection import MAX_FILE, MAX_ROWS, every_pair, read_table
from storage.errors import InvalidInput
from storage.records import MAX_LABEL, MAX_TEXT

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=80).filter(
    lambda text: text.strip()
)
LABELS = CELLS.filter(lambda text: len(text.strip()) <= MAX_LABEL)


def parse_table(data: bytes, filename: str) -> list[tuple[str, str]]:
    return every_pair(read_table(data, filename, labelled=True))


def refusal(data: bytes, filename: str = "texts.csv") -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_table(data, filename)
    return str(caught.value)


def test_columns_are_found_by_name_in_any_order_and_case() -> None:
    assert parse_table(b"id, Label ,TEXT\n7,bug,it broke\n", "a.csv") == [("it broke", "bug")]


def test_a_byte_order_mark_and_windows_line_ends_are_understood() -> None:
    assert parse_table("\ufefftext,label\r\ncafé,bug\r\n".encode(), "a.CSV") == [("café", "bug")]


def test_quoted_cells_keep_commas_quotes_and_line_breaks() -> None:
    data = b'text,label\n"one, ""two""\nthree",bug\n'
    assert parse_table(data, "a.csv") == [('one, "two"\nthree', "bug")]


def test_a_semicolon_separated_csv_is_understood() -> None:
    assert parse_table(b"text;label\nhello, world;bug\n", "a.csv") == [("hello, world", "bug")]


def test_tabs_separate_a_tsv_and_commas_do_not() -> None:
    assert parse_table(b"text\tlabel\nhello, world\tbug\n", "a.tsv") == [("hello, world", "bug")]


def test_blank_lines_are_skipped() -> None:
    assert parse_table(b"text,label\n\nit broke,bug\n , \n\n", "a.csv") == [("it broke", "bug")]


def test_json_lines_take_other_keys_and_unicode_line_separators() -> None:
    row = json.dumps({"kept": True, "text": "one\u2028two", "label": "bug"}, ensure_ascii=False)
    assert parse_table(f"{row}\n\n".encode(), "a.jsonl") == [("one\u2028two", "bug")]


@given(st.lists(st.tuples(CELLS, LABELS), min_size=1, max_size=20))
def test_what_a_csv_writer_wrote_is_read_back(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("text", "label"), *rows])
    expected = [(text.strip(), label.strip()) for text, label in rows]
    assert parse_table(file.getvalue().encode(), "a.csv") == expected


@given(st.lists(st.tuples(CELLS, LABELS), min_size=1, max_size=20))
def test_what_a_json_writer_wrote_is_read_back(rows: list[tuple[str, str]]) -> None:
    lines = (json.dumps({"text": text, "label": label}) for text, label in rows)
    expected = [(text.strip(), label.strip()) for text, label in rows]
    assert parse_table("\n".join(lines).encode(), "a.ndjson") == expected


@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.bin", "", "a"]))
def test_arbitrary_bytes_are_read_or_refused_in_words_never_otherwise(data: bytes, filename: str) -> None:
    try:
        rows = parse_table(data, filename)
    except InvalidInput:
        return
    assert rows


def test_a_wrong_column_is_named_with_the_columns_that_are_there() -> None:
    assert refusal(b"body,label\nx,y\n") == (
        "texts.csv needs one column `text` and one column `label`; its first line has `body`, `label`."
    )


def test_a_column_that_is_there_twice_is_refused() -> None:
    assert "needs one column `text`" in refusal(b"text,text,label\na,b,c\n")


def test_an_empty_file_says_what_its_first_line_should_be() -> None:
    assert refusal(b"") == "texts.csv is empty. Its first line should be: text,label"


def test_a_header_without_rows_is_refused() -> None:
    assert refusal(b"text,label\n") == "texts.csv has no rows."


def test_every_bad_line_is_counted_and_the_first_is_explained() -> None:
    data = b"text,label\ngood,bug\n,bug\nno label,\ntoo,many,cells\n" + b",bug\n" * 20
    assert refusal(data) == (
        "texts.csv, line 3: The text is empty. Type the text that this is about. "
        "Lines 4, 5, 6, 7, 8, 9, 10, 11, 12 and 13 more cannot be used either. Nothing was imported."
    )


def test_what_was_exported_without_a_label_is_passed_over_and_counted() -> None:
    line = '{"text": "%s", "label": %s, "votes": []}\n'
    files = {
        "all.csv": b"text,label,split,source,annotators\none,bug,train,chat,1\ntwo,,,file,0\nthree,,,chat,2\n",
        "all.jsonl": (line % ("one", '"bug"') + line % ("two", "null") + line % ("three", "null")).encode(),
    }
    for name, data in files.items():
        table = read_table(data, name, labelled=True)
        assert every_pair(table) == [("one", "bug")]
        assert len(table.unlabelled) == 2
        assert [row.label for row in read_table(data, name).rows] == ["bug", None, None]
    alone = line % ("two", "null")
    assert refusal(alone.encode(), "all.jsonl") == "No text of all.jsonl has a label."
    assert "`label` is missing" in refusal(b'{"text": "two", "label": null}\n', "all.jsonl")  # somebody else's file


def test_a_row_with_an_unquoted_comma_is_explained() -> None:
    message = refusal(b"text,label\nhello, world,bug\n")
    assert "line 2: there are 3 cells where the header has 2; is a comma not in quotes?" in message


def test_the_line_of_a_row_after_a_multi_line_cell_is_counted_in_lines() -> None:
    assert "line 4:" in refusal(b'text,label\n"a\nb",bug\n,bug\n')


def test_a_quote_that_is_never_closed_is_refused() -> None:
    assert "not valid CSV" in refusal(b'text,label\n"never closed,bug\n')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ('["text", "label"]', "this is not an object"),
        ('{"text": "a"}', "`label` is missing"),
        ('{"text": 7, "label": "bug"}', "`text` is not a string"),
        ('{"text": "\\ud800", "label": "bug"}', "there is half of a surrogate pair"),
    ],
)
def test_a_bad_json_line_is_explained(line: str, reason: str) -> None:
    assert f"texts.jsonl, line 2: {reason}" in refusal(f'{{"text": "a", "label": "b"}}\n{line}'.encode(), "texts.jsonl")


def test_a_text_that_is_too_long_is_refused_and_one_that_fits_is_read() -> None:
    assert parse_table(f"text,label\n{'x' * MAX_TEXT},bug\n".encode(), "a.csv")
    assert "4,001 characters" in refusal(f"text,label\n{'x' * (MAX_TEXT + 1)},bug\n".encode())


def test_a_label_that_is_too_long_is_refused() -> None:
    assert "the label has 61 characters" in refusal(f"text,label\na,{'x' * (MAX_LABEL + 1)}\n".encode())


def test_bytes_that_are_not_utf8_are_refused_with_their_line() -> None:
    assert "is not UTF-8 (line 2)" in refusal("text,label\ncafé,bug\n".encode("latin-1"))


def test_a_nul_character_is_refused_with_its_line() -> None:
    assert "line 2: there is a NUL" in refusal(b"text,label\na\x00b,bug\n")


def test_a_file_of_another_kind_is_refused_by_its_name() -> None:
    assert refusal(b"text,label\na,b\n", "texts.xlsx").startswith("texts.xlsx is neither CSV, TSV nor JSONL")


def test_a_file_that_is_too_large_is_refused() -> None:
    assert "at most 10 MiB" in refusal(b"x" * (MAX_FILE + 1))


def test_too_many_rows_are_refused() -> None:
    assert "more than 50,000 rows" in refusal(b"text,label\n" + b"a,b\n" * (MAX_ROWS + 1))


def test_a_hostile_file_name_and_header_are_shown_harmlessly() -> None:
    message = refusal(b"te`xt\x1b[31m,label\na,b\n", "../../etc/`pass`\n.csv")
    assert "\x1b" not in message
    assert "\n" not in message
    assert "'pass'" in message
    assert "etc" not in message
