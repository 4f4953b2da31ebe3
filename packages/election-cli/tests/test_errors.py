"""What failures look like from outside: exit codes, and one sentence on standard error."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from command_world import DEADLINE, Run, Server, environment, read_line, start
from election_cli._exits import ExitCode, describe, exit_code_of
from election_core import CODES, ElectionError, SchemaMismatch


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("groups", "show", "missing"), ExitCode.NOT_FOUND, "(not-found)"),
        (("runners", "missing"), ExitCode.NOT_FOUND, "(not-found)"),
        (("explain", "missing"), ExitCode.NOT_FOUND, "(not-found)"),
        (("jobs", "show", "missing"), ExitCode.NOT_FOUND, "(not-found)"),
        (("tokens", "revoke", "missing"), ExitCode.NOT_FOUND, "(not-found)"),
        (("taint", "missing"), ExitCode.NOT_FOUND, "say GROUP/NAME or --group GROUP"),
        (("groups", "create", "Not A Slug"), ExitCode.USAGE, "(invalid)"),
        (("groups", "create", "g", "--lease", "2h"), ExitCode.USAGE, "1 to 3600"),
        (("groups", "create", "g", "--settings", '{"leese": 1}'), ExitCode.USAGE, "leese"),
    ],
)
def test_refusals_have_their_exit_code(
    arguments: tuple[str, ...], code: ExitCode, said: str, election: Run
) -> None:
    """What the server refuses is one sentence with the problem's code, and an exit code."""
    found = election(*arguments)

    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert re.fullmatch(r"Error: [^\n]+\n", found.err)


def test_json_leaves_standard_output_empty_on_failure(election: Run) -> None:
    """A program that reads standard output is not handed an error as an answer."""
    found = election("groups", "show", "missing", "--json")

    assert (found.code, found.out) == (ExitCode.NOT_FOUND, "")


def test_a_group_without_a_leader_is_3(election: Run, server: Server, group: str) -> None:
    """That nobody leads is told by `leader` with the exit code of what is not there."""
    server.group(group)

    found = election("leader", group)

    assert found.code == ExitCode.NOT_FOUND
    assert "(no-leader); `election explain GROUP` says why" in found.err


def test_a_contradiction_is_1(election: Run, server: Server, group: str) -> None:
    """What exists differently is refused."""
    server.group(group)

    assert election("groups", "create", group, "--lease", "5s").code == ExitCode.REFUSED


def test_without_a_token_it_is_4_and_says_where_one_comes_from(
    run: Run, server: Server, tmp_path: Path
) -> None:
    """The sentence names the file that was looked for, and the ways to give a token."""
    found = run("groups", ELECTION_URL=server.url)

    assert (found.code, found.out) == (ExitCode.DENIED, "")
    assert "(unauthenticated)" in found.err
    assert str(tmp_path / "state" / "election" / "operator-token") in found.err
    assert "ELECTION_TOKEN" in found.err


def test_a_wrong_token_is_4_and_its_source_is_named(run: Run, server: Server) -> None:
    """Where a token that is not good came from is told, the token is not."""
    found = run("groups", ELECTION_URL=server.url, ELECTION_TOKEN="elt_wrong")

    assert found.code == ExitCode.DENIED
    assert "the token from ELECTION_TOKEN is not good there" in found.err
    assert "elt_wrong" not in found.err


def test_what_a_token_does_not_allow_is_4(election: Run, group: str) -> None:
    """A viewer may look and not touch."""
    viewer = election("tokens", "create", "--kind", "viewer", "--json").json["token"]

    assert election("groups", ELECTION_TOKEN=viewer).code == 0
    found = election("groups", "create", group, ELECTION_TOKEN=viewer)

    assert found.code == ExitCode.DENIED
    assert "(forbidden); use an operator's token" in found.err


def test_a_server_that_is_not_there_is_5_and_says_how_to_start_one(run: Run) -> None:
    """Where nobody listens, the sentence says where it was looked for and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    found = run("groups", ELECTION_URL=url)

    assert (found.code, found.out) == (ExitCode.UNAVAILABLE, "")
    assert url in found.err
    assert "start it with `election serve`" in found.err
    assert "ELECTION_URL" in found.err


def test_ctrl_c_is_130(server: Server, group: str, tmp_path: Path) -> None:
    """Following events ends with Ctrl-C, without a stack trace."""
    server.group(group)
    follower = start(
        "events",
        group,
        "--follow",
        env=environment(tmp_path, ELECTION_URL=server.url, ELECTION_TOKEN=server.token),
    )
    assert "group-created" in read_line(follower)

    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=DEADLINE)

    assert follower.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in err


def test_a_token_in_a_file_that_others_may_read_is_warned_of(
    run: Run, server: Server, tmp_path: Path
) -> None:
    """A configuration file with a token is used, and told if it is not its owner's alone."""
    path = tmp_path / "election.toml"
    path.write_text(f'url = "{server.url}"\ntoken = "{server.token}"\n')
    path.chmod(0o644)

    found = run("groups", "--config", str(path))
    assert found.code == 0
    assert f"Warning: others may read the token in {path}" in found.err
    assert server.token not in found.err

    path.chmod(0o600)
    assert run("groups", "--config", str(path)).err == ""


@pytest.mark.parametrize("kind", [*CODES.values(), SchemaMismatch], ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code_and_a_sentence(kind: type[ElectionError]) -> None:
    """No code of the contract is left without a meaning."""
    error = kind("a detail.")

    assert exit_code_of(error) in set(ExitCode) - {ExitCode.OK}
    assert describe(error).startswith(f"a detail ({kind.code})")


def test_a_code_of_a_later_version_is_told_as_it_is() -> None:
    """An error that this version does not know keeps its own code."""
    assert describe(ElectionError("too much", code="quota")) == "too much (quota)"
