from pipeline.realtime.dialects import DIALECTS
from pipeline.realtime.events import Session
from pipeline.server.admission import BAD_KEY, BETA, FULL, MODEL_FOR_TRANSCRIPTION, NO_MODEL, Admission, Admitted
from pipeline.server.client_secrets import MAX_SECRETS, ClientSecrets, Issued
from pipeline.server.session_settings import default_session
from pipeline.vocabulary.signals import Secret


def door(api_key: str | None = None, max_sessions: int = 2, dialect: str = "openai") -> Admission:
    return Admission(
        (api_key and Secret(api_key)) or None, voice="heart", max_sessions=max_sessions, dialect=DIALECTS[dialect]
    )


def test_a_secret_opens_sessions_until_it_expires() -> None:
    admission = door()
    admission.mint(Secret("ek_1"), None, expires_at=100.0, now=0.0)
    for _ in range(2):
        assert isinstance(admission.admit(Secret("ek_1"), model="m", intent="", beta=False, now=99.9), Admitted)
        admission.leave()
    assert admission.admit(Secret("ek_1"), model="m", intent="", beta=False, now=100.0) is BAD_KEY


def test_reasons_to_stay_outside() -> None:
    admission = door("sk", max_sessions=1)
    assert admission.admit(Secret(""), model="m", intent="", beta=False, now=0) is BAD_KEY
    assert admission.admit(Secret("sk"), model="", intent="", beta=False, now=0) is NO_MODEL
    assert admission.admit(Secret("sk"), model="m", intent="", beta=True, now=0) is BETA
    assert isinstance(admission.admit(Secret("sk"), model="m", intent="", beta=False, now=0), Admitted)
    assert admission.admit(Secret("sk"), model="m", intent="", beta=False, now=0) == FULL


def test_without_a_configured_key_any_bearer_opens_sessions_but_no_unknown_client_secret() -> None:
    assert isinstance(door().admit(Secret("sk-any"), model="m", intent="", beta=False, now=0), Admitted)
    assert door().admit(Secret("ek_unknown"), model="m", intent="", beta=False, now=0) is BAD_KEY
    assert door().admit(Secret(""), model="m", intent="", beta=False, now=0) is BAD_KEY
    assert door("sk").admit(Secret("sk-any"), model="m", intent="", beta=False, now=0) is BAD_KEY


def test_nobody_comes_in_while_the_engines_have_too_much_to_do() -> None:
    admission = door("sk", max_sessions=1)
    assert admission.admit(Secret("sk"), model="m", intent="", beta=False, now=0, busy=True) == FULL
    assert isinstance(admission.admit(Secret("sk"), model="m", intent="", beta=False, now=0), Admitted)


def test_who_may_use_rest() -> None:
    assert not door().may_use_rest(Secret("ek_never_issued"))
    assert door().may_use_rest(Secret("anything"))
    assert not door().may_use_rest(Secret(""))
    assert door("sk").may_use_rest(Secret("sk"))
    assert not door("sk").may_use_rest(Secret("ek"))


def test_the_model_of_the_url_wins() -> None:
    admission = door()
    admission.mint(Secret("ek"), Session(type="realtime", model="minted"), expires_at=100.0, now=0.0)
    admitted = admission.admit(Secret("ek"), model="asked", intent="", beta=False, now=0)
    assert isinstance(admitted, Admitted)
    assert admitted.session("sess_1", expires_at=7).model == "asked"


def test_a_secret_that_names_a_model_needs_none_in_the_url() -> None:
    admission = door()
    admission.mint(Secret("ek"), Session(type="realtime", model="minted"), expires_at=100.0, now=0.0)
    admitted = admission.admit(Secret("ek"), model="", intent="", beta=False, now=0)
    assert isinstance(admitted, Admitted)
    assert admitted.settings.model == "minted"


def test_a_transcription_session_is_asked_for_by_intent_or_by_its_secret() -> None:
    admission = door("sk", max_sessions=3)
    admission.mint(Secret("ek"), Session(type="transcription"), expires_at=100.0, now=0.0)
    admission.mint(Secret("ek_talks"), Session(type="realtime", model="m"), expires_at=100.0, now=0.0)
    for key, intent in [("sk", "transcription"), ("ek", "transcription"), ("ek", "")]:
        admitted = admission.admit(Secret(key), model="", intent=intent, beta=False, now=0)
        assert isinstance(admitted, Admitted)
        assert (admitted.settings.type, admitted.settings.model) == ("transcription", None)
        admission.leave()
    refused = admission.admit(Secret("sk"), model="m", intent="transcription", beta=False, now=0)
    assert refused is MODEL_FOR_TRANSCRIPTION


def test_secrets_are_bounded_and_expired_ones_make_room() -> None:
    issued = ClientSecrets()
    session = default_session("m", "heart")
    for number in range(MAX_SECRETS):
        assert issued.issue(Secret(f"ek_{number}"), Issued(10.0, session), now=0.0)
    assert not issued.issue(Secret("ek_more"), Issued(10.0, session), now=0.0)
    assert issued.issue(Secret("ek_more"), Issued(20.0, session), now=10.0)
    assert issued.find(Secret("ek_more"), 11.0) is not None


def test_no_secret_can_be_read_back() -> None:
    issued = ClientSecrets()
    issued.issue(Secret("ek_canary"), Issued(10.0, default_session("m", "heart")), now=0.0)
    assert "canary" not in repr(vars(issued))


def test_where_a_door_answers_before_the_upgrade_it_knows_a_key_and_a_secret() -> None:
    admission = door("sk", dialect="azure")
    admission.mint(Secret("ek_1"), None, expires_at=100.0, now=0.0)
    known = [admission.knows(Secret(key), now) for key, now in [("sk", 0), ("ek_1", 99), ("ek_1", 101), ("ek_2", 0)]]
    assert known == [True, True, True, False]
    openai = door("sk")
    openai.mint(Secret("ek_1"), None, expires_at=100.0, now=0.0)
    assert not openai.knows(Secret("ek_1"), 101)


def test_an_expired_secret_comes_in_where_the_dialect_says_so() -> None:
    for dialect, expired in [("azure", [False, True]), ("openai", [False, None])]:
        admission = door(dialect=dialect)
        admission.mint(Secret("ek_1"), None, expires_at=100.0, now=0.0)
        answers = [admission.admit(Secret("ek_1"), model="m", intent="", beta=False, now=now) for now in (99, 100)]
        assert [answer.expired if isinstance(answer, Admitted) else None for answer in answers] == expired


def test_only_some_dialects_mind_the_beta_header_or_a_missing_model() -> None:
    assert isinstance(door("sk", dialect="beta").admit(Secret("sk"), model="m", intent="", beta=True, now=0), Admitted)
    admitted = door("sk", dialect="hf").admit(Secret("sk"), model="", intent="", beta=False, now=0)
    assert isinstance(admitted, Admitted)
    assert admitted.settings.model == "speech-to-speech"
