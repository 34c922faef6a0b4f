"""Clients that leave, and clients that stay but do not read. (Those that leave: with the resources.)"""

import socket
import threading
from typing import Any

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
    made = threading.Event()
    voice.chunks = 1_000_000
    voice.between = made.set

    def wait_until_no_more_is_made() -> None:
        while made.wait(0.3):
            made.clear()

    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with serving() as url:
            line.connect(("127.0.0.1", int(url.rpartition(":")[2])))
            ask_and_read_nothing(line)
            await trio.to_thread.run_sync(made.wait, 5)
            await trio.to_thread.run_sync(wait_until_no_more_is_made)
            ended = trio.current_time()
        assert trio.current_time() - ended < 2
    assert voice.stopped.is_set()
