"""`talkwire serve` as a program: dialect and faults from its command line, changed while it runs."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

Start = Callable[..., Any]
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
KEY = {"Authorization": "Bearer sk-right"}


@pytest.mark.engines
def test_it_has_the_bad_day_it_was_told_to_have(talkwire: Start, tmp_path: Path) -> None:
    bad_day = tmp_path / "bad_day.toml"
    bad_day.write_text('[[fault]]\ntype = "refuse_upgrade"\nstatus = 429\nretry_after_s = 3\n', encoding="utf-8")
    options = ("--port=0", "--json", "--dialect=azure", f"--faults={bad_day}", "--fault-seed=7")
    server = talkwire("serve", *options, environ={"OPENAI_API_KEY": "sk-right"})
    port = json.loads(server.until("listening"))["port"]
    url = f"ws://127.0.0.1:{port}/openai/v1/realtime?model=m"
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=KEY, proxy=None):
        pass
    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (429, "3")
    with httpx.Client(verify=NO_CERTIFICATES, headers=KEY) as client:
        faults = f"http://127.0.0.1:{port}/talkwire/faults"
        shown = client.get(faults).json()
        assert (shown["seed"], shown["connections"], shown["faults"][0]["retry_after_s"]) == (7, 1, 3)
        assert client.delete(faults).status_code == 200
    with connect(url, additional_headers=KEY, proxy=None) as healthy:
        assert json.loads(healthy.recv(10))["type"] == "session.created"
