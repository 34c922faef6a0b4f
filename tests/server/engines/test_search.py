import pytest

from pipeline.server.engines.knowledge import Entry, Knowledge, read_knowledge
from pipeline.server.engines.search import Search
from pipeline.vocabulary import configuration

# Neither list was used to write the shipped knowledge file, so it may miss some, but none may get a wrong answer.
ASKED_IN_OTHER_WORDS = {
    "when do you open in the morning": "opening_hours",
    "until when is the museum open": "opening_hours",
    "i am looking for the elevator": "lift",
    "how do i get to the upper floor": "lift",
    "what does it cost for a child": "child_ticket",
    "how much is one ticket please": "adult_ticket",
    "excuse me where are the restrooms": "restroom",
    "where can i find a bathroom": "restroom",
    "where can i drink a coffee": "cafe",
    "what is the password of the wifi": "wifi",
    "i think i lost my jacket": "lost_property",
    "are we allowed to take photos": "photographs",
    "is my dog allowed inside": "dogs",
    "can we pay by credit card": "payment",
    "how do i find the exit": "exit",
    "tell me something funny": "joke",
    "hello good morning": "hello",
    "thank you that was helpful": "thanks",
    "goodbye see you tomorrow": "goodbye",
    "where can i leave my suitcase": "cloakroom",
    "is there a guided tour in german": "guided_tour",
    "could you repeat the answer": "repeat",
    "go forward ten metres": "movement",
    "please tell me your name": "who_are_you",
}
NOT_KNOWN = [
    "how do airplanes fly",
    "what is the longest river in africa",
    "who is your favourite singer",
    "please sing happy birthday",
    "how do i fix a flat tyre",
    "where does chocolate come from",
    "what happened in nineteen eighty nine",
    "is there a god",
    "send an email to my boss",
    "how many planets are there",
    "do fish sleep",
    "what is a black hole",
    "who discovered america",
    "buy me a lottery ticket online",
    "how do you say cat in spanish",
    "what should i cook for dinner",
    "why do cats purr",
    "how fast can a cheetah run",
    "what is the tallest building in the world",
    "add milk to my shopping list",
]


@pytest.fixture(scope="module")
def search() -> Search:
    return Search(read_knowledge(configuration.shipped("knowledge.toml")))


def found(search: Search, question: str) -> str | None:
    entry = search.find(question).entry
    return entry.name if entry else None


def test_every_phrasing_finds_its_own_entry(search: Search) -> None:
    for entry in search.knowledge.entries:
        for phrasing in entry.phrasings:
            assert found(search, phrasing) == entry.name, phrasing


def test_other_words_find_the_entry_and_never_a_wrong_one(search: Search) -> None:
    names = {question: found(search, question) for question in ASKED_IN_OTHER_WORDS}
    right = [question for question, name in ASKED_IN_OTHER_WORDS.items() if names[question] == name]
    refused = [question for question, name in names.items() if name is None]
    assert len(right) + len(refused) == len(names)
    assert len(right) >= 0.8 * len(names)


def test_what_is_not_known_is_like_nothing(search: Search) -> None:
    admitted = [question for question in NOT_KNOWN if found(search, question) is None]
    assert len(admitted) >= 0.9 * len(NOT_KNOWN)


@pytest.mark.parametrize(
    ("misheard", "name"),
    [
        ("How match is a child thicket?", "child_ticket"),
        ("How much is a chilled ticket?", "child_ticket"),
        ("What all your opening ours?", "opening_hours"),
        ("What time do you closed today?", "opening_hours"),
        ("Where is the rest room?", "restroom"),
        ("Tell me a choke.", "joke"),
        ("Can I bring my dock?", "dogs"),
        ("Go forward 10 meters.", "movement"),
        ("Open my lucker please.", "open_locker"),
    ],
)
def test_a_misheard_syllable_does_not_matter(search: Search, misheard: str, name: str) -> None:
    assert found(search, misheard) == name


@pytest.mark.parametrize("question", ["", "   ", "?!", "…"])
def test_no_words_are_like_nothing(search: Search, question: str) -> None:
    assert search.find(question) == (None, 0.0)


def test_a_very_long_question_is_found_by_its_beginning(search: Search) -> None:
    assert search.find("Where is the lift? " * 100_000) == search.find("Where is the lift? " * 50)
    assert search.find("x" * 1_000_000).entry is None


def test_what_is_not_like_enough_is_still_told_apart_for_whoever_writes_the_file(search: Search) -> None:
    match = search.find("is there a lift in the tallest building in the world")
    assert match.entry is None
    assert match.nearest is not None
    assert 0 < match.likeness < 1


def test_a_file_with_one_entry_still_tells_its_question_from_others() -> None:
    entry = Entry("lift", ("Where is the lift?",), "Behind you.")
    search = Search(Knowledge(greeting="Hello.", unknown="No.", unheard="What?", entries=(entry,)))
    assert found(search, "where's the lift") == "lift"
    assert found(search, "how many planets are there") is None
