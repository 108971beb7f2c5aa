"""What is printed of records that anybody may have written."""

from rich.console import Console

from rfr_stream.commands._context import printable
from rfr_stream.commands.operations import letters_table
from topics import Record


def test_a_key_that_looks_like_markup_or_commands_the_terminal_is_shown_as_it_is() -> None:
    console = Console(width=120, color_system=None)
    headers = (("x-rfr-reason", b"[/bold]"), ("x-rfr-error", b"\x1b[2J"))
    with console.capture() as capture:
        console.print(letters_table([Record("t", b"[/x]", b"", headers)]))
    assert "[/x]" in capture.get()
    assert "[/bold]" in capture.get()
    assert "\x1b" not in capture.get()


def test_lines_and_letters_of_every_script_stay() -> None:
    assert printable("a\n\tß日") == "a\n\tß日"
    assert printable("a\x1b[2J\x07\u202e") == "a\N{REPLACEMENT CHARACTER}[2J" + 2 * "\N{REPLACEMENT CHARACTER}"
