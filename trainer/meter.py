"""How far a training is: steps and phases to `Progress`, with a share that never falls and an estimate of the rest.

It keeps time; it does not know what the work is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from trainer.finetune import Step
from trainer.protocol import Phase, Progress

LEAST_INTERVAL = 0.25
"""Seconds between two reports of one phase: every report is written to disk and travels."""
BEAT = 30.0
"""Seconds between two signs of life where no share of the work can be told. After 900 without any, the trainer
takes a run for hung; embedding 50,000 texts takes longer."""
FIRST_ESTIMATE = 0.02
"""Share of the job after which its speed says something about the rest."""


class Meter:
    """Turns work into reports."""

    def __init__(self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._share: dict[Phase, float] = {}
        self._begun = self._phase_begun = clock()
        self._phase: Phase | None = None
        self._before = self._fraction = 0.0
        self._done = self._following = 0.0
        """Shares of the phase before the training under way, and with it."""
        self._given = 0.0
        """Share of the job that an earlier attempt did: it says nothing about the speed of this one."""
        self._begins = False
        self._last: Progress | None = None
        self._reported = float("-inf")
        self._seq = 0
        self.seconds: dict[str, float] = {}
        """Wall seconds by phase so far."""

    def plan(self, weights: Mapping[Phase, float]) -> None:
        """Expected work of each phase in any unit; only ratios count. A later plan corrects an earlier one."""
        total = sum(weights.values())
        self._share = {phase: weight / total for phase, weight in weights.items()}

    def enter(self, phase: Phase) -> None:
        """The phase begins; the one before it is done."""
        self._close()
        self._phase = phase
        self._send(None)

    def begin(self, share: float = 1.0) -> None:
        """A training begins that is `share` of the phase; several may follow each other."""
        self._done, self._following = self._following, self._following + share
        self._begins = True

    def skip(self, share: float) -> None:
        """An earlier attempt was through with a training that is `share` of the phase."""
        self.begin(share)
        self._give(self._following)
        self.advance(self._following)

    def step(self, step: Step) -> None:
        """An optimizer step of the training is done; the first may be one in the middle, where it was taken up."""
        share = self._following - self._done
        if self._begins:
            self._give(self._done + share * (step.step - 1) / step.steps)
            self._begins = False
        self.advance(self._done + share * step.step / step.steps, step)

    def advance(self, share: float, step: Step | None = None) -> None:
        """`share` in [0, 1] of the current phase is done."""
        if self._phase is None:
            return
        self._fraction = max(self._fraction, min(1.0, self._before + share * self._share.get(self._phase, 0.0)))
        if share >= 1.0 - 1e-9 or self._clock() - self._reported >= LEAST_INTERVAL:
            self._send(step)

    def beat(self) -> None:
        """Work goes on of which no share can be told: the last report again if that is old, with a new estimate."""
        if self._last is not None and self._clock() - self._reported >= BEAT:
            self._tell(self._last)

    def finish(self) -> None:
        """The whole job is done."""
        self._close()
        self._fraction = 1.0
        self._send(None)

    def _give(self, share: float) -> None:
        """The current phase stands at `share` without any work of this attempt since the last report."""
        reached = self._before + share * self._share.get(self._phase, 0.0) if self._phase else 0.0
        self._given += max(0.0, reached - self._fraction)
        self._fraction = max(self._fraction, reached)

    def _close(self) -> None:
        now = self._clock()
        if self._phase is not None:
            self.seconds[self._phase.value] = round(now - self._phase_begun, 3)
            self._before = min(1.0, self._before + self._share.get(self._phase, 0.0))
            self._fraction = max(self._fraction, self._before)
        self._phase_begun = now
        self._done = self._following = 0.0

    def _send(self, step: Step | None) -> None:
        if self._phase is None:
            return
        progress = Progress(0, self._phase, self._fraction)
        self._tell(progress if step is None else replace(progress, **asdict(step)))

    def _tell(self, progress: Progress) -> None:
        self._seq += 1
        self._last, self._reported = progress, self._clock()
        self._report(replace(progress, seq=self._seq, eta_seconds=self._remaining()))

    def _remaining(self) -> float | None:
        own = self._fraction - self._given
        if own < FIRST_ESTIMATE:
            return None
        elapsed = self._clock() - self._begun
        return round(elapsed * (1.0 - self._fraction) / own, 1)
