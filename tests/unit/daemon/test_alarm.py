"""The loop's one timer: never late, and not set anew for each packet."""

from __future__ import annotations

from collections.abc import Callable

from wgjit.daemon.alarm import Alarm


class Clock:
    """Stands for the loop: notes the timers that are set and ended."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.set = 0

    def call_at(self, when: float, callback: Callable[[], None]) -> Clock.Timer:
        self.set += 1
        self.timers.append((when, callback))
        return Clock.Timer(self, when)

    def strike(self) -> None:
        _, callback = self.timers.pop(0)
        callback()

    class Timer:
        def __init__(self, clock: Clock, when: float) -> None:
            self.clock, self.when = clock, when

        def cancel(self) -> None:
            self.clock.timers = [timer for timer in self.clock.timers if timer[0] != self.when]


def test_a_later_deadline_keeps_the_timer_and_an_earlier_one_moves_it() -> None:
    struck: list[float] = []
    clock = Clock()
    alarm = Alarm(lambda: struck.append(0))
    alarm.set(clock, 5.0)  # type: ignore[arg-type]
    alarm.set(clock, 9.0)  # type: ignore[arg-type]
    alarm.set(clock, None)  # type: ignore[arg-type]
    assert ([when for when, _ in clock.timers], clock.set) == ([5.0], 1)
    alarm.set(clock, 3.0)  # type: ignore[arg-type]
    assert [when for when, _ in clock.timers] == [3.0]
    clock.strike()
    assert len(struck) == 1
    alarm.set(clock, 9.0)  # type: ignore[arg-type]
    assert [when for when, _ in clock.timers] == [9.0]
    alarm.cancel()
    alarm.cancel()
    assert clock.timers == []
