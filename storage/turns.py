"""Whose turn it is: owners one after the other, and within an owner who came first. One pure function.

The bot claims its trainings by it and a trainer runs them by it, so that fairness is the same rule in both places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def in_turn(waiting: Sequence[str], last: Mapping[str, int]) -> list[int]:
    """Places in `waiting` in the order in which they have their turn, if nobody else comes.

    Whoever had a turn most recently comes last, so nobody waits while another gets two turns; what an owner has beyond
    one waits for the next round.

    Args:
        waiting: the owner of each that waits, in order of arrival.
        last: number of the newest turn an owner has had, growing from 1; one that is missing has had none.
    """
    came_first: dict[str, int] = {}
    taken: Counter[str] = Counter()
    keys = []
    for place, owner in enumerate(waiting):
        came_first.setdefault(owner, place)
        keys.append((taken[owner], last.get(owner, 0), came_first[owner]))
        taken[owner] += 1
    return sorted(range(len(waiting)), key=keys.__getitem__)
