from pipeline.core.conversation import LINES_MAX, Conversation
from pipeline.vocabulary.signals import TranscriptNotice


def test_words_of_an_item_grow_and_become_final() -> None:
    conversation = Conversation()
    conversation.add("a1", "assistant", "We open ")
    assert conversation.add("a1", "assistant", "at ten") == TranscriptNotice(
        "assistant", "a1", "We open at ten", final=False
    )
    assert conversation.finish("a1", "assistant", " We open at ten. ").text == "We open at ten."
    assert conversation.add("a1", "assistant", "late") is None


def test_lines_keep_the_order_in_which_items_were_announced_whatever_the_order_of_words() -> None:
    conversation = Conversation()
    conversation.announce("u1", "user")
    conversation.finish("a1", "assistant", "At ten.")
    conversation.finish("u1", "user", "When do you open?")
    assert [(line.role, line.text) for line in conversation.lines] == [
        ("user", "When do you open?"),
        ("assistant", "At ten."),
    ]


def test_an_interrupted_item_is_marked() -> None:
    conversation = Conversation()
    conversation.add("a1", "assistant", "We")
    conversation.interrupt("a1")
    conversation.interrupt("unknown")
    assert [line.interrupted for line in conversation.lines] == [True]


def test_the_oldest_lines_go_first() -> None:
    conversation = Conversation()
    for number in range(LINES_MAX + 3):
        conversation.announce(f"u{number}", "user")
    assert len(conversation.lines) == LINES_MAX
    assert conversation.lines[0].item_id == "u3"
