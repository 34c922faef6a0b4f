import pytest

from pipeline.server.engines.brain import RetrievalBrain
from pipeline.server.engines.knowledge import Entry, Knowledge, check_knowledge
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
def knowledge() -> Knowledge:
    return check_knowledge(configuration.read(configuration.shipped("knowledge.toml")), "knowledge.toml")


@pytest.fixture(scope="module")
def brain(knowledge: Knowledge) -> RetrievalBrain:
    return RetrievalBrain(knowledge)


@pytest.fixture(scope="module")
def answers(knowledge: Knowledge) -> dict[str, str]:
    return {entry.name: entry.answer for entry in knowledge.entries}


def test_every_phrasing_gets_its_own_answer(brain: RetrievalBrain, knowledge: Knowledge) -> None:
    for entry in knowledge.entries:
        for phrasing in entry.phrasings:
            assert brain.find(phrasing) == entry.answer, phrasing


def test_other_words_find_the_answer_and_never_a_wrong_one(
    brain: RetrievalBrain, knowledge: Knowledge, answers: dict[str, str]
) -> None:
    given = {question: brain.find(question) for question in ASKED_IN_OTHER_WORDS}
    right = [question for question, name in ASKED_IN_OTHER_WORDS.items() if given[question] == answers[name]]
    refused = [question for question in given if given[question] == knowledge.unknown]
    assert len(right) + len(refused) == len(given)
    assert len(right) >= 0.8 * len(given)


def test_what_is_not_known_is_admitted(brain: RetrievalBrain, knowledge: Knowledge) -> None:
    admitted = [question for question in NOT_KNOWN if brain.find(question) == knowledge.unknown]
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
    ],
)
def test_a_misheard_syllable_does_not_matter(
    brain: RetrievalBrain, answers: dict[str, str], misheard: str, name: str
) -> None:
    assert brain.find(misheard) == answers[name]


@pytest.mark.parametrize("question", ["", "   ", "?!", "…"])
def test_no_words_are_asked_for_again(brain: RetrievalBrain, knowledge: Knowledge, question: str) -> None:
    assert brain.find(question) == knowledge.unheard


def test_a_very_long_question_is_answered_by_its_beginning(brain: RetrievalBrain, knowledge: Knowledge) -> None:
    assert brain.find("Where is the lift? " * 100_000) == brain.find("Where is the lift? " * 20)
    assert brain.find("x" * 1_000_000) == knowledge.unknown


def test_a_file_with_one_entry_still_tells_its_question_from_others() -> None:
    entry = Entry("lift", ("Where is the lift?",), "Behind you.")
    brain = RetrievalBrain(Knowledge(unknown="No.", unheard="What?", entries=(entry,)))
    assert brain.find("where's the lift") == "Behind you."
    assert brain.find("how many planets are there") == "No."
