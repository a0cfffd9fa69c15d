"""Events of a run are read while they are being written: each once, in order, whole lines only."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trainer.protocol import Phase, Progress, to_json
from trainer.run_folder import EventReader

EVENTS = [Progress(seq, Phase.TRAINING, seq / 10, loss=1.0 / seq) for seq in range(1, 9)]
CONTENT = "".join(to_json(event) + "\n" for event in EVENTS).encode()


@given(st.lists(st.integers(0, len(CONTENT)), max_size=12))
def test_events_written_in_pieces_are_read_once_each_and_whole(tmp_path_factory: object, cuts: list[int]) -> None:
    path = Path(tmp_path_factory.mktemp("run")) / "events.jsonl"  # type: ignore[attr-defined]
    reader, seen = EventReader(path), []
    assert reader.read() == []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(CONTENT)], strict=True):
        with path.open("ab") as file:
            file.write(CONTENT[start:end])
        seen += reader.read()
    assert seen == EVENTS
    assert reader.read() == []


def test_a_line_that_was_cut_short_is_left_out_and_the_next_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(to_json(EVENTS[0]).encode()[:20] + b"\n" + CONTENT)
    assert EventReader(path).read() == EVENTS
