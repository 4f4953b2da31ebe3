"""How the commands of a page are found."""

import pytest

from tests.docs.page_blocks import Block, Command, PageError, agrees, read_blocks


def page(*lines: str) -> str:
    """The lines as a page."""
    return "\n".join(lines)


def test_only_marked_blocks_are_found() -> None:
    """A block without a mark is for reading, not for running."""
    text = page("```sh", "rm -r /", "```", "<!-- run -->", "```sh", "true", "```")

    assert read_blocks(text) == [Block(commands=(Command(line=6, text="true"),))]


def test_console_block_tells_commands_from_output() -> None:
    """After a prompt comes a command, with its continuations; anything else is what it prints."""
    text = page(
        "<!-- run -->",
        "```console",
        "$ curl \\",
        "    --fail URL",
        "answer",
        "$ cat <<END",
        "> words",
        "> END",
        "words",
        "```",
    )

    assert read_blocks(text)[0].commands == (
        Command(line=3, text="curl \\\n    --fail URL", shown="answer"),
        Command(line=6, text="cat <<END\nwords\nEND", shown="words"),
    )


def test_options_are_read() -> None:
    """The comment says how a block is run."""
    checked = page("<!-- run check exit=22 -->", "```sh", "false", "```")
    started = page("<!-- run background ready=http://[::1]:1/ -->", "```sh", "sleep 9", "```")

    assert read_blocks(checked)[0].check
    assert read_blocks(checked)[0].exit_status == 22
    assert read_blocks(started)[0].background
    assert read_blocks(started)[0].ready == "http://[::1]:1/"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(page("<!-- run -->", "", "```sh", "```"), id="block-not-next"),
        pytest.param(page("<!-- run -->", "```sh", "true"), id="block-without-end"),
        pytest.param(page("<!-- run -->", "```json", "{}", "```"), id="not-a-shell"),
        pytest.param(page("<!-- run -->", "```console", "true", "```"), id="no-prompt"),
        pytest.param(page("<!-- run twice -->", "```sh", "true", "```"), id="unknown-option"),
        pytest.param(page("<!-- run exit=no -->", "```sh", "true", "```"), id="no-number"),
        pytest.param(page("<!-- run ready=x -->", "```sh", "true", "```"), id="ready-alone"),
        pytest.param(page("<!-- run background check -->", "```sh", "x", "```"), id="no-end"),
    ],
)
def test_a_mark_that_cannot_be_followed_is_an_error(text: str) -> None:
    """A marked block that would not be run fails the page instead of passing unseen."""
    with pytest.raises(PageError, match=r"line \d"):
        read_blocks(text)


def test_dots_stand_for_anything() -> None:
    """What changes from run to run is left open by `...`; everything else must be as shown."""
    assert agrees('{"epoch": 1, ...}', '{"epoch": 1, "at": "now"}\n')
    assert agrees("first\n...\nlast", "first\nsecond\nthird\nlast")
    assert not agrees('{"epoch": 1}', '{"epoch": 2}')
    assert not agrees("a.c", "abc")
