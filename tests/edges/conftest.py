"""A scripted sound card for the tests of the edges."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.lowlevel
import trio.testing

from pipeline.edges.sound_card import CardLoudspeaker, CardMicrophone
from pipeline.edges.synthetic import counter_signal
from tests.fake_sounddevice import (
    FakeCard,
    FakeSounddevice,
)

COUNTER = counter_signal(2.0).pcm


@pytest.fixture
def card() -> FakeCard:
    card = FakeCard("USB Audio: - (hw:1,0)")
    card.heard = COUNTER
    return card


@pytest.fixture
async def portaudio(card: FakeCard, nursery: trio.Nursery) -> AsyncIterator[FakeSounddevice]:
    module = FakeSounddevice(card)
    nursery.start_soon(module.run)
    yield module
    nursery.cancel_scope.cancel()


@pytest.fixture
def microphone(portaudio: FakeSounddevice) -> CardMicrophone:
    return CardMicrophone(portaudio.system(), "usb")


@pytest.fixture
def loudspeaker(portaudio: FakeSounddevice) -> CardLoudspeaker:
    return CardLoudspeaker(portaudio.system(), "usb")
