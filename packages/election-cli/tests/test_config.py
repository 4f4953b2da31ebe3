"""Where settings come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from election_cli._config import Settings, default_config_file, default_state_dir, is_loopback
from election_cli._exits import CommandError, ExitCode


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration file that its owner alone may read."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.touch(0o600)
        path.write_text(text)
        return path

    return write


def test_a_flag_wins_over_the_environment_over_the_file(config: Callable[[str], Path]) -> None:
    """The nearest place that gives a setting wins, and is known as its source."""
    path = config('url = "http://file"\n')
    environ = {"ELECTION_URL": "http://variable"}

    by_flag = Settings({"url": "http://flag"}, environ=environ, config=path)
    by_variable = Settings({"url": None}, environ=environ, config=path)
    by_file = Settings(environ={}, config=path)
    by_default = Settings(environ={})

    assert [found.url for found in (by_flag, by_variable, by_file, by_default)] == [
        "http://flag",
        "http://variable",
        "http://file",
        "http://127.0.0.1:7700",
    ]
    sources = [found.find("url") for found in (by_flag, by_variable, by_file)]
    assert [found and found.source for found in sources] == ["--url", "ELECTION_URL", str(path)]


def test_an_empty_variable_counts_as_not_set(config: Callable[[str], Path]) -> None:
    """``ELECTION_GROUP=`` does not hide what the file says."""
    path = config('group = "builds"')

    assert Settings(environ={"ELECTION_GROUP": ""}, config=path).get("group") == "builds"


def test_a_token_of_a_nearer_place_wins_in_either_form(
    config: Callable[[str], Path], tmp_path: Path
) -> None:
    """A token file of the environment wins over a token of the configuration file."""
    kept = tmp_path / "token"
    kept.write_text("of-the-variable\n")
    path = config('token = "of-the-file"')

    found = Settings(environ={"ELECTION_TOKEN_FILE": str(kept)}, config=path).token

    assert found is not None
    assert (found.value, found.source) == ("of-the-variable", str(kept))


def test_files_that_a_file_names_are_beside_it(
    config: Callable[[str], Path], tmp_path: Path
) -> None:
    """Relative paths of the configuration file begin at its folder."""
    (tmp_path / "secret").write_text("elt_x")
    path = config('token_file = "secret"\nstate_dir = "state"')

    settings = Settings(environ={}, config=path)

    assert settings.token is not None
    assert settings.token.value == "elt_x"
    assert settings.state_dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://127.0.0.1:7700", True),
        ("http://[::1]:7700", True),
        ("http://localhost:1", True),
        ("http://127.0.0.1@example.com", False),
        ("https://election.example.com", False),
        ("http://0.0.0.0:7700", False),
    ],
)
def test_the_servers_own_token_goes_to_this_machine_only(
    url: str, used: bool, tmp_path: Path
) -> None:
    """Where no token is set, the one in the state directory is used, for a loopback address."""
    (tmp_path / "operator-token").write_text("elt_kept\n")

    found = Settings(environ={"ELECTION_URL": url, "ELECTION_STATE_DIR": str(tmp_path)}).token

    assert (found is not None and found.value == "elt_kept") is used


def test_the_defaults_are_the_users_directories(tmp_path: Path) -> None:
    """Without anything set, the configuration and the state are where the system wants them."""
    assert default_config_file() == tmp_path / "config" / "election" / "config.toml"
    assert default_state_dir() == tmp_path / "state" / "election"
    assert Settings(environ={}).state_dir == default_state_dir()


def test_the_users_file_is_read_by_itself(tmp_path: Path) -> None:
    """The file in the configuration directory needs no flag."""
    default_config_file().parent.mkdir(parents=True)
    default_config_file().write_text('owner = "ada"')

    assert Settings(environ={}).get("owner") == "ada"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('urls = "x"', "unknown key 'urls'; did you mean 'url'?"),
        ('colour = "red"', "unknown key 'colour'; known are url, token"),
        ("url = 7", "url: a string is wanted"),
        ("url = ", "it is no TOML"),
        ('[server]\nurl = "x"', "unknown key 'server'"),
    ],
)
def test_a_wrong_file_is_refused_by_name(
    text: str, said: str, config: Callable[[str], Path]
) -> None:
    """A mistake in the file is told with the file's path and the key."""
    path = config(text)

    with pytest.raises(CommandError) as refused:
        Settings(environ={}, config=path)

    assert said in refused.value.message
    assert str(path) in refused.value.message
    assert refused.value.code is ExitCode.USAGE


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """`--config` with a name that is not there is an error, the user's own file may be missing."""
    with pytest.raises(CommandError, match="there is no such file"):
        Settings(environ={}, config=tmp_path / "missing.toml")


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("\n", "holds no token")])
def test_a_token_file_must_hold_a_token(text: str | None, said: str, tmp_path: Path) -> None:
    """A file that cannot give the token is told, with who named it."""
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)

    with pytest.raises(CommandError, match=said) as refused:
        _ = Settings({"token_file": str(path)}, environ={}).token

    assert "--token-file" in refused.value.message


def test_secrets_do_not_show(config: Callable[[str], Path]) -> None:
    """What holds a token does not show it when it is printed."""
    settings = Settings({"token": "elt_secret"}, environ={})

    assert "elt_secret" not in repr(settings.token)


def test_a_file_with_a_token_is_for_its_owner(config: Callable[[str], Path]) -> None:
    """A configuration file whose token others may read is known as such."""
    path = config('token = "elt_x"')
    assert Settings(environ={}, config=path).exposed is None

    path.chmod(0o644)
    assert Settings(environ={}, config=path).exposed == path

    path.write_text('url = "http://x"')
    assert Settings(environ={}, config=path).exposed is None


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("LOCALHOST", True),
        ("192.168.1.4", False),
        ("example.com", False),
        (None, False),
    ],
)
def test_loopback_is_this_machine(host: str | None, local: bool) -> None:
    """Only addresses that never leave the machine count as loopback."""
    assert is_loopback(host) is local
