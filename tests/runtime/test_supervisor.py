"""Life and death of actors: order of starting and stopping, restart rules, intensity, ends of the program."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from pipeline.core.overflow import Hold, Overflow
from pipeline.core.retry import RestartIntensity
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import ActorSpec, LinkSpec, Restart, bind
from pipeline.runtime.links import open_links
from pipeline.runtime.ports import Receiver, Sender
from pipeline.runtime.supervisor import (
    ActorState,
    Condition,
    Happening,
    Incident,
    fault_of,
    most_telling,
    new_states,
    run,
)
from pipeline.vocabulary.errors import (
    CrashLoopError,
    CredentialRefusedError,
    DeviceError,
    LinkClosedError,
    NothingHeardError,
    TalkwireError,
)

Diary = list[str]
Actor = Callable[[], Awaitable[None]]


class House:
    """Actors that keep a diary, and the supervisor's reports."""

    def __init__(self) -> None:
        self.diary: Diary = []
        self.incidents: list[Incident] = []
        self.intensity = RestartIntensity(5, 60)
        self.starts: dict[str, int] = {}
        self.states: dict[str, ActorState] = {}

    def actor(self, name: str, *lives: Exception | None, life_s: float = 1.0, clean_s: float = 0.0) -> Actor:
        """An actor whose first lives end after `life_s` as told (raise, or return for None); the next one lasts."""

        async def act() -> None:
            life = self.starts.get(name, 0)
            self.starts[name] = life + 1
            self.diary.append(f"+{name}")
            try:
                if life >= len(lives):
                    await trio.sleep_forever()
                await trio.sleep(life_s)
                if (error := lives[life]) is not None:
                    raise error
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(clean_s)
                self.diary.append(f"-{name}")

        return act

    async def run(self, *actors: ActorSpec) -> None:
        arguments: dict[str, dict[str, object]] = {actor.name: {} for actor in actors}
        self.states = new_states(actors)
        await run(actors, arguments, self.states, intensity=self.intensity, report=self.incidents.append)

    def happened(self) -> list[tuple[str, Happening]]:
        return [(incident.who.removeprefix("actor "), incident.what) for incident in self.incidents]


@pytest.fixture
def house() -> House:
    return House()


def spec(
    name: str,
    function: Actor,
    restart: Restart = Restart.PERMANENT,
    *,
    significant: bool = False,
    grace_s: float = 0.5,
) -> ActorSpec:
    return ActorSpec(name, function, restart, significant=significant, grace_s=grace_s)


def ending(house: House, after_s: float) -> ActorSpec:
    """The actor whose return ends the program."""
    return spec("end", house.actor("end", None, life_s=after_s), Restart.TRANSIENT, significant=True)


async def test_actors_start_in_order_and_stop_in_reverse(house: House, autojump_clock: MockClock) -> None:
    actors = [spec(name, house.actor(name)) for name in "abcdef"]
    with trio.move_on_after(1):
        await house.run(*actors)
    assert house.diary == ["+a", "+b", "+c", "+d", "+e", "+f", "-f", "-e", "-d", "-c", "-b", "-a"]
    assert house.incidents == []


async def test_each_actor_has_stopped_before_the_one_before_it_is_told(house: House, autojump_clock: MockClock) -> None:
    told: list[tuple[str, float]] = []

    def slow(name: str) -> Actor:
        async def act() -> None:
            try:
                await trio.sleep_forever()
            finally:
                told.append((name, trio.current_time()))
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.3)

        return act

    start_s = trio.current_time()
    with trio.move_on_after(1):
        await house.run(spec("a", slow("a")), spec("b", slow("b")), spec("c", slow("c")))
    assert [name for name, _ in told] == ["c", "b", "a"]
    assert [round(at_s - start_s, 3) for _, at_s in told] == [1.0, 1.3, 1.6]


async def test_a_failed_actor_takes_those_after_it_along(house: House, autojump_clock: MockClock) -> None:
    error = DeviceError("unplugged")
    await house.run(
        ending(house, 10),
        spec("a", house.actor("a")),
        spec("b", house.actor("b", error)),
        spec("c", house.actor("c")),
        spec("d", house.actor("d")),
    )
    assert house.diary == [
        *("+end", "+a", "+b", "+c", "+d"),
        *("-b", "-d", "-c", "+b", "+c", "+d"),
        *("-end", "-d", "-c", "-b", "-a"),
    ]
    assert house.happened() == [("b", Happening.FAILED), ("b", Happening.RESTARTED)]
    assert house.incidents[0].fault == fault_of(error)


async def test_the_state_of_each_actor_can_be_read_at_any_time(house: House, autojump_clock: MockClock) -> None:
    seen: list[list[Condition]] = []

    async def look() -> None:
        for _ in range(3):
            seen.append([state.condition for state in house.states.values()])
            await trio.sleep(1)

    error = DeviceError("unplugged")
    await house.run(
        spec("end", look, Restart.TRANSIENT, significant=True),
        spec("a", house.actor("a", error, life_s=1.5)),
        spec("b", house.actor("b", None, life_s=0.5), Restart.TRANSIENT),
        spec("c", house.actor("c")),
    )
    waiting, running, ended = Condition.WAITING, Condition.RUNNING, Condition.ENDED
    assert seen == [
        [running, waiting, waiting, waiting],
        [running, running, ended, running],
        [running, running, ended, running],
    ]
    assert house.states["a"] == ActorState("a", ended, restarts=1, failure=fault_of(error))
    assert house.states["b"].restarts == 0
    assert house.states["c"] == ActorState("c", ended, restarts=1)


@pytest.mark.parametrize(
    ("restart", "error", "starts"),
    [
        (Restart.PERMANENT, None, 2),
        (Restart.PERMANENT, DeviceError("x"), 2),
        (Restart.TRANSIENT, None, 1),
        (Restart.TRANSIENT, DeviceError("x"), 2),
        (Restart.TEMPORARY, None, 1),
        (Restart.TEMPORARY, DeviceError("x"), 1),
    ],
)
async def test_the_restart_rule_decides(
    house: House, autojump_clock: MockClock, restart: Restart, error: Exception | None, starts: int
) -> None:
    await house.run(ending(house, 10), spec("a", house.actor("a", error), restart))
    assert house.starts["a"] == starts
    assert (("a", Happening.FAILED) in house.happened()) == (error is not None)
    assert (("a", Happening.RESTARTED) in house.happened()) == (starts == 2)


async def test_a_finished_actor_is_not_revived_with_the_others(house: House, autojump_clock: MockClock) -> None:
    await house.run(
        ending(house, 10),
        spec("a", house.actor("a", DeviceError("x"), life_s=2)),
        spec("b", house.actor("b", None, life_s=1), Restart.TRANSIENT),
        spec("c", house.actor("c")),
    )
    assert house.starts == {"end": 1, "a": 2, "b": 1, "c": 2}


async def test_a_transient_actor_that_was_stopped_is_revived_with_the_others(
    house: House, autojump_clock: MockClock
) -> None:
    await house.run(
        ending(house, 10),
        spec("a", house.actor("a", DeviceError("x"))),
        spec("b", house.actor("b"), Restart.TRANSIENT),
    )
    assert house.starts["b"] == 2


async def test_the_last_one_to_finish_ends_the_program(house: House, autojump_clock: MockClock) -> None:
    await house.run(
        spec("a", house.actor("a", None), Restart.TRANSIENT),
        spec("b", house.actor("b", DeviceError("x"), life_s=3), Restart.TEMPORARY),
    )
    assert trio.current_time() == pytest.approx(3)


async def test_too_many_restarts_are_a_crash_loop(house: House, autojump_clock: MockClock) -> None:
    last = [DeviceError(f"unplugged {i}") for i in range(9)]
    house.intensity = RestartIntensity(3, 60)
    with pytest.raises(CrashLoopError, match=r"a failed: unplugged 3") as caught:
        await house.run(spec("a", house.actor("a", *last)), spec("b", house.actor("b")))
    assert caught.value.exit_code == 70
    assert caught.value.__cause__ is last[3]
    assert house.starts["a"] == 4
    assert house.diary[-2:] == ["-a", "-b"]


async def test_restarts_far_apart_are_no_crash_loop(house: House, autojump_clock: MockClock) -> None:
    house.intensity = RestartIntensity(3, 60)
    failures = [DeviceError("x")] * 9
    await house.run(ending(house, 1000), spec("a", house.actor("a", *failures, life_s=21)))
    assert house.starts["a"] == 10


async def test_the_text_of_a_foreign_error_stays_out_of_the_message(house: House, autojump_clock: MockClock) -> None:
    house.intensity = RestartIntensity(0, 60)
    with pytest.raises(CrashLoopError, match="ValueError") as caught:
        await house.run(spec("a", house.actor("a", ValueError("canary-7"))))
    assert "canary-7" not in str(caught.value)


async def test_an_actor_that_ends_without_reason_counts(house: House, autojump_clock: MockClock) -> None:
    house.intensity = RestartIntensity(1, 60)
    with pytest.raises(CrashLoopError, match="a ended although it should not"):
        await house.run(spec("a", house.actor("a", None, None, None)))


async def test_a_verdict_stop_ends_everything_with_that_error(house: House, autojump_clock: MockClock) -> None:
    refused = CredentialRefusedError("the key is wrong")
    with pytest.raises(CredentialRefusedError) as caught:
        await house.run(spec("a", house.actor("a")), spec("b", house.actor("b", refused)), spec("c", house.actor("c")))
    assert caught.value is refused
    assert house.diary == ["+a", "+b", "+c", "-b", "-c", "-a"]


async def test_a_verdict_stop_is_found_inside_groups(house: House, autojump_clock: MockClock) -> None:
    refused = NothingHeardError("silence")
    group = ExceptionGroup("outer", [ValueError("x"), ExceptionGroup("inner", [LinkClosedError("x"), refused])])
    with pytest.raises(NothingHeardError):
        await house.run(spec("a", house.actor("a", group)))
    assert house.incidents == [Incident("actor a", Happening.FAILED, refused.fault())]


async def test_a_verdict_stop_while_cleaning_up_is_raised(house: House, autojump_clock: MockClock) -> None:
    async def act() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise NothingHeardError("no speech in the file")

    with pytest.raises(NothingHeardError):
        await house.run(ending(house, 1), spec("a", act))


async def test_a_failure_while_cleaning_up_is_reported_and_not_raised(house: House, autojump_clock: MockClock) -> None:
    async def act() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise DeviceError("gone")

    await house.run(ending(house, 1), spec("a", act))
    assert house.happened() == [("a", Happening.FAILED)]


async def test_a_significant_temporary_actor_passes_its_failure_on(house: House, autojump_clock: MockClock) -> None:
    with pytest.raises(DeviceError):
        await house.run(
            spec("a", house.actor("a")),
            spec("b", house.actor("b", DeviceError("x")), Restart.TEMPORARY, significant=True),
        )
    assert house.diary[-1] == "-a"


async def test_a_significant_transient_actor_is_restarted_when_it_fails(
    house: House, autojump_clock: MockClock
) -> None:
    await house.run(
        spec("a", house.actor("a", DeviceError("x"), None), Restart.TRANSIENT, significant=True),
        spec("b", house.actor("b")),
    )
    assert house.starts == {"a": 2, "b": 2}


async def test_the_end_of_the_program_beats_a_restart_at_the_same_moment(
    house: House, autojump_clock: MockClock
) -> None:
    await house.run(
        spec("a", house.actor("a", DeviceError("x"), life_s=1)),
        spec("b", house.actor("b", clean_s=0.4)),
        ending(house, 1),
    )
    assert house.starts == {"a": 1, "b": 1, "end": 1}


async def test_an_end_during_a_restart_is_noticed(house: House, autojump_clock: MockClock) -> None:
    await house.run(
        spec("a", house.actor("a", DeviceError("x"), life_s=1)),
        ending(house, 1.2),
        spec("b", house.actor("b", clean_s=0.4)),
    )
    assert house.starts == {"a": 1, "b": 1, "end": 1}


async def test_an_earlier_failure_during_a_restart_widens_it_to_one_restart(
    house: House, autojump_clock: MockClock
) -> None:
    house.intensity = RestartIntensity(1, 60)
    await house.run(
        ending(house, 10),
        spec("a", house.actor("a", DeviceError("x"), life_s=1.2)),
        spec("b", house.actor("b", DeviceError("x"), life_s=1)),
        spec("c", house.actor("c", clean_s=0.4)),
    )
    assert house.starts == {"end": 1, "a": 2, "b": 2, "c": 2}
    assert house.happened().count(("a", Happening.RESTARTED)) == 1


async def test_an_overdue_actor_is_reported_and_does_not_hold_up_the_others(
    house: House, autojump_clock: MockClock
) -> None:
    stopped_s: dict[str, float] = {}

    async def prompt() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopped_s["prompt"] = trio.current_time()
            assert house.states["slow"].condition is Condition.OVERDUE

    await house.run(ending(house, 1), spec("prompt", prompt), spec("slow", house.actor("slow", clean_s=3)))
    assert house.happened() == [("slow", Happening.OVERDUE)]
    assert stopped_s["prompt"] == pytest.approx(1.5)
    assert trio.current_time() == pytest.approx(4), "trio cannot leave a task behind"


async def test_there_are_never_two_incarnations(house: House, autojump_clock: MockClock) -> None:
    with pytest.raises(CrashLoopError, match="slow does not stop"):
        await house.run(spec("a", house.actor("a", DeviceError("x"))), spec("slow", house.actor("slow", clean_s=3)))
    assert house.starts == {"a": 1, "slow": 1}
    assert house.happened() == [("a", Happening.FAILED), ("slow", Happening.OVERDUE)]


async def test_cancelled_before_it_began_it_still_returns(house: House, autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await house.run(*(spec(name, house.actor(name)) for name in "ab"))
    assert scope.cancelled_caught
    assert sorted(entry[0] for entry in house.diary) == sorted("+-" * (len(house.diary) // 2))


@pytest.mark.parametrize("at_s", [0.5, 1.0, 1.1, 1.4, 2.0, 2.2])
async def test_cancelled_at_any_moment_no_task_is_left(house: House, autojump_clock: MockClock, at_s: float) -> None:
    before = _tasks()
    with trio.move_on_after(at_s) as scope:
        await house.run(
            spec("a", house.actor("a", DeviceError("x"), DeviceError("x"), life_s=1, clean_s=0.1)),
            spec("b", house.actor("b", clean_s=0.3)),
        )
    assert scope.cancelled_caught
    assert _tasks() == before
    assert sorted(entry[1:] for entry in house.diary if entry[0] == "+") == sorted(
        entry[1:] for entry in house.diary if entry[0] == "-"
    )


async def test_a_keyboard_interrupt_passes_through_after_everything_stopped(
    house: House, autojump_clock: MockClock
) -> None:
    async def interrupt() -> None:
        await trio.sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(BaseExceptionGroup) as caught:
        await house.run(spec("a", house.actor("a")), spec("b", interrupt))
    assert caught.value.subgroup(KeyboardInterrupt) is not None
    assert house.diary == ["+a", "-a"]


async def test_links_outlive_the_actors_on_them(house: House, autojump_clock: MockClock) -> None:
    links = [LinkSpec("numbers", "count.numbers", "add.numbers", Hold(3, "items"), Overflow.WAIT, "order matters")]
    received: list[int] = []

    async def add(numbers: Receiver[int]) -> None:
        async for number in numbers:
            received.append(number)
            if number % 4 == 3:
                raise DeviceError("hiccup")

    async def count(numbers: Sender[int]) -> None:
        for number in range(10):
            await numbers.send(number)
            await trio.sleep(0.1)
        await trio.sleep(1)

    actors = [
        ActorSpec("count", count, Restart.TRANSIENT, significant=True),
        ActorSpec("add", add),
    ]
    with open_links(actors, links, dict.fromkeys(["count", "add"], "main"), "main", Floor()) as opened:
        arguments = bind(actors, links, opened.ends, {})
        await run(actors, arguments, new_states(actors), intensity=house.intensity, report=house.incidents.append)
    assert received == list(range(10))
    assert house.happened().count(("add", Happening.RESTARTED)) == 2
    with pytest.raises(LinkClosedError):
        opened.local["numbers"].sender.send_nowait(10)


@pytest.mark.parametrize(
    ("errors", "telling"),
    [
        ([LinkClosedError("x"), DeviceError("x")], DeviceError),
        ([DeviceError("x"), ValueError("x")], ValueError),
        ([ValueError("x"), CredentialRefusedError("x")], CredentialRefusedError),
        ([ExceptionGroup("deep", [LinkClosedError("x"), KeyError("x")]), DeviceError("x")], KeyError),
    ],
)
def test_the_most_telling_error_of_a_group(errors: list[Exception], telling: type[Exception]) -> None:
    assert type(most_telling(ExceptionGroup("group", errors))) is telling
    assert type(most_telling(ExceptionGroup("group", errors[::-1]))) is telling


def test_a_lone_error_is_the_most_telling() -> None:
    error = TalkwireError("x")
    assert most_telling(error) is error


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
