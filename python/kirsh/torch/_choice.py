"""Which wire format gradients travel in, where nobody says: chosen by what steps have taken, and watched.

It begins without a format, and finds out for how long the network is busy in a step. Where a format would save
enough of that, steps are tried with it, and it is kept if they are shorter. Then a step without it now and
then tells whether it still is worth while. A step that may be the slower one is only taken when all such
steps together have lost no more than :data:`BUDGET` of the time so far.

Nothing here knows torch, a clock or a network: whoever asks tells what steps took, alike on all ranks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median

#: What each format that is tried leaves of the bytes of float32. Not "f16", which is as long as "bf16" and has
#: no room for sums from 65,520 on: nobody has asked for that.
SHARES = {"bf16": 1 / 2, "int8": 260 / 1024}

#: What trying and watching may cost, of the time of all steps.
BUDGET = 0.02

#: What a format has to save of a step: less is noise, and costs digits.
GAIN = 0.05

#: Steps like others of which one is told: agreeing on it takes a tenth of a millisecond, and steps may be short.
#: In those before the first, DDP arranges its buckets, and memory is touched first.
EVERY = 8

#: Of those told, so many are remembered; the middle one is what a step takes.
WINDOW = 5

#: Steps for which a format is tried, the first of them alone.
TRIAL = 5

#: Steps from one look at how it would be without the format to the next; and after a format that was no
#: gain until the next is tried, at first.
INTERVAL = 50

#: Looks that it takes to give a format up, and by how much steps change that all of these are at once.
LOOKS = 3
CHANGE = 0.05


class Choice:
    """The format of each step to come. All ranks must be told the same numbers in the same order."""

    def __init__(self) -> None:
        #: The format that is kept: "none" at first.
        self.wire = "none"
        self._planned: deque[str] = deque()
        self._times: dict[str, deque[float]] = {}
        self._busy: deque[float] = deque(maxlen=WINDOW)
        #: What steps took so far, and how many are not in that yet.
        self._uncounted = 0
        self._elapsed = 0.0
        self._lost = 0.0
        self._trying = ""
        #: Formats that were no gain, until all have had a turn or one is kept.
        self._no_gain: set[str] = set()
        self._trial: list[float] = []
        self._pause = 0
        self._next_pause = INTERVAL
        self._since_look = 0
        self._accepted = 0.0

    def next(self) -> str:
        """Return the format of the step that begins."""
        return self._planned.popleft() if self._planned else self.wire

    def asks(self, number: int, wire: str) -> bool:
        """Whether :meth:`told` wants to know of the step of this number and format."""
        return wire != self.wire or number % EVERY == 0

    def told(
        self, wire: str, seconds: float, busy: float, passes: Mapping[str, float], steps: int
    ) -> None:
        """Take in what a step took that was asked for, some steps later, in the order of steps.

        :param wire: its format.
        :param seconds: from its first bucket of gradients to that of the next step.
        :param busy: of these, how long the network was.
        :param passes: what rounding in each format takes in a step.
        :param steps: how many there were since the last that was told, with this one.
        """
        self._uncounted += steps
        if self._trying:
            self._judge(wire, seconds)
            return
        self._times.setdefault(wire, deque(maxlen=WINDOW)).append(seconds)
        self._count()
        if wire == "none":
            self._busy.append(busy)
        if self.wire == "none":
            self._consider(passes, steps)
        else:
            self._watch(wire, seconds, steps)

    def usual(self) -> dict[str, float]:
        """Return what a step usually takes in the formats that have been tried, in seconds."""
        return {wire: median(times) for wire, times in self._times.items() if times}

    def _count(self) -> None:
        """Have all steps so far in the time of all, each with what steps usually take.

        A step that is told stands for others, and one that took long, with a checkpoint in it, for itself alone.
        """
        times = self._times.get(self.wire, ())
        if len(times) >= LOOKS:
            self._elapsed += median(times) * self._uncounted
            self._uncounted = 0

    def _affords(self, loss: float, share: float = 1.0) -> bool:
        return self._lost + loss <= share * BUDGET * self._elapsed

    def _consider(self, passes: Mapping[str, float], steps: int) -> None:
        """Try the format that should save most, where it should save enough."""
        if self._pause:
            self._pause = max(0, self._pause - steps)
            return
        if len(self._busy) < WINDOW:
            return
        base, busy = median(self._times["none"]), median(self._busy)
        saved = {wire: busy * (1 - share) - passes[wire] for wire, share in SHARES.items()}
        enough = {wire for wire in saved if saved[wire] >= GAIN * base}
        if not enough:
            return
        if enough <= self._no_gain:
            self._no_gain.clear()
        best = max(sorted(enough - self._no_gain), key=saved.__getitem__)
        # Should it be wrong, the step may be twice as long.
        if self._affords(base):
            self._trying, self._trial = best, []
            self._planned.append(best)

    def _judge(self, wire: str, seconds: float) -> None:
        """Take in a step of a trial. Steps without the format come between, and tell nothing new."""
        if wire != self._trying:
            return
        base = median(self._times["none"])
        self._trial.append(seconds)
        self._lost += max(0.0, seconds - base)
        if len(self._trial) == 1 and seconds <= base:
            self._planned.extend([wire] * (TRIAL - 1))
        elif len(self._trial) == 1 or len(self._trial) == TRIAL:
            self._trying = ""
            if len(self._trial) == TRIAL and median(self._trial) <= (1 - GAIN) * base:
                self._keep(wire)
            else:
                self._no_gain.add(wire)
                self._give_up()

    def _keep(self, wire: str) -> None:
        self.wire = wire
        self._no_gain.clear()
        self._times[wire] = deque(self._trial, WINDOW)
        self._times["none"] = deque(self._times["none"], LOOKS)
        self._accepted = median(self._trial)
        self._since_look = 0
        self._next_pause = INTERVAL

    def _give_up(self) -> None:
        self.wire = "none"
        self._planned.clear()
        self._pause, self._next_pause = self._next_pause, 2 * self._next_pause
        self._times["none"] = deque(self._times["none"], WINDOW)
        self._busy.clear()

    def _watch(self, wire: str, seconds: float, steps: int) -> None:
        """Give the format up where steps without it are as short; have such a step now and then."""
        usual = median(self._times[self.wire])
        without = self._times["none"]
        if wire == "none":
            self._lost += max(0.0, seconds - usual)
            if len(without) == LOOKS and usual > (1 - GAIN / 2) * median(without):
                self._give_up()
            return
        self._since_look += steps
        base = median(without) if without else usual
        looks = 0
        if abs(usual / self._accepted - 1) > CHANGE and self._since_look >= WINDOW * EVERY:
            # Something has changed: what was known of steps without the format is, too.
            looks, self._accepted = LOOKS, usual
            without.clear()
        elif self._since_look >= INTERVAL:
            looks = 1
        # Looks leave something for trials.
        if looks and self._affords(looks * max(0.0, base - usual), 0.5):
            self._planned.extend(["none"] * looks)
            self._since_look = 0
