"""`pupil evaluate`: asks the bot every text of a file, as anybody would, and scores the answers."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from bot.api_client import ApiClient
from bot.cli.scores import score
from storage.records import normalise


async def evaluate(api: ApiClient, classifier: str, rows: list[tuple[str, str]]) -> dict[str, Any]:
    """Scores of the served answers on `rows` of (text, label).

    An answer counts by its best label, also where the bot would say "not sure" or "nothing I was taught"; `abstained`
    and `outside` count those, a text that is both as outside, as people are told. `versions` names every version that
    answered: more than one if a swap happened meanwhile.
    """
    # However a label is written, and whatever it was called before, it is the same one, as in an import.
    known = {
        normalise(name): count["label"]
        for count in await api.labels(classifier)
        for name in (count["label"], *count["formerly"])
    }
    rows = [(text, known.get(normalise(label), label)) for text, label in rows]
    started = time.perf_counter()
    answers = await api.predict(classifier, [text for text, _ in rows])
    scores = score([label for _, label in rows], [answer["label"] for answer in answers])
    return {
        "classifier": classifier,
        "versions": sorted({answer["version"] for answer in answers}),
        "n": scores.n,
        "accuracy": scores.accuracy,
        "macro_f1": scores.macro_f1,
        "abstained": sum(answer["abstained"] and not answer["outside"] for answer in answers),
        "outside": sum(answer["outside"] for answer in answers),
        "unknown_labels": sorted({label for _, label in rows}.difference(known.values())),
        "seconds": round(time.perf_counter() - started, 3),
        "labels": [dataclasses.asdict(label) for label in scores.labels],
    }
