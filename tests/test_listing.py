"""The verb `presets`: a list that can be searched by eye, by grep and by machine, and one preset in full."""

import ast
import json

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from click.testing import CliRunner, Result

import fastframe as ff
from fastframe.cli.layout import layout
from fastframe.cli.listing import presets
from fastframe.cli.protocols import PROTOCOLS


def run(*args: str) -> Result:
    return CliRunner().invoke(presets, args)


def listed(*args: str) -> dict[str, str]:
    """Each preset's line, by its name."""
    done = run(*args)
    assert (done.exit_code, done.stderr) == (0, "")
    _, _, *lines = done.stdout.splitlines()
    return {line.split()[0]: line.rstrip() for line in lines}


def test_all_are_listed_each_on_one_line() -> None:
    lines = listed()
    assert tuple(lines) == ff.presets()
    for name, line in lines.items():
        assert PROTOCOLS[name] in line
        assert line.endswith(repr(ff.preset(name)))
    assert len({line.index(PROTOCOLS[name]) for name, line in lines.items()}) == 1


def test_a_file_gets_no_control_characters() -> None:
    assert all(line.isprintable() for line in run().stdout.splitlines())


def test_a_part_of_the_name_or_the_protocol_selects() -> None:
    assert {*listed("mavlink")} == {"mavlink1", "mavlink2"}
    assert {*listed("ANDROID")} == {"adb_host", "adb_transport"}
    assert {*listed("apple")} == {"apple_companion", "lockdownd", "usbmuxd"}
    assert {*listed("U64")} == {"u64be", "u64le"}
    assert "ros_tcpros" in listed("tcp")


@pytest.mark.parametrize("name", ff.presets())
def test_one_is_shown_in_full(name: str) -> None:
    done = run(name)
    framing = ff.preset(name)
    assert done.exit_code == 0
    first, second, empty, *rest = done.stdout.splitlines()
    assert (first, second, empty) == (f"{name}: {PROTOCOLS[name]}", repr(framing), "")
    assert rest == layout(framing)


def test_none_is_an_error_that_suggests() -> None:
    done = run("kafak")
    assert done.exit_code == 2
    assert "did you mean 'kafka'?" in done.stderr
    assert done.stdout == ""


def test_json_has_an_object_on_each_line() -> None:
    objects = [json.loads(line) for line in run("--json").stdout.splitlines()]
    assert [one["name"] for one in objects] == [*ff.presets()]
    for one in objects:
        framing = ff.preset(one["name"])
        assert set(one) == {"name", "protocol", "framing", "limit"}
        assert (one["protocol"], one["limit"]) == (PROTOCOLS[one["name"]], framing.limit)
        assert one["framing"] == repr(framing)
        assert isinstance(ast.parse(one["framing"], mode="eval").body, ast.Call)


def test_json_of_some_and_of_one() -> None:
    assert [json.loads(line)["name"] for line in run("mavlink", "--json").stdout.splitlines()] == [
        "mavlink1",
        "mavlink2",
    ]
    assert [json.loads(line)["name"] for line in run("fix", "--json").stdout.splitlines()] == ["fix"]
    assert run("kafak", "--json").exit_code == 2


def test_on_a_terminal_it_folds_into_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    text = run().stdout
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in ff.presets())
