"""Large, slow, endless and too many requests: each is bounded, and others are answered."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hf_ser.remote_code.windows import read_windows
from hf_ser.serving import clip_decoding, http_protocol
from hf_ser.serving.serving_limits import RequestError, ServingLimits, UploadMemory


@pytest.fixture(scope="module")
def small(serving):
    """A server with low limits."""
    with serving(max_body_mb=0.1, max_duration_s=2.0, max_clips=3, queue_size=4) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(serving):
    """A server with short timeouts, which are still long enough for a busy machine."""
    with serving(upload_timeout_s=2.0, queue_timeout_s=2.0) as running:
        yield running


def received(connection):
    """All that arrives until the server closes the connection."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts).decode()


HEADERS = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: audio/wav\r\n"


def test_bodies_that_are_too_large_are_not_read_to_their_end(small):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 1e9:
            sent += 50_000
            yield bytes(50_000)

    for content in (bytes(100_001), endless()):
        answer = small.post(content)
        assert answer.status_code == 413 and answer.headers["connection"] == "close"
        assert answer.json()["error"].startswith("got a request body of more than 0.1 MB; expected at most that. ")
    assert 100_000 < sent < 1e8  # what the buffers of the system hold, but not all
    assert small.service._memory.held_bytes == 0


def test_bodies_up_to_the_limit_are_read(small):
    answer = small.post(bytes(100_000))
    assert answer.status_code == 400 and answer.json()["reason"] == "undecodable"


def test_too_many_clips_in_json_and_multipart(small):
    for options in ({"json": {"inputs": ["AAAA"] * 4}}, {"files": [("f", ("a.wav", b"text"))] * 4}):
        answer = small.client.post("/predict", **options)
        assert answer.status_code == 413
        assert (
            answer.json()["error"] == "got more than 3 clips; expected at most 3 per request. Send several requests."
        )


def test_a_small_file_with_much_audio_is_not_decoded_to_its_end(small, encode, monkeypatch):
    content = encode(np.zeros(16_000 * 1200, np.int16), format="FLAC")
    assert len(content) < 100_000
    windows = []

    def counted(source, plan):
        for window in read_windows(source, plan):
            windows.append(window)
            yield window

    monkeypatch.setattr(clip_decoding, "read_windows", counted)
    answer = small.post(content, "audio/flac")
    assert answer.status_code == 413 and answer.json()["reason"] == "too_long" and len(windows) == 1
    assert answer.json()["error"] == ("the request body: got more than 2 s of audio; expected at most that. Split it.")


def test_a_long_clip_in_a_list_costs_only_its_own_answer(small, encode, tone):
    files = [("f", (name, encode(tone(seconds), subtype="PCM_U8"))) for name, seconds in (("a", 2.5), ("b", 0.4))]
    long, short = small.client.post("/predict", files=files).json()
    assert long["reason"] == "too_long" and long["error"].startswith("a: got more than 2 s") and len(short) == 4


def test_slow_uploads_end_with_408(impatient):
    with impatient.connect() as connection:
        connection.sendall(f"{HEADERS}Content-Length: 1000\r\n\r\nRIFF".encode())
        answer = received(connection)
    assert answer.startswith("HTTP/1.1 408 ") and "the upload was not complete after 2 s; expected" in answer


def test_connections_without_a_request_are_closed(small, monkeypatch, clips):
    monkeypatch.setattr(http_protocol, "HEADERS_TIMEOUT_S", 1.0)
    for start in (b"", b"POST /predict HTTP/1.1\r\nHost: te"):
        with small.connect() as connection:
            connection.sendall(start)
            assert received(connection) == ""
    with small.connect() as connection:  # a complete request, then the start of another one
        body = f"{HEADERS}Content-Length: {len(clips[0])}\r\n\r\n".encode() + clips[0]
        connection.sendall(body + b"POST /pre")
        assert received(connection).startswith("HTTP/1.1 200 ")


def test_uploads_that_the_client_breaks_off_leave_nothing_behind(small, clips):
    for end in ("Content-Length: 1000\r\n\r\nRIFF", "Transfer-Encoding: chunked\r\n\r\nzz\r\nRIFF"):
        with small.connect() as connection:
            connection.sendall(f"{HEADERS}{end}".encode())
    small.wait_for(lambda: not small.server.server_state.tasks)
    assert small.service._memory.held_bytes == 0 and small.post(clips[0]).status_code == 200


def test_overload_is_answered_at_once_and_ends(serving, clips):
    with serving(queue_size=3, max_clips=2) as server, ThreadPoolExecutor(4) as pool:
        server.gate.is_open.clear()
        waiting = [pool.submit(server.post, clip) for clip in clips[:2]]
        server.wait_for(lambda: server.service.worker.places_taken == 2)
        two = server.client.post("/predict", files=[("f", ("a.wav", clips[0]))] * 2)  # one place is left
        waiting.append(pool.submit(server.post, clips[2]))
        server.wait_for(lambda: server.service.worker.places_taken == 3)
        one = server.post(clips[3])
        for refused, taken in ((two, 2), (one, 3)):
            assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
            assert refused.json()["error"] == (
                f"{taken} clips are in the queue, which has 3 places; expected fewer requests at a time. Try again in "
                "1 s."
            )
        assert server.client.get("/health").status_code == 200
        server.gate.is_open.set()
        assert [each.result().status_code for each in waiting] == [200, 200, 200]
        assert server.post(clips[3]).status_code == 200 and server.service.worker.places_taken == 0


def test_a_request_that_waits_too_long_is_answered_and_not_classified_later(impatient, clips):
    impatient.gate.is_open.clear()
    impatient.gate.batches.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(impatient.post, clips[0])
        impatient.wait_for(lambda: impatient.gate.batches == [1])
        second = impatient.post(clips[1])
    for late in (first.result(), second):
        assert late.status_code == 503 and late.json()["error"].startswith("no answer within 2 s; expected fewer ")
    impatient.gate.is_open.set()
    assert impatient.post(clips[2]).status_code == 200 and impatient.gate.batches == [1, 1]


def test_the_clips_of_clients_that_have_gone_are_not_classified(serving, clips):
    with serving() as server, ThreadPoolExecutor(1) as pool:
        server.gate.is_open.clear()
        first = pool.submit(server.post, clips[0])
        server.wait_for(lambda: server.gate.batches == [1])
        with server.connect() as connection:
            connection.sendall(f"{HEADERS}Content-Length: {len(clips[1])}\r\n\r\n".encode() + clips[1])
            server.wait_for(lambda: server.service.worker.places_taken == 2)
        server.wait_for(lambda: server.service.worker.places_taken == 1)
        server.gate.is_open.set()
        assert first.result().status_code == 200 and server.post(clips[2]).status_code == 200
        assert server.gate.batches == [1, 1]
        assert 'hf_ser_requests_total{status="499"} 1.0' in server.client.get("/metrics").text


def test_long_clips_that_wait_are_limited_in_total(serving, clips, tone, encode):
    with serving(max_duration_s=1.0) as server, ThreadPoolExecutor(8) as pool:
        server.gate.is_open.clear()
        clip = encode(tone(0.9))
        waiting = [pool.submit(server.post, clip) for _ in range(6)]
        server.wait_for(lambda: server.service.worker._samples_waiting == 6 * 14_400)
        refused = server.post(clip)
        assert refused.status_code == 503 and refused.json()["error"].startswith("5 s of audio wait; expected fewer ")
        server.gate.is_open.set()
        assert {each.result().status_code for each in waiting} == {200}
        assert server.service.worker._samples_waiting == 0


def test_all_uploads_together_are_limited():
    memory = UploadMemory(ServingLimits(max_body_mb=1))
    with memory.of_request() as first, memory.of_request() as second:
        first.add(5_000_000)
        second.add(3_000_000)
        with pytest.raises(RequestError, match=r"8 MB of uploads are in memory; expected fewer") as caught:
            second.add(1)
        assert caught.value.status == 503 and second.size == 3_000_000
    assert memory.held_bytes == 0


def test_a_worker_that_has_ended_is_reported(serving, clips):
    with serving() as server:
        server.service.worker.close()
        health, answer = server.client.get("/health"), server.post(clips[0])
        assert health.status_code == 503 and health.json()["status"] == "not ready"
        assert answer.status_code == 503 and answer.json()["error"].startswith("the model has stopped; ")


def test_many_clients_at_once_are_all_answered(serving, clips):
    with serving(queue_size=32) as server, ThreadPoolExecutor(16) as pool:
        codes = [each.status_code for each in pool.map(lambda number: server.post(clips[number % 8]), range(96))]
        assert codes == [200] * 96 and sum(server.gate.batches) == 96
        assert server.service.worker.places_taken == server.service._memory.held_bytes == 0
