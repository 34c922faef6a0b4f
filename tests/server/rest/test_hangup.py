"""Clients that leave, and clients that stay but do not read. (Those that leave: with the resources.)"""

import http.client
import socket
from typing import Any

import pytest
import trio

WANTED = b'{"model": "tts", "voice": "heart", "input": "Hello.", "response_format": "pcm"}'


def ask_and_read_nothing(line: socket.socket) -> None:
    line.sendall(
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(WANTED), WANTED)
    )


async def test_a_client_that_never_reads_holds_neither_memory_nor_the_end_of_the_server(
    serving: Any, voice: Any
) -> None:
    voice.chunks = 1_000_000
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with serving() as url:
            line.connect(("127.0.0.1", int(url.rpartition(":")[2])))
            ask_and_read_nothing(line)
            await trio.to_thread.run_sync(voice.wait_until_silent, abandon_on_cancel=True)
            ended = trio.current_time()
        assert trio.current_time() - ended < 2


async def test_a_connection_carries_one_request_after_another(serving: Any) -> None:
    def ask_twice(port: int) -> list[int]:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        statuses = []
        for path in ("/v1/audio/speech", "/v1/realtime/client_secrets", "/v1/chat/completions"):
            line.request("POST", path, WANTED, {"Authorization": "Bearer any"})
            answer = line.getresponse()
            answer.read()
            statuses.append(answer.status)
        line.close()
        return statuses

    async with serving() as url:
        assert await trio.to_thread.run_sync(ask_twice, int(url.rpartition(":")[2])) == [200, 400, 400]


@pytest.mark.parametrize(
    ("path", "content_type", "deadline"),
    [
        ("/v1/audio/speech", "application/json", "requests.BODY_DEADLINE_S"),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=b", "transcriptions.UPLOAD_DEADLINE_S"),
    ],
)
async def test_a_client_that_stalls_in_its_body_is_not_waited_for(
    serving: Any, monkeypatch: pytest.MonkeyPatch, path: str, content_type: str, deadline: str
) -> None:
    monkeypatch.setattr(f"pipeline.server.rest.{deadline}", 0.1)

    def stall(port: int) -> int:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        line.putrequest("POST", path)
        for header, value in [
            ("Authorization", "Bearer any"),
            ("Content-Type", content_type),
            ("Content-Length", "99"),
        ]:
            line.putheader(header, value)
        line.endheaders(b"--b")
        status = line.getresponse().status
        line.close()
        return status

    async with serving() as url:
        assert await trio.to_thread.run_sync(stall, int(url.rpartition(":")[2])) == 408
