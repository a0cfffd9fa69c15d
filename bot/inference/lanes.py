"""What is called next: queries first, bulk work behind them, and within each the guilds in turn.

Plain data: no threads, no clock, no event loop; whoever uses it from several threads holds a lock. This module does not
know what waits.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

QUERIES_PER_BULK_CALL = 32
"""While queries keep waiting, one call in 33 is bulk work: 3 % of the capacity, so that labels land under full load."""


class FairQueue(Generic[T]):
    """First in, first out within a group; the groups take turns, one item each; a new group has the last turn.

    So an item is overtaken by one item of every other group per turn, however many those have waiting. Every method but
    `ahead` and a `put` into a full queue is O(1); a group without items takes no memory.

    Args:
        limit: items that may wait, of all groups together.
    """

    def __init__(self, limit: int = sys.maxsize) -> None:
        self._limit = limit
        self._groups: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        """In the order of their next turns; items in theirs. None is empty."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, group: str, item: T) -> T | None:
        """Returns the item there is no room for: the newest of the longest group, which may be `item` itself."""
        self._groups.setdefault(group, OrderedDict())[item] = None
        self._length += 1
        if self._length <= self._limit:
            return None
        longest = max(self._groups, key=lambda name: (len(self._groups[name]), name == group))
        newest = next(reversed(self._groups[longest]))
        self.discard(longest, newest)
        return newest

    def take(self) -> T | None:
        if not self._groups:
            return None
        group, items = next(iter(self._groups.items()))
        item, _ = items.popitem(last=False)
        self._length -= 1
        if items:
            self._groups.move_to_end(group)
        else:
            del self._groups[group]
        return item

    def discard(self, group: str, item: T) -> None:
        """`item` gives up its place, if it has one."""
        items = self._groups.get(group)
        if items is None or item not in items:
            return
        del items[item]
        self._length -= 1
        if not items:
            del self._groups[group]

    def ahead(self, group: str) -> int:
        """How many items would be taken before one that `group` puts now, if nobody put any more. O(groups)."""
        own = len(self._groups.get(group, ()))
        if not own:
            return len(self._groups)  # one turn of everybody else; the quick and the usual case where many wait
        ahead, turns = own, own + 1
        for name, items in self._groups.items():
            if name == group:
                turns = own  # those that come after it have had one turn less when its last comes
            else:
                ahead += min(len(items), turns)
        return ahead


class Lanes(Generic[T]):
    """Two fair queues: `queries` first; `bulk` when there are none, and once per `QUERIES_PER_BULK_CALL` of them.

    Args:
        limit: queries that may wait. Bulk work has no limit: those who bring it wait for it before they bring more.
    """

    def __init__(self, limit: int) -> None:
        self.queries = FairQueue[T](limit)
        self.bulk = FairQueue[T]()
        self._queries_in_a_row = 0

    def take(self) -> T | None:
        """The next item; None if nothing waits."""
        bulk_has_waited = self._queries_in_a_row >= QUERIES_PER_BULK_CALL
        if self.queries and not (self.bulk and bulk_has_waited):
            self._queries_in_a_row += 1
            return self.queries.take()
        self._queries_in_a_row = 0
        return self.bulk.take()
