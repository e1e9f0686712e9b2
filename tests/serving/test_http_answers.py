"""What the server answers: the scores of the pipeline in every form of request, and one line for every error."""

import base64
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub
import jsonschema
import numpy as np
import pytest
import starlette.formparsers
from huggingface_hub import InferenceClient
from prometheus_client.parser import text_string_to_metric_families


def encoded(content):
    return base64.b64encode(content).decode()


def as_json(server, inputs, **parameters):
    return server.client.post("/predict", json={"inputs": inputs, "parameters": parameters})


@pytest.fixture(scope="module")
def expected(served_model, clips):
    """The answers of the pipeline, one clip at a time."""
    return [served_model.classify(clip) for clip in clips]


def equal(answer, expected):
    scores = {row["label"]: row["score"] for row in expected}
    assert {row["label"] for row in answer} <= scores.keys()
    for row in answer:
        assert row["score"] == pytest.approx(scores[row["label"]], abs=1e-5)
    return len(answer)


def test_every_form_of_request_gives_the_scores_of_the_pipeline(server, clips, expected):
    assert equal(server.post(clips[0]).json(), expected[0]) == 4
    assert equal(server.post(clips[0], "AUDIO/x-wav; rate=16000", params={"top_k": 2}).json(), expected[0]) == 2
    for kind in ("application/octet-stream", None):
        assert equal(server.post(clips[0], kind).json(), expected[0]) == 4
    assert equal(as_json(server, encoded(clips[1])).json(), expected[1]) == 4
    assert equal(server.client.post("/predict", json={"inputs": encoded(clips[1])}).json(), expected[1]) == 4
    assert equal(as_json(server, base64.encodebytes(clips[1]).decode()).json(), expected[1]) == 4  # in lines
    several = as_json(server, [encoded(clip) for clip in clips[:3]], top_k=1).json()
    assert [equal(answer, each) for answer, each in zip(several, expected, strict=False)] == [1, 1, 1]
    one = server.client.post("/predict", files={"file": clips[2]}, params={"top_k": 3})
    assert equal(one.json(), expected[2]) == 3
    files = [("files", (f"{number}.wav", clip)) for number, clip in enumerate(clips[:2])]
    two = server.client.post("/predict", files=files).json()
    assert [equal(answer, each) for answer, each in zip(two, expected, strict=False)] == [4, 4]


def test_the_client_of_the_hub_can_be_used(server, clips, expected, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = InferenceClient(model=f"{server.client.base_url}/predict")
    answers = client.audio_classification(clips[0]), client.audio_classification(clips[0], top_k=2)
    for answer, count in zip(answers, (4, 2), strict=True):
        assert equal([{"label": row.label, "score": row.score} for row in answer], expected[0]) == count


def test_parameters_have_the_meaning_that_they_have_in_the_pipeline(server, served_model, tone, encode):
    long = encode(tone(1.7))
    options = {"window_s": 0.5, "stride_s": 0.4, "return_timeline": True, "abstain": 0.9, "top_k": 2}
    whole = served_model.classify(long, **options)
    for answer in (as_json(server, encoded(long), **options).json(), server.post(long, params=options).json()):
        assert answer["abstained"] == whole["abstained"] and answer["threshold"] == 0.9
        assert [window["start"] for window in answer["timeline"]] == [0.0, 0.4, 0.8, 1.2]
        for window, other in zip(answer["timeline"], whole["timeline"], strict=True):
            assert equal(window["scores"], other["scores"]) == 2


def test_requests_at_the_same_time_share_batches_and_have_the_answers_of_single_ones(serving, clips, expected):
    with serving() as server, ThreadPoolExecutor(9) as pool:
        server.gate.is_open.clear()
        first = pool.submit(server.post, clips[0])
        server.wait_for(lambda: server.gate.batches == [1])  # the model is busy with one clip
        others = [pool.submit(server.post, clip, params={"top_k": 1 + n % 2}) for n, clip in enumerate(clips)]
        server.wait_for(lambda: server.service.worker._queue.qsize() == len(clips))
        server.gate.is_open.set()
        assert equal(first.result().json(), expected[0]) == 4
        for number, (answer, each) in enumerate(zip(others, expected, strict=True)):
            assert equal(answer.result().json(), each) == 1 + number % 2
        assert server.gate.batches == [1, 4, 4]  # clips with the same parameters


def test_a_clip_waits_for_those_that_are_being_decoded(serving, clips):
    with serving(max_wait_s=30) as server:
        answers = as_json(server, [encoded(clip) for clip in clips]).json()
        assert len(answers) == 8 and server.gate.batches == [8]
        assert server.post(clips[0]).status_code == 200  # alone, it does not wait
        assert server.gate.batches == [8, 1]


BASE64 = "expected base64-encoded audio or a list of it"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"inputs": "https://example.org/a.wav"}, 422, "inputs: got a URL, which is not downloaded; expected base64-"),
        ({"inputs": ["AAAA", "/etc/passwd"]}, 422, "inputs[1]: got a string that is not base64; expected base64-"),
        ({"inputs": []}, 422, f"inputs: got []; {BASE64}."),
        ({"inputs": [3]}, 422, f"inputs: got a list; {BASE64}."),
        ({"inputs": {"path": "a.wav"}}, 422, f"inputs: got an object; {BASE64}."),
        ({}, 422, f"inputs is missing; {BASE64}."),
        ({"inputs": "AAAA", "input": "AAAA"}, 422, "input is not a field; expected one of inputs, parameters."),
        ("[" * 100_000, 400, "the request body is not JSON; "),
        ('{"inputs": "\\ud800"}', 400, "the request body is not JSON; "),
        ({"inputs": "é"}, 422, "inputs: got a string that is not base64; "),
        ({"inputs": "AAAA", "\u202e": 1}, 422, "\\u202e is not a field; "),
        ([], 422, "the request body is not a JSON object; "),
        ("{", 400, "the request body is not JSON; "),
        ({"inputs": "AAAA", "parameters": {"topk": 1}}, 422, "topk is not a field; expected one of top_k, "),
        ({"inputs": "AAAA", "parameters": {"top_k": 0}}, 422, "top_k: got 0; expected an integer of at least 1"),
        ({"inputs": "AAAA", "parameters": {"top_k": "3"}}, 422, 'top_k: got "3"; expected an integer'),
        ({"inputs": "AAAA", "parameters": {"window_s": 0.01}}, 422, "window_s: got 0.01; expected seconds from 0.1"),
        ({"inputs": "AAAA", "parameters": {"stride_s": 1e99}}, 422, "stride_s: got 1e+99; expected seconds"),
        ({"inputs": "AAAA", "parameters": {"abstain": 2}}, 422, "abstain: got 2; expected true, false or a threshold"),
        ({"inputs": "AAAA", "parameters": {"abstain": True}}, 422, "abstain: got True, but the model has no "),
        ({"inputs": "AAAA", "parameters": {"window_s": 1, "stride_s": 2}}, 422, "stride_s: got 2.0; expected at most"),
        ({"inputs": "AAAA", "parameters": {"window_s": 9, "stride_s": 0.5}}, 422, "stride_s: got 0.5 with windows of"),
        ({"inputs": "AAAA", "parameters": {"function_to_apply": "none"}}, 422, 'function_to_apply: got "none"; '),
        ({"inputs": "AAAA", "parameters": "x" * 90}, 422, "parameters: got a string; expected an object"),
    ],
)
def test_invalid_json_requests(server, body, status, error):
    content = body if isinstance(body, str) else json.dumps(body)
    answer = server.post(content, "application/json")
    assert answer.status_code == status and answer.json()["error"].startswith(error)
    assert answer.json().keys() == {"error"} and "\n" not in answer.json()["error"]


def test_invalid_parameters_in_the_address(server, clips):
    assert server.post(clips[0], params={"top_k": "x"}).json()["error"].startswith('top_k: got "x"; expected an int')
    assert server.post(clips[0], params={"inputs": "x"}).json()["error"].startswith("inputs is not a field; ")
    answer = server.post('{"inputs": "AAAA"}', "application/json", params={"top_k": 1})
    assert answer.status_code == 422 and "expected them in the JSON body" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png", "x" * 99])
def test_other_content_types_are_rejected(server, clips, kind):
    answer = server.post(clips[0], kind)
    assert answer.status_code == 415
    assert answer.json()["error"].startswith(f"got the content type '{kind[:60]}'; expected application/json, ")


def test_the_answer_to_a_rejected_upload_arrives(server):
    """The server closes the connection; with unread data, the client would get a reset instead of the answer."""
    assert {server.post(bytes(900_000), "text/plain").status_code for _ in range(20)} == {415}


def test_invalid_multipart_bodies(server, clips):
    post = server.client.post
    field = post("/predict", files={"file": clips[0]}, data={"top_k": "1"})
    assert field.status_code == 422 and "Put parameters into the address." in field.json()["error"]
    kind = "multipart/form-data; boundary=x"
    empty = server.post(b"--x--\r\n", kind)
    assert empty.status_code == 422 and "without a file" in empty.json()["error"]
    for body, header in ((b"--y\r\nwrong", kind), (b"--x", "multipart/form-data")):
        broken = server.post(body, header)
        assert broken.status_code == 400 and "a multipart body that cannot be parsed" in broken.json()["error"]


def test_recordings_that_cannot_be_used(server, tone, encode):
    silence = server.post(encode(tone(0.3) * 0))
    assert silence.status_code == 400 and silence.json()["reason"] == "silent"
    assert silence.json()["error"].startswith("the request body: got silence ")
    assert server.post(b"").json()["reason"] == "empty"
    assert server.post(encode(tone(0.3))[:900]).json()["reason"] == "truncated"
    answers = as_json(server, [encoded(b"text"), encoded(encode(tone(0.02))), encoded(encode(tone(0.3)))]).json()
    assert [answer["reason"] for answer in answers[:2]] == ["undecodable", "too_short"] and len(answers[2]) == 4
    assert answers[0]["error"].startswith("inputs[0]: got a file starting with b'text'")
    named = server.client.post("/predict", files={"f": ("../folder/a\x07b.wav", b"text")}).json()
    assert named["error"].startswith("a%07b.wav: got ")  # as the client encodes it


def test_uploads_are_not_written_to_disk(server, tone, encode, monkeypatch):
    def rollover(self):
        raise AssertionError("a file on disk")

    monkeypatch.setattr(starlette.formparsers.SpooledTemporaryFile, "rollover", rollover)
    content = encode(tone(40.0))
    assert len(content) > starlette.formparsers.MultiPartParser.spool_max_size
    assert server.client.post("/predict", files={"f": content}).status_code == 200


def test_a_failure_of_the_model_fails_one_clip_and_its_message_is_not_shown(serving, clips, expected, caplog):
    caplog.set_level(logging.INFO)
    with serving() as server, ThreadPoolExecutor(4) as pool:
        server.gate.is_open.clear()
        server.gate.breaks_at = "secret"
        first = pool.submit(server.post, clips[0])
        server.wait_for(lambda: server.gate.batches == [1])
        names = ("secret.wav", "other.wav")
        later = [pool.submit(server.client.post, "/predict", files={"f": (name, clips[1])}) for name in names]
        server.wait_for(lambda: server.service.worker._queue.qsize() == 2)
        server.gate.is_open.set()
        failed, other = (each.result() for each in later)
        assert first.result().status_code == 200 and equal(other.json(), expected[1]) == 4
        assert failed.status_code == 500 and failed.json()["error"].startswith("the server failed to classify ")
        assert server.gate.batches[:2] == [1, 2] and "secret" not in failed.text + caplog.text
        (line,) = [record.getMessage() for record in caplog.records if " 500, " in record.getMessage()]
        assert "(RuntimeError, " in line
        assert server.client.get("/health").json()["status"] == "ready"


def test_scores_that_are_no_numbers_are_an_error_of_the_server(serving, clips, monkeypatch):
    with serving() as server:
        answer = {"error": "inputs: got scores that are not numbers; expected probabilities.", "reason": "not_finite"}
        monkeypatch.setattr(server.gate, "classify", lambda sources, **options: [answer] * len(sources))
        assert server.post(clips[0]).status_code == 500 and server.post(clips[0]).json() == answer
        assert as_json(server, [encoded(clips[0])]).json() == [answer]


def test_one_line_per_request_without_names_and_secrets(server, clips, caplog):
    caplog.set_level(logging.INFO)
    headers = {"Authorization": "Bearer hidden", "Cookie": "hidden"}
    files = {"f": ("hidden.wav", clips[0])}
    assert server.client.post("/predict", files=files, headers=headers, params={"top_k": 1}).status_code == 200
    assert server.client.post("/predict", json={"inputs": "hidden"}, headers=headers).status_code == 422
    server.client.get("/health", headers=headers)
    server.client.get("/metrics")
    # pytest listens to uvicorn.access, which is off.
    lines = [each.getMessage() for each in caplog.records if each.name in ("hf_ser.serving", "uvicorn.error", "root")]
    assert [line.rpartition(",")[0] for line in lines] == [
        "POST /predict 200, clips: 1",
        "POST /predict 422, clips: 0",
    ]
    assert not logging.getLogger("uvicorn.access").propagate and "hidden" not in caplog.text


# --- the other addresses ----------------------------------------------------------------------------------------


def test_health_start_page_and_unknown_addresses(server):
    health = server.client.get("/health")
    assert health.status_code == 200 and health.json()["labels"] == ["neutral", "happy", "sad", "angry"]
    assert health.json()["status"] == "ready" and health.json()["model"] == "tiny"
    assert "25 MB and 32 clips per request, 600 s per clip" in server.client.get("/").text
    assert "/openapi.json" in server.client.get("/docs").text
    for method, path, status in (("GET", "/predict", 405), ("GET", "/nothing", 404), ("PUT", "/health", 405)):
        answer = server.client.request(method, path)
        assert answer.status_code == status and "; expected POST /predict, " in answer.json()["error"]


def test_metrics_count_requests_clips_and_seconds(serving, clips, tone, encode):
    with serving() as server:
        assert server.post(encode(tone(0.5))).status_code == 200
        assert server.post(b"text").status_code == 400
        text = server.client.get("/metrics").text
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["hf_ser_requests_total", ("200",)] == samples["hf_ser_requests_total", ("400",)] == 1
    assert samples["hf_ser_request_seconds_count", ()] == 2 and samples["hf_ser_batch_clips_sum", ()] == 1
    assert samples["hf_ser_audio_seconds_total", ()] == pytest.approx(0.5) and samples["hf_ser_queue_clips", ()] == 0
    assert samples["process_resident_memory_bytes", ()] > 0


def test_the_description_is_true(server, clips, tone, encode):
    described = server.client.get("/openapi.json").json()
    operation = described["paths"]["/predict"]["post"]
    validator = jsonschema.Draft202012Validator

    def check(schema, instance):
        validator({**schema, "components": described["components"]}).validate(instance)

    content = operation["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data", "audio/*", "application/octet-stream"}
    body = content["application/json"]["schema"]
    check(body, body["examples"][0])
    asked = {"inputs": encoded(clips[0]), "parameters": {"top_k": 2, "return_timeline": True, "abstain": 0.3}}
    check(body, asked)
    with pytest.raises(jsonschema.ValidationError):
        check(body, {"inputs": [], "parameters": {"top_k": 0}})
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == set(body["properties"]["parameters"]["anyOf"][0]["properties"])
    assert {*map(str, (200, 400, 408, 413, 415, 422, 500, 503))} == set(operation["responses"])
    pause = np.concatenate([tone(0.6), np.zeros(16_000, np.float32), tone(0.6)])
    answers = [
        server.post(clips[0]),
        server.client.post("/predict", json=asked),
        server.post(encode(pause), params={"window_s": 0.5, "return_timeline": True}),
        as_json(server, [encoded(clips[0]), encoded(b"text")]),
        server.post(b"text"),
        server.post(clips[0], "text/plain"),
        server.post(clips[0], params={"top_k": 0}),
    ]
    assert any(window["silent"] for window in answers[2].json()["timeline"])
    for answer in answers:
        check(operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"], answer.json())
    health = described["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    check(health, server.client.get("/health").json())
