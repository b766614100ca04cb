"""Alarms ring in order, once, and not before their time; those that are put off cost nothing."""

from random import Random

from fastframe._alarms import Alarms


class One:
    """Notes when it was looked at."""

    def __init__(self, log: list[str], name: str) -> None:
        self.alarm: float | None = None
        self.log, self.name = log, name

    def look(self) -> None:
        self.log.append(self.name)


def test_they_ring_in_order_when_it_is_time() -> None:
    log: list[str] = []
    alarms = Alarms()
    for name, when in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        alarms.set(One(log, name), when)
    assert alarms.wait(0.5) == 0.5
    alarms.ring(0.9)
    assert log == []
    alarms.ring(2.0)
    assert log == ["a", "b"]
    assert alarms.wait(2.5) == 0.5
    assert alarms.wait(4.0) == 0.0
    alarms.ring(3.0)
    alarms.ring(9.0)
    assert log == ["a", "b", "c"]
    assert alarms.wait(9.0) is None


def test_the_earlier_one_counts() -> None:
    log: list[str] = []
    alarms, one = Alarms(), One([], "x")
    one.log = log
    alarms.set(one, 5.0)
    alarms.set(one, 9.0)
    assert one.alarm == 5.0
    alarms.set(one, 2.0)
    alarms.ring(2.0)
    assert log == ["x"]
    alarms.ring(10.0)
    assert log == ["x"]
    assert one.alarm is None


def test_one_that_is_forgotten_does_not_ring() -> None:
    log: list[str] = []
    alarms, one = Alarms(), One(log, "x")
    alarms.set(one, 1.0)
    alarms.forget(one)
    alarms.forget(one)
    alarms.ring(2.0)
    assert log == []
    assert alarms.wait(0.0) is None


def test_one_may_set_itself_anew_while_it_rings() -> None:
    alarms = Alarms()

    class Again(One):
        def look(self) -> None:
            super().look()
            alarms.set(self, 1.0)  # which is over

    one = Again([], "x")
    alarms.set(one, 1.0)
    alarms.ring(5.0)
    assert one.log == ["x"]
    alarms.ring(5.0)
    assert one.log == ["x", "x"]


def test_those_that_were_forgotten_are_not_kept() -> None:
    alarms = Alarms()
    keep = One([], "x")
    alarms.set(keep, 1e9)
    for _ in range(10_000):
        one = One([], "y")
        alarms.set(one, 60.0)
        alarms.forget(one)
    assert len(alarms.heap) < 200
    assert alarms.wait(0.0) is not None


def test_they_are_as_a_sorted_list() -> None:
    random = Random(5)
    for _ in range(200):
        log: list[str] = []
        alarms = Alarms()
        ones = [One(log, str(i)) for i in range(10)]
        expected: dict[int, float] = {}
        for _ in range(40):
            i, when = random.randrange(10), float(random.randrange(100))
            if random.random() < 0.3:
                alarms.forget(ones[i])
                expected.pop(i, None)
            else:
                alarms.set(ones[i], when)
                expected[i] = min(expected.get(i, when), when)
        now = float(random.randrange(100))
        alarms.ring(now)
        due = {i: when for i, when in expected.items() if when <= now}
        assert sorted(log) == sorted(map(str, due))
        assert [due[int(name)] for name in log] == sorted(due.values())
        alarms.clear()
        assert alarms.wait(0.0) is None
