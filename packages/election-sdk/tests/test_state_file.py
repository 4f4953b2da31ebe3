"""What a runner remembers, and who it is by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from election_core import ConflictError
from election_sdk import StateFileError, StateFileLocked
from election_sdk._state_file import StateFile
from sdk_plane import Plane, until


def test_what_is_remembered_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The file holds a token, so nobody else may read it; no text of an object shows it."""
    path = tmp_path / "deep" / "state.json"
    with StateFile(path, group="g", name="a") as state:
        state.remember(token="secret-token", runner_id="r")
        assert "secret-token" not in repr(state.memory)
        assert state.memory.instance_key not in repr(state.memory)
    assert path.stat().st_mode & 0o777 == 0o600
    with StateFile(path, group="g", name="a") as state:
        assert (state.memory.token, state.memory.runner_id) == ("secret-token", "r")


def test_a_file_is_used_once_at_a_time(tmp_path: Path) -> None:
    """Also within one process, and again once it was let go."""
    path = tmp_path / "state.json"
    with StateFile(path, group="g", name="a") as state:
        state.remember(runner_id="r")
        with pytest.raises(StateFileLocked), StateFile(path, group="g", name="a"):
            raise AssertionError
    with StateFile(path, group="g", name="a"):
        pass


def test_a_file_of_another_runner_is_refused(tmp_path: Path) -> None:
    """Nobody becomes another runner by a path that was mixed up."""
    path = tmp_path / "state.json"
    with StateFile(path, group="g", name="a") as state:
        state.remember(runner_id="r")
    with pytest.raises(StateFileError, match="belongs to runner 'a'"):
        StateFile(path, group="g", name="b").__enter__()
    with StateFile(path, group="g", name="a"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": "secret-token"}', "\x00"])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    """The text says what to do, and not what is in the file."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateFileError, match="move it away") as caught:
        StateFile(path, group="g", name="a").__enter__()
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error is about the file, in words."""
    (tmp_path / "file").touch()
    with pytest.raises(StateFileError, match=r"state\.json"):
        StateFile(tmp_path / "file" / "state.json", group="g", name="a").__enter__()


async def test_a_join_token_and_a_state_file_make_one_runner(plane: Plane, tmp_path: Path) -> None:
    """A runner that joined is the same one after each restart, with a token of its own."""
    async with plane.group() as (group, client):
        join = (await client.create_token("join", group_id=group)).secret
        ids = set()
        for labels in ({"zone": "a"}, {"zone": "a"}, {"zone": "b"}):
            options: dict[str, Any] = {
                "token": None,
                "join_token": join,
                "state_file": tmp_path / "s",
            }
            async with plane.runner(group, labels=labels, **options) as runner:
                ids.add(runner.runner_id)
        assert len(ids) == 1
        found = (await client.runners(group)).items
        assert [dict(runner.labels) for runner in found] == [{"zone": "b"}]
        tokens = (await client.tokens(limit=500)).items
        assert sum(token.runner_id in ids for token in tokens) == 2

        with pytest.raises(ConflictError):
            async with plane.runner(group, token=None, join_token=join):
                raise AssertionError


async def test_a_runner_with_its_own_token_needs_no_registration(plane: Plane) -> None:
    """Whoever was registered elsewhere says who it is."""
    async with plane.group() as (group, client):
        registration = await client.register(group, "a")
        options: dict[str, Any] = {"token": registration.token, "runner_id": registration.runner.id}
        async with plane.runner(group, **options) as runner:
            await until(lambda: runner.standing)
        kinds = [event.kind for event in (await client.events(group)).items]
        assert kinds.count("runner-registered") == 1
        assert "runner-updated" not in kinds


async def test_a_runner_that_was_deleted_joins_again_at_its_start(
    plane: Plane, tmp_path: Path
) -> None:
    """What is remembered of a runner that is gone does not keep its successor out."""
    async with plane.group() as (group, client):
        options: dict[str, Any] = {"state_file": tmp_path / "s"}
        async with plane.runner(group, **options) as runner:
            first = runner.runner_id
        await client.delete_runner(first or "")
        async with plane.runner(group, **options) as runner:
            assert runner.runner_id != first


async def test_the_own_token_and_a_state_file_are_enough(plane: Plane, tmp_path: Path) -> None:
    """A runner's own token may not register; with what is remembered it need not."""
    async with plane.group() as (group, client):
        registration = await client.register(group, "a")
        own: dict[str, Any] = {"token": registration.token, "state_file": tmp_path / "s"}
        async with plane.runner(group, runner_id=registration.runner.id, **own):
            pass
        async with plane.runner(group, labels={"zone": "b"}, **own) as runner:
            assert runner.runner_id == registration.runner.id


def test_somebody_must_say_who_it_is(plane: Plane) -> None:
    """Without any token there is nothing to register with."""
    with pytest.raises(ValueError, match="token"):
        plane.runner("g", token="not a token")
