from pipeline.realtime.exchange import Open
from pipeline.vocabulary.signals import Secret, TokenGrant

CANARY = "ek_canary_signals"


def test_no_record_shows_a_secret() -> None:
    for record in (Secret(CANARY), TokenGrant(1, Secret(CANARY), 30.0), Open(1, Secret(CANARY))):
        assert CANARY not in repr(record)
        assert CANARY not in f"{record}"
