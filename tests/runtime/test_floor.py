from pipeline.runtime.floor import Floor


def test_the_floor_only_rises() -> None:
    floor = Floor()
    assert floor.value == 0
    for turn in (3, 2, 3, 5):
        floor.raise_to(turn)
    assert floor.value == 5


def test_every_link_is_purged_before_a_raise_returns_and_only_by_a_raise() -> None:
    floor = Floor()
    purged: list[tuple[str, int]] = []
    floor.register(lambda: purged.append(("reply", floor.value)))
    floor.register(lambda: purged.append(("speech", floor.value)))
    for turn in (2, 2, 1):
        floor.raise_to(turn)
    assert purged == [("reply", 2), ("speech", 2)]
