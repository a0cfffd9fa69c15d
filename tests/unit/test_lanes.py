"""Fair queues: whatever is put, taken and discarded, nothing is lost, and the guilds have their turns."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.inference.lanes import QUERIES_PER_BULK_CALL, FairQueue, Lanes

GROUPS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), GROUPS),
        st.tuples(st.just("put"), st.just("a")),  # one guild is louder than the others
        st.just(("take",)),
        st.tuples(st.just("discard"), st.integers(0, 40)),
    ),
    max_size=60,
)


class Model:
    """What a fair queue must hold, said the slow way: a list per group, and who was served since whose last turn."""

    def __init__(self, limit: int) -> None:
        self.queue = FairQueue[int](limit)
        self.waiting: dict[str, list[int]] = defaultdict(list)
        self.served_since: dict[str, list[str]] = defaultdict(list)
        self.limit = limit
        self.count = 0

    def step(self, action: str, *arguments: Any) -> None:
        getattr(self, action)(*arguments)

    def put(self, group: str) -> None:
        item, self.count = self.count, self.count + 1
        refused = self.queue.put(group, item)
        self.waiting[group].append(item)
        if sum(map(len, self.waiting.values())) <= self.limit:
            assert refused is None
            return
        most = max(map(len, self.waiting.values()))
        longest = next(name for name, items in self.waiting.items() if refused in items)
        assert len(self.waiting[longest]) == most
        assert len(self.waiting[group]) < most or longest == group, "another had to go although this one has as many"
        assert self.waiting[longest].pop() == refused, "not the newest"

    def take(self) -> None:
        item = self.queue.take()
        if item is None:
            assert not any(self.waiting.values())
            return
        group = next(name for name, items in self.waiting.items() if item in items)
        assert self.waiting[group].pop(0) == item, "not first in, first out"
        self.served_since[group] = []
        for other in self.waiting:
            if other != group and self.waiting[other]:
                self.served_since[other].append(group)

    def discard(self, item: int) -> None:
        owner = next((name for name, items in self.waiting.items() if item in items), "a")
        self.queue.discard(owner, item)
        if item in self.waiting[owner]:
            self.waiting[owner].remove(item)

    def check(self) -> None:
        for group, items in self.waiting.items():
            if not items:
                self.served_since[group] = []
            served = self.served_since[group]
            assert len(served) == len(set(served)), f"{group} waited while another had two turns: {served}"
        assert len(self.queue) == sum(map(len, self.waiting.values()))
        assert set(self.queue._groups) == {group for group, items in self.waiting.items() if items}, "memory is kept"


@given(STEPS, st.sampled_from([3, 8, 1000]))
def test_nothing_is_lost_or_overtaken_and_each_group_has_its_turn(steps: list[tuple[Any, ...]], limit: int) -> None:
    model = Model(limit)
    for step in steps:
        model.step(*step)
        model.check()
    while len(model.queue):
        model.take()
        model.check()
    model.take()


@given(STEPS, GROUPS)
def test_ahead_counts_what_is_taken_before(steps: list[tuple[Any, ...]], group: str) -> None:
    model = Model(1000)
    for step in steps:
        model.step(*step)
    told = model.queue.ahead(group)
    probed = deepcopy(model.queue)
    probed.put(group, -1)
    assert len(list(iter(probed.take, -1))) == told


def test_a_burst_delays_another_group_by_one_item() -> None:
    queue = FairQueue[str]()
    for index in range(1000):
        queue.put("loud", f"loud {index}")
    queue.put("quiet", "quiet")
    assert [queue.take(), queue.take()] == ["loud 0", "quiet"]


def test_queries_come_first_and_bulk_work_never_starves() -> None:
    lanes = Lanes[int](1000)
    for item in range(100):
        lanes.queries.put("a", item)
    for item in range(100, 104):
        lanes.bulk.put("a", item)
    order = list(iter(lanes.take, None))
    places = [place for place, item in enumerate(order) if item >= 100]
    assert places == [QUERIES_PER_BULK_CALL, 2 * QUERIES_PER_BULK_CALL + 1, 3 * QUERIES_PER_BULK_CALL + 2, 103]
    assert sorted(order) == list(range(104))
