from pipeline.core.hearing import SHORTEST_S, UNHEARD_WINDOW_S, Hearing


def say(hearing: Hearing, at_s: float, lasts_s: float = 1.0) -> bool:
    hearing.voice_began(at_s - lasts_s)
    return hearing.voice_ended(at_s)


def test_two_utterances_that_are_not_heard_are_enough() -> None:
    hearing = Hearing()
    assert say(hearing, 100.0)
    assert not hearing.give_up()
    assert say(hearing, 105.0)
    assert hearing.give_up()


def test_what_is_seldom_or_short_is_noise() -> None:
    hearing = Hearing()
    assert not say(hearing, 100.0, SHORTEST_S / 2)
    for at_s in (110.0, 110.0 + UNHEARD_WINDOW_S + 1, 111.0 + 2 * (UNHEARD_WINDOW_S + 1)):
        say(hearing, at_s)
        assert not hearing.give_up()


def test_what_the_service_hears_begins_the_count_again() -> None:
    hearing = Hearing()
    say(hearing, 100.0)
    hearing.heard()
    say(hearing, 105.0)
    assert not hearing.give_up()


def test_one_session_is_given_up_and_the_next_only_after_something_was_heard() -> None:
    hearing = Hearing()
    for at_s, heard in ((100.0, True), (200.0, False), (300.0, True)):
        if heard:
            hearing.heard()
        say(hearing, at_s)
        say(hearing, at_s + 5)
        assert hearing.give_up() is heard
        hearing.forget()


def test_an_utterance_said_half_to_another_session_does_not_count() -> None:
    hearing = Hearing()
    hearing.voice_began(100.0)
    hearing.forget()
    assert not hearing.voice_ended(102.0)
