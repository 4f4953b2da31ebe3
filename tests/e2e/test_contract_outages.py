"""Kill and restart: nobody is deposed for an outage, epochs rise, and what was said stays said."""

import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.e2e.contract_client import Api, Group, Runner, Server, serving, settle, until


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests may kill."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(process: Server) -> Server:
    """The same, running."""
    return process if process.process.poll() is None else process.start()


def moved(server: Server, group: Group, *runners: Runner) -> Group:
    """The same group and runners, asked at where the server is now."""
    for runner in runners:
        runner.api = server.api
    return Group(server.api, group.id)


def outage(server: Server, seconds: float, how: signal.Signals = signal.SIGKILL) -> None:
    """Kill it and start it again after this long."""
    server.end(how)
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        time.sleep(left)
    server.start()


def test_a_healthy_leader_keeps_its_role_over_an_outage(server: Server) -> None:
    """An outage of more than a lease deposes nobody who renews within the lease of grace."""
    group = server.api.group(lease_seconds=1.5)
    one, two = group.runners(2)
    job = group.job()
    _, token = one.claim_one(1)
    group.pin(one.id, owner="ann").ok(202)
    two.do("taint", key="k", effect="prefer-no-elect")
    before = group.view()
    outage(server, 4)
    group = moved(server, group, one, two)
    restarted = time.monotonic()
    two.beat()
    look_until = restarted + 1.0
    while time.monotonic() < look_until:
        assert group.view()["epoch"] == 1
        two.beat()
        time.sleep(0.1)
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)
    assert settle(one.own(), job["id"], token, "succeeded").ok()["state"] == "succeeded"
    assert group.view()["pin"] == before["pin"]
    assert [each["key"] for each in two.view()["taints"]] == ["k"]
    assert group.leader().ok()["epoch"] == 1


def test_a_lapsed_leader_is_refused_until_it_renews(server: Server) -> None:
    """Past its lease nobody leads and claims and settlements are `lease-expired`.

    While no change is committed, which grace sees to here, a renewal resumes the same epoch.
    """
    group = server.api.group(lease_seconds=2)
    one, two = group.runners(2)
    job, addressed = group.job(), group.job(runner_id=two.id)
    group.job()
    _, token = one.claim_one(1, claim_id="known")
    outage(server, 4)
    group = moved(server, group, one, two)
    group.leader().refused(404, "no-leader")
    assert (group.view()["leader_runner_id"], group.view()["epoch"]) == (None, 1)
    one.claim(1).refused(409, "lease-expired")
    one.claim(0).refused(409, "stale-epoch")
    assert one.claim(0, claim_id="known").ok()["items"][0]["claim_token"] == token
    settle(one.own(), job["id"], token, "succeeded").refused(409, "lease-expired")
    two.claim().refused(409, "lease-expired")
    two.beat()
    assert two.claim_one()[0]["id"] == addressed["id"]
    two.claim(1).refused(409, "not-leader")
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)
    assert settle(one.own(), job["id"], token, "succeeded").ok()["state"] == "succeeded"
    one.claim_one(1)


def test_a_silent_leader_is_replaced_after_grace(server: Server) -> None:
    """Not before a full lease after the outage, and within it, a lease and two ticks."""
    group = server.api.group(lease_seconds=1.5)
    one, two = group.runners(2)
    outage(server, 4)
    group = moved(server, group, one, two)
    started = time.monotonic()
    until(lambda: group.view()["epoch"] == 2, two)
    took = time.monotonic() - started
    assert 0.9 < took < 1.5 + 1.5 + 2 + 1
    assert group.leader().ok()["runner"]["id"] == two.id
    assert one.beat()["role"] == "standby"


def test_a_short_outage_changes_nothing(server: Server) -> None:
    """A restart within a lease: sessions, epochs, jobs and tokens are as before."""
    group = server.api.group(lease_seconds=60)
    one, _ = group.runners(2)
    one.release(1)
    one.open()
    job = group.job()
    viewer = server.api.post("/v1/tokens", {"kind": "viewer"}).ok(201)["token"]
    before = (group.view(), group.events(), job)
    outage(server, 0)
    group = moved(server, group, one)
    after = (group.view(), group.events(), server.api.get(f"/v1/jobs/{job['id']}").ok())
    assert after == before
    server.api.as_(viewer).get(group.path).ok()
    assert one.beat()["role"] == "standby"


def test_epochs_rise_over_every_restart(server: Server) -> None:
    """Whatever ends a term and however the server ends."""
    group = server.api.group(lease_seconds=60)
    (one,) = group.runners(1)
    epochs = [1]
    for how in (signal.SIGKILL, signal.SIGTERM):
        epochs.append(one.release(epochs[-1])["epoch"])
        outage(server, 0, how)
        group = moved(server, group, one)
        epochs.append(one.release(epochs[-1])["epoch"])
    one.leave()
    group.api.call("DELETE", group.path).ok(204)
    outage(server, 0)
    server.api.post("/v1/runner-groups", {"id": group.id}).ok(201)
    group = Group(server.api, group.id)
    (new,) = group.runners(1)
    epochs.append(new.beat()["epoch"])
    assert epochs == sorted(set(epochs))


def test_retries_over_a_restart_are_recognised(server: Server) -> None:
    """A session key, a claim id, a settlement and an idempotency key outlive the process."""
    group = server.api.group(lease_seconds=60)
    one = group.runner()
    session = {"session_key": "k"}
    first = one.own().post(f"{one.path}/sessions", session).ok(201)
    one.session = first["session_id"]
    enqueue = {"kind": "k"}
    jobs = f"{group.path}/jobs"
    job = server.api.post(jobs, enqueue, idempotency_key="i").ok(201)
    item = one.claim(1, claim_id="c").ok()["items"][0]
    outage(server, 0)
    group = moved(server, group, one)
    assert one.own().post(f"{one.path}/sessions", session).ok(200)["session_id"] == one.session
    assert one.claim(1, claim_id="c").ok()["items"][0]["claim_token"] == item["claim_token"]
    assert server.api.post(jobs, enqueue, idempotency_key="i").body["id"] == job["id"]
    settle(one.own(), job["id"], item["claim_token"], "succeeded").ok()
    outage(server, 0)
    moved(server, group, one)
    settle(one.own(), job["id"], item["claim_token"], "succeeded").ok()
    settle(one.own(), job["id"], item["claim_token"], "failed").refused(409, "stale-claim")


def test_the_barrier_outlives_the_process(server: Server) -> None:
    """A superseded leader's lease is waited for, though the server died meanwhile."""
    group = server.api.group(lease_seconds=3)
    (one,) = group.runners(1)
    end = one.view()["lease_expires_at"]
    assert one.open()["role"] == "standby"
    outage(server, 0)
    group = moved(server, group, one)
    until(lambda: group.leader().status == 200, one)
    leader = group.leader().ok()
    assert leader["elected_at"] >= end
    assert leader["epoch"] == 2


def test_a_drain_outlives_the_process(server: Server) -> None:
    """Until undrain, restarts included."""
    group = server.api.group(lease_seconds=60)
    one, two = group.runners(2)
    one.do("drain")
    one.release(1)
    outage(server, 0)
    group = moved(server, group, one, two)
    assert one.view()["status"] == "draining"
    two.leave()
    group.leader().refused(404, "no-leader")
    assert one.do("undrain")["role"] == "leader"


def test_a_frozen_server_deposes_nobody(server: Server) -> None:
    """Stopped for longer than a lease and continued, it gives everybody a lease to renew."""
    group = server.api.group(lease_seconds=1.5)
    one, two = group.runners(2)
    server.process.send_signal(signal.SIGSTOP)
    ends = time.monotonic() + 4.5
    while (left := ends - time.monotonic()) > 0:
        time.sleep(left)
    server.process.send_signal(signal.SIGCONT)
    two.beat()
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)
    assert group.leader().ok()["runner"]["id"] == one.id


def test_a_second_server_on_the_same_directory_is_refused(server: Server) -> None:
    """One process at a time; the first goes on."""
    other = Server(server.state)
    with contextlib.suppress(AssertionError):
        other.start()
        other.end()
        pytest.fail("two servers on one store")
    other.end()
    assert other.process.returncode not in {0, None}
    server.api.get("/readyz").ok()


def test_a_leader_within_a_lease_and_a_tick(server: Server) -> None:
    """I5, over and over: from the end of the last lease to the next grant."""
    api: Api = server.api
    groups = [api.group(lease_seconds=1 + 0.1 * index) for index in range(6)]
    pairs = [group.runners(2) for group in groups]
    ends = [group.leader().ok()["lease_expires_at"] for group in groups]
    followers = [pair[1] for pair in pairs]
    until(lambda: all(group.view()["epoch"] == 2 for group in groups), *followers)
    for group, end in zip(groups, ends, strict=True):
        elected = group.leader().ok()["elected_at"]
        late = (datetime.fromisoformat(elected) - datetime.fromisoformat(end)).total_seconds()
        assert 0 <= late < 1 + 0.5
