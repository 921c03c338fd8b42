"""The bar of work that is done elsewhere, and again."""

from lapsi.execution import meter
from lapsi.execution.meter import Bar, Meter, Steps


def test_every_step_is_told_once_also_where_a_part_is_done_again():
    told = []
    bar = Bar(told.append)
    for number, steps in ((0, 2), (1, 1), (0, 1), (0, 2), (0, 5), (1, 3), (1, 3)):
        bar.reach(number, steps)
    assert told == [2, 1, 3, 2]


def test_a_meter_gives_what_was_told_since():
    kept = Meter()
    kept.tell(("a", 0), 1)
    kept.tell(("a", 0), 4)
    kept.tell(("b", 0), 2)
    assert kept.told() == {("a", 0): 4, ("b", 0): 2}
    assert kept.told() == {}


def test_steps_are_told_now_and_then(monkeypatch):
    now, told = [0.0], []
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    steps = Steps(told.append)
    for seconds, done in ((0.1, 2), (0.2, 1), (0.5, 4), (0.6, 1), (2.0, 1)):
        now[0] = seconds
        steps(done)
    assert told == [7, 9]
    assert steps.count == 9
