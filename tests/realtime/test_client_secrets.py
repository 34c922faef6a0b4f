import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.realtime.client_secrets import (
    MAX_SECRET_LENGTH,
    ClientSecret,
    decode_client_secret,
    encode_backend_answer,
    encode_mint_request,
    is_device_id,
    mint_bearer,
    public_url,
)
from pipeline.vocabulary.errors import ConfigurationError, ProtocolError
from pipeline.vocabulary.signals import Secret

CANARY = "ek_canary-7f3a"
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)


@pytest.mark.parametrize(
    "body",
    [
        b'{"clientSecret": "ek_1", "expiresAt": 1700000600}',
        b'{"value": "ek_1", "expires_at": 1700000600, "session": {"type": "realtime", "expires_at": 0}}',
        b'{"value": "ek_1", "expires_at": 1700000600.0}',
    ],
)
def test_both_shapes_are_understood(body: bytes) -> None:
    assert decode_client_secret(body) == ClientSecret(Secret("ek_1"), 1_700_000_600)


@given(value=VISIBLE, expires_at_s=st.integers(0, 2**53))
def test_what_the_backend_writes_a_device_reads(value: str, expires_at_s: int) -> None:
    minted = ClientSecret(Secret(value), expires_at_s)
    assert decode_client_secret(encode_backend_answer(minted)) == minted


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<!doctype html><title>Log in</title>", "a web page"),
        (b'{"value": "ek_canary-7f3a", ', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "no"),
        (b"[]", "no client secret"),
        (b"null", "no client secret"),
        (b"{}", "no client secret with its expiry"),
        (b'{"value": "ek_canary-7f3a"}', "no client secret with its expiry"),
        (b'{"value": "ek_canary-7f3a", "expiresAt": 1}', "no client secret with its expiry"),
        (b'{"value": 7, "expires_at": 1}', r"\$.value"),
        (b'{"clientSecret": "ek_canary-7f3a", "expiresAt": "1700000600"}', r"\$.expiresAt"),
        (b'{"clientSecret": "ek_canary-7f3a", "expiresAt": null}', r"\$.expiresAt"),
        (b'{"clientSecret": "ek_canary-7f3a", "expiresAt": true}', r"\$.expiresAt"),
        (b'{"clientSecret": "ek_canary-7f3a", "expiresAt": NaN}', "not JSON"),
        (b'{"clientSecret": "ek_canary-7f3a", "expiresAt": 1e999}', "no"),
        (b'{"clientSecret": "", "expiresAt": 1}', "no header may"),
        (b'{"clientSecret": "ek_canary-7f3a\\r\\nX: 1", "expiresAt": 1}', "no header may"),
        (b'{"clientSecret": "ek_canary-7f3a\\n", "expiresAt": 1}', "no header may"),
        ('{"clientSecret": "ek_canary-7f3a\u00e9", "expiresAt": 1}'.encode(), "no header may"),
        (b'{"clientSecret": "%b", "expiresAt": 1}' % (b"k" * (MAX_SECRET_LENGTH + 1)), "no header may"),
    ],
)
def test_a_bad_answer_is_refused_without_showing_it(body: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        decode_client_secret(body)
    assert CANARY not in caught.value.message
    assert "\n" not in caught.value.message


@settings(max_examples=60)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps).map(str.encode),
    )
)
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    try:
        answer = decode_client_secret(body)
    except ProtocolError:
        return
    assert math.isfinite(answer.expires_at_s)


def test_a_mint_request_leaves_to_the_provider_what_is_not_said() -> None:
    assert json.loads(encode_mint_request()) == {}
    assert json.loads(encode_mint_request(ttl_s=600, model="gpt-realtime")) == {
        "expires_after": {"anchor": "created_at", "seconds": 600},
        "session": {"type": "realtime", "model": "gpt-realtime"},
    }


def test_only_a_provider_on_this_machine_does_without_a_key() -> None:
    assert mint_bearer(Secret("sk-1"), "https://api.example/mint", "token.url") == "Bearer sk-1"
    assert mint_bearer(None, "http://[::1]:8765/mint", "token.url") == "Bearer local"
    with pytest.raises(ConfigurationError, match=r"^token\.url: .*OPENAI_API_KEY_FILE"):
        mint_bearer(None, "https://api.example/mint", "token.url")


def test_a_url_is_shown_without_its_query() -> None:
    assert public_url(f"https://api.example:8443/mint?key={CANARY}") == "https://api.example:8443/mint"


@pytest.mark.parametrize("device", ["kiosk", "lobby-2.north:a_b", "K" * 64])
def test_a_device_id(device: str) -> None:
    assert is_device_id(device)


@pytest.mark.parametrize("device", ["", "K" * 65, "kiosk 1", "kiosk\n", "kiösk", "a/b", "٣"])
def test_no_device_id(device: str) -> None:
    assert not is_device_id(device)
