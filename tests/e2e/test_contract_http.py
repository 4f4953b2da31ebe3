"""What holds for every call: headers, problems, and input that nobody should send."""

import http.client
import json
import re
import socket
from urllib.parse import urlsplit

import pytest

from tests.e2e.contract_client import Api, Group, Runner, fresh, settle


@pytest.fixture(scope="module")
def group(api: Api) -> Group:
    """A group that tests of reading share."""
    return api.group()


@pytest.fixture(scope="module")
def runner(group: Group) -> Runner:
    """Its leader."""
    (runner,) = group.runners(1)
    return runner


READS = [
    "/v1/runner-groups",
    "/v1/runner-groups/{group}",
    "/v1/runner-groups/{group}/leader",
    "/v1/runner-groups/{group}/explain",
    "/v1/runner-groups/{group}/events",
    "/v1/runner-groups/{group}/runners",
    "/v1/runner-groups/{group}/jobs",
    "/v1/runners/{runner}",
    "/v1/tokens",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
]


@pytest.mark.parametrize("path", READS)
def test_every_answer_names_the_version(api: Api, group: Group, runner: Runner, path: str) -> None:
    """Each answer carries `Election-Api: 1.N`."""
    answer = api.get(path.format(group=group.id, runner=runner.id))
    assert answer.status == 200
    assert re.fullmatch(r"1\.\d+", answer.headers["election-api"])


@pytest.mark.parametrize("path", READS)
def test_head_is_get_without_the_body(api: Api, group: Group, runner: Runner, path: str) -> None:
    """What probes and proxies ask with `HEAD` has the status and headers of `GET`."""
    path = path.format(group=group.id, runner=runner.id)
    head, get = api.call("HEAD", path), api.get(path)
    assert (head.status, head.text) == (200, "")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0
    if path not in ("/healthz", "/readyz", "/openapi.json"):
        assert api.as_(None).call("HEAD", path).status == 401


def test_head_does_not_follow(api: Api, group: Group) -> None:
    """Of a stream `HEAD` tells the headers and ends."""
    answer = api.call("HEAD", f"{group.path}/events", headers={"accept": "text/event-stream"})
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_errors_name_the_version_too(api: Api, group: Group) -> None:
    """Refusals of every kind carry `Election-Api: 1.N`, bodies of deletion too."""
    answers = [
        api.get("/v1/nothing"),
        api.call("PUT", "/v1/runner-groups"),
        api.as_(None).get(group.path),
        api.as_("nonsense").get(group.path),
        api.post("/v1/runner-groups", {"nonsense": 1}),
        api.call("DELETE", api.group().path),
        api.call("POST", "/v1/runner-groups", raw=b"{"),
        api.call("OPTIONS", group.path),
        api.call("HEAD", group.path),
    ]
    for answer in answers:
        assert re.fullmatch(r"1\.\d+", answer.headers["election-api"]), answer


def test_the_service_answers_without_a_token(api: Api) -> None:
    """`/healthz`, `/readyz` and `/openapi.json` need no token."""
    nobody = api.as_(None)
    nobody.get("/healthz").ok()
    nobody.get("/readyz").ok()
    document = nobody.get("/openapi.json").ok()
    assert document["openapi"].startswith("3.1")
    assert "/v1/runner-groups/{group}" in document["paths"]


def test_the_docs_need_no_other_host(api: Api) -> None:
    """`/docs` is there and loads nothing from elsewhere."""
    answer = api.as_(None).get("/docs")
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("text/html")
    assert re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", answer.text) == []
    assert not re.search(r"@import|url\(\s*['\"]?https?:", answer.text)


def test_metrics_are_for_viewers(api: Api) -> None:
    """`/metrics` needs a viewer's token and is in the text format of Prometheus."""
    api.as_(None).get("/metrics").refused(401, "unauthenticated")
    viewer = api.as_(api.post("/v1/tokens", {"kind": "viewer"}).ok(201)["token"])
    answer = viewer.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE " in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runner-groups/no-such-group",
        "/v1/runner-groups/no-such-group/leader",
        "/v1/runner-groups/no-such-group/explain",
        "/v1/runner-groups/no-such-group/events",
        "/v1/runner-groups/no-such-group/runners",
        "/v1/runner-groups/no-such-group/jobs",
        "/v1/runners/no-such-runner",
        "/v1/jobs/no-such-job",
        "/v1",
        "/v1/",
        "/v2/runner-groups",
        "/nothing",
        "/v1/runner-groups/%00",
        "/v1/runner-groups/%ff%fe",
        "/v1/runner-groups/..%2f..%2fetc",
        "/v1/runner-groups/" + "x" * 5000,
        "/v1/runner-groups/G%C3%BCnther",
        "/v1/jobs/%F0%9F%90%88",
        "/v1/jobs/%ED%A0%80",
        "/v1/runners/%27%3B--",
        "/v1/runner-groups/a/b/c/d",
    ],
)
def test_what_is_not_there_is_a_problem(api: Api, path: str) -> None:
    """An address with nothing at it is 404 `not-found`, however odd."""
    api.get(path).refused(404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/runner-groups"),
        ("PATCH", "/v1/runner-groups/{group}/leader"),
        ("POST", "/v1/runner-groups/{group}"),
        ("DELETE", "/v1/runner-groups/{group}/jobs"),
        ("GET", "/v1/runners/{runner}/heart-beats"),
        ("GET", "/v1/runners/{runner}/jobs/claim"),
        ("PUT", "/v1/runners/{runner}/taint"),
        ("GET", "/v1/runner-groups/{group}/what-if"),
        ("POST", "/healthz"),
        ("BREW", "/v1/runner-groups"),
        ("TRACE", "/v1/runner-groups"),
    ],
)
def test_a_wrong_method_is_a_problem(
    api: Api, group: Group, runner: Runner, method: str, path: str
) -> None:
    """A method that an address does not take is 405 and says which it takes."""
    answer = api.call(method, path.format(group=group.id, runner=runner.id))
    answer.refused(405, "method-not-allowed")
    assert answer.headers["allow"]


WRITES = [
    ("POST", "/v1/runner-groups"),
    ("PATCH", "/v1/runner-groups/{group}"),
    ("PUT", "/v1/runner-groups/{group}/leader"),
    ("POST", "/v1/runner-groups/{group}/what-if"),
    ("POST", "/v1/runner-groups/{group}/runners"),
    ("POST", "/v1/runner-groups/{group}/jobs"),
    ("POST", "/v1/runners/{runner}/taint"),
    ("POST", "/v1/runners/{runner}/untaint"),
    ("POST", "/v1/runners/{runner}/drain"),
    ("POST", "/v1/runners/{runner}/undrain"),
    ("POST", "/v1/runners/{runner}/sessions"),
    ("POST", "/v1/runners/{runner}/heart-beats"),
    ("POST", "/v1/runners/{runner}/release"),
    ("POST", "/v1/runners/{runner}/jobs/claim"),
    ("POST", "/v1/jobs/no-such-job/settle"),
    ("POST", "/v1/tokens"),
]
NONSENSE = [
    b"{",
    b"[]",
    b"1",
    b'"x"',
    b"\xff\xfe",
    b"\x00",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b'{"runner_id": "\\ud800", "kind": "\\ud800", "name": "\\ud800"}',
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_nonsense_is_invalid(
    api: Api, group: Group, runner: Runner, method: str, path: str
) -> None:
    """A body that is not a JSON object of this call is refused, never a defect of the server."""
    where = path.format(group=group.id, runner=runner.id)
    for raw in NONSENSE:
        answer = api.call(method, where, raw=raw)
        assert answer.status in {400, 404, 413}, (raw[:40], answer)
        assert answer.body["code"] in {"invalid", "not-found", "payload-too-large"}


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("POST", "/v1/runner-groups", {}),
        ("PATCH", "/v1/runner-groups/{group}", {"settings": {}}),
        ("PUT", "/v1/runner-groups/{group}/leader", {"runner_id": None}),
        ("POST", "/v1/runner-groups/{group}/what-if", {"changes": []}),
        ("POST", "/v1/runner-groups/{group}/runners", {"name": "n"}),
        ("POST", "/v1/runner-groups/{group}/jobs", {"kind": "k"}),
        ("POST", "/v1/tokens", {"kind": "viewer"}),
    ],
)
def test_operator_calls_refuse_unknown_fields(
    api: Api, group: Group, method: str, path: str, known: dict[str, object]
) -> None:
    """A field that an operator's call does not have is refused, and the answer says which."""
    answer = api.call(method, path.format(group=group.id), {**known, "zzz_unknown": 1})
    assert "zzz_unknown" in answer.refused(400, "invalid")["detail"]


@pytest.mark.parametrize("verb", ["taint", "untaint", "drain", "undrain"])
def test_operator_calls_on_runners_refuse_unknown_fields(group: Group, verb: str) -> None:
    """Taints and drains are an operator's, so unknown fields are refused."""
    runner = group.runner()
    runner.api.post(f"{runner.path}/{verb}", {"zzz": 1}).refused(400, "invalid")


def test_runner_calls_ignore_unknown_fields(api: Api) -> None:
    """Sessions, heartbeats, claims, settlements and release ignore what they do not know."""
    group = api.group()
    runner = group.runner()
    standing = runner.open(zzz={"deep": [1]})
    runner.beat(zzz=1)
    job = group.job()
    got, token = runner.claim_one(standing["epoch"], zzz=[1])
    assert got["id"] == job["id"]
    settle(runner.own(), job["id"], token, "succeeded", zzz=None).ok()
    body = {"session_id": runner.session, "epoch": standing["epoch"], "zzz": 1}
    runner.own().post(f"{runner.path}/release", body).ok()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "x/y;=;"])
def test_odd_content_types_are_no_defect(api: Api, kind: str) -> None:
    """What a body calls itself never makes the server fail."""
    answer = api.call(
        "POST",
        "/v1/runner-groups",
        headers={"content-type": kind},
        raw=json.dumps({"id": fresh("typed")}).encode(),
    )
    assert answer.status in {201, 400, 415}, answer


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", [*READS, "/", "/docs", "/nothing"])
def test_head_and_options_are_no_defect(
    api: Api, group: Group, runner: Runner, method: str, path: str
) -> None:
    """HEAD and OPTIONS are answered or refused, never a defect."""
    answer = api.call(method, path.format(group=group.id, runner=runner.id))
    assert answer.status < 500


def test_a_huge_body_is_refused(api: Api, group: Group) -> None:
    """A body of many megabytes is 413 `payload-too-large`."""
    body = json.dumps({"kind": "k", "payload": "x" * 20_000_000}).encode()
    try:
        answer = api.call("POST", f"{group.path}/jobs", raw=body)
    except (BrokenPipeError, ConnectionResetError):
        return
    answer.refused(413, "payload-too-large")


def test_an_empty_body_of_a_call_that_needs_one_is_invalid(api: Api, group: Group) -> None:
    """Where fields are required, no body is `invalid`; where all may be left out it is none."""
    api.call("POST", f"{group.path}/jobs").refused(400, "invalid")
    runner = group.runner()
    assert api.call("POST", f"{runner.path}/taint").ok()["taints"][0]["key"] == "manual"
    api.call("POST", f"{runner.path}/untaint").ok()
    api.call("POST", f"{runner.path}/drain").ok()
    api.call("POST", f"{runner.path}/undrain").ok()
    api.call("POST", "/v1/runner-groups").ok(201)


def test_broken_http_is_no_defect(api: Api) -> None:
    """Bytes that are not HTTP end that connection only."""
    address = urlsplit(api.url)
    with socket.create_connection((str(address.hostname), address.port or 0), 10) as wire:
        wire.sendall(b"\x16\x03\x01\x02\x00\x01\x00 nonsense\r\n\r\n")
        assert b" 500 " not in wire.recv(65536)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    connection.request("GET", "/healthz", headers={"Prefer": "wait=\xff", "X": "\xe9"})
    assert connection.getresponse().read()
    connection.close()
    api.get("/healthz").ok()


@pytest.mark.parametrize("wait", ["", "wait", "wait=", "wait=x", "wait=-1", "wait=1e999", "a;b=c"])
def test_a_preference_nobody_understands_is_ignored(runner: Runner, wait: str) -> None:
    """RFC 7240: a preference that cannot be honoured is ignored."""
    body = {"session_id": runner.session}
    runner.own().call("POST", f"{runner.path}/heart-beats", body, headers={"prefer": wait}).ok()
