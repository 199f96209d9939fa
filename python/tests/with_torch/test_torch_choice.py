"""How ``HookState("auto")`` decides, in worlds where the time of every step is known."""

import random
from collections import deque

import pytest

from kirsh.torch._choice import BUDGET, SHARES, Choice

MEGABYTES = 25


class Link:
    """Steps over a link: they compute, and what the network takes is partly hidden behind that.

    :param rate: megabytes in a second.
    :param encoding: seconds for rounding, and for what else a format takes.
    """

    def __init__(self, rate, encoding=0.01, compute=0.1, hidden=0.0):
        self.rate, self.encoding, self.compute, self.hidden = rate, encoding, compute, hidden

    def busy(self, wire):
        return SHARES.get(wire, 1) * MEGABYTES / self.rate

    def step(self, wire):
        encoding = 0 if wire == "none" else self.encoding
        return self.compute + max(0.0, self.busy(wire) - self.hidden) + encoding


def train(links, *, noise=0.0, passes=0.005, seed=1):
    """The choice after steps over these links, one for each, and for each step its format and time."""
    choice, late, dice = Choice(), deque(), random.Random(seed)
    taken, told = [], 0
    for number, link in enumerate(links):
        wire = choice.next()
        seconds = link.step(wire) * (1 + noise * dice.random())
        taken.append((wire, seconds))
        # What a step took is known on all ranks when the next but one begins.
        if late:
            choice.told(*late.popleft())
        if choice.asks(number, wire):
            late.append((wire, seconds, link.busy(wire), dict.fromkeys(SHARES, passes), number - told))
            told = number
    return choice, taken


def seconds_of(taken):
    return sum(seconds for _, seconds in taken)


SLOW, FAST = Link(rate=115), Link(rate=5000)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_over_a_slow_link_it_finds_the_smallest_format_and_stays_with_it(noise):
    choice, taken = train([SLOW] * 1000, noise=noise)
    assert choice.wire == "int8"
    assert seconds_of(taken) < 0.62 * 1000 * SLOW.step("none") * (1 + noise / 2)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_over_a_fast_link_it_tries_nothing(noise):
    choice, taken = train([FAST] * 1000, noise=noise)
    assert {wire for wire, _ in taken} == {"none"}


@pytest.mark.parametrize(
    "link",
    [
        Link(rate=115, hidden=1.0),  # hidden behind computing altogether
        Link(rate=115, encoding=0.3),  # formats take longer than anybody thought
        Link(rate=115, encoding=0.22),
    ],
)
def test_a_format_that_is_no_gain_after_all_never_costs_more_than_the_budget(link):
    _, taken = train([link] * 5000)
    assert {wire for wire, _ in taken} != {"none"}
    total = 0.0
    for number, (_, seconds) in enumerate(taken, 1):
        total += seconds
        assert total <= (1 + BUDGET) * number * link.step("none"), number


def test_where_the_smallest_format_is_no_gain_the_next_gets_a_turn():
    class Link8(Link):
        def step(self, wire):
            return super().step(wire) + (0.3 if wire == "int8" else 0)

    choice, taken = train([Link8(rate=115)] * 1000)
    assert {wire for wire, _ in taken} >= {"none", "int8"}
    assert choice.wire == "bf16"


def test_when_the_link_becomes_fast_it_goes_back():
    slow, fast = 500, 3000
    links = [SLOW] * slow + [Link(rate=5000, encoding=0.02)] * fast
    choice, taken = train(links, noise=0.05)
    assert taken[slow - 5][0] == "int8"
    assert choice.wire == "none"
    assert seconds_of(taken[slow:]) <= (1 + BUDGET) * 1.025 * fast * links[-1].step("none")


def test_when_the_link_becomes_slow_it_finds_a_format():
    choice, taken = train([FAST] * 500 + [SLOW] * 500)
    assert choice.wire == "int8"
    assert {wire for wire, _ in taken[:500]} == {"none"}


def test_watching_costs_next_to_nothing_where_the_format_is_a_gain():
    choice, taken = train([Link(rate=20)] * 2000)
    kept = taken[200:]
    assert choice.wire == "int8"
    assert seconds_of(kept) <= (1 + BUDGET) * len(kept) * Link(rate=20).step("int8")
    assert any(wire == "none" for wire, _ in kept)


def test_one_long_step_is_not_taken_for_all_that_it_stands_for():
    # Rounding makes steps nearly twice as long; the first that is told of some, or a later one, had a checkpoint in it.
    link = Link(rate=115, encoding=0.47)

    class Checkpoint(Link):
        def step(self, wire):
            return super().step(wire) + 100

    for long in (8, 32):
        links = [link] * 2000
        links[long] = Checkpoint(rate=115, encoding=0.47)
        _, taken = train(links)
        lost = 0.0
        for number, (wire, seconds) in enumerate(taken, 1):
            lost += 0.0 if wire == "none" else seconds - link.step("none")
            assert lost <= BUDGET * number * link.step("none"), (long, number)
        assert lost > 0
