"""A framing from the command line's text: presets, all descriptions that are literals, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastframe as ff
from fastframe.cli.expression import CLASSES, framing_of
from support import framings


@pytest.mark.parametrize("name", ff.presets())
def test_a_preset_is_named(name: str) -> None:
    assert framing_of(name) == ff.preset(name)
    assert framing_of(f" {name}\n") == ff.preset(name)


@pytest.mark.parametrize(
    ("text", "framing"),
    [
        ("LengthField()", ff.LengthField()),
        ('LengthField(4, "little", max_size=1000)', ff.LengthField(4, "little", max_size=1000)),
        ("LengthField(4, signed=True, escape=(-1, 8))", ff.LengthField(4, signed=True, escape=(-1, 8))),
        ("LengthField(4, mask=0x7FFF_FFFF)", ff.LengthField(4, mask=0x7FFFFFFF)),
        (r'Delimiter(b"\r\n", b"\n", at_eof="deliver")', ff.Delimiter(b"\r\n", b"\n", at_eof="deliver")),
        ('Delimiter(b"), (")', ff.Delimiter(b"), (")),
        ("Netstring()", ff.Netstring()),
        ("fastframe.Netstring(max_size=5)", ff.Netstring(max_size=5)),
        ("FixedSize(size=16)", ff.FixedSize(16)),
        ("UntilEOF()", ff.UntilEOF()),
        ("ContentLength()", ff.ContentLength()),
        ("AsciiLength(10, pad=b' ', align='left')", ff.AsciiLength(10, pad=b" ", align="left")),
        ("VarintLength(4, offset=1, strip=0)", ff.VarintLength(4, offset=1, strip=0)),
    ],
)
def test_a_description_is_written_down(text: str, framing: ff.Framing) -> None:
    assert framing_of(text) == framing


def test_every_description_is_known_but_the_one_with_a_function() -> None:
    kinds = {kind.__name__ for kind in vars(ff).values() if isinstance(kind, type) and issubclass(kind, ff.Framing)}
    assert {*CLASSES, "Computed", "Framing"} == kinds


@given(framings())
def test_what_repr_writes_is_read(framing: ff.Framing) -> None:
    if not isinstance(framing, ff.Computed):
        assert framing_of(repr(framing)) == framing


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kafak", "did you mean 'kafka'"),
        ("git-pktline", "did you mean 'git_pktline'"),
        ("", "no preset is called ''"),
        ("Netstring", "write Netstring(...)"),
        ("LengthFeild(4)", "did you mean LengthField?"),
        ("ff.Netstring()", "did you mean Netstring?"),
        ("len(4)", "there are AsciiLength, "),
        ("Framing()", "no description is called 'Framing'"),
        ("Computed(4, len)", "a function, which can't be written here"),
        ("LengthField(4", "'(' was never closed"),
        ('Delimiter(b"', "is not an expression: unterminated string literal"),
        ("Netstring() + 1", "neither a preset's name nor a description"),
        ("LengthField(9)", "LengthField: width must be 1 to 8, not 9"),
        ('LengthField(4, "native")', "LengthField: byteorder must be"),
        ("LengthField(size=4)", "LengthField: got an unexpected keyword argument 'size'"),
        ("LengthField(4, width=4)", "LengthField: got multiple values for argument 'width'"),
        ("LengthField(offset=1, offset=2)", "each name given once"),
        ("LengthField(**{'width': 4})", "literal"),
        ("LengthField(*[4])", "*[4] is not a literal"),
        ("LengthField(1 + 3)", "1 + 3 is not a literal"),
        ("LengthField(max_size=1 << 20)", "1 << 20 is not a literal"),
        ("LengthField({[]: 1})", "{[]: 1} is not a literal"),
        ('Delimiter("\\n")', "Delimiter: end must be bytes, not str"),
        ("Delimiter()", "Delimiter: a delimiter needs one or more ends"),
        ("LengthField(" + "(" * 5000 + ")" * 5000 + ")", "is not an expression"),
        ("Netstring(\0)", "is not an expression"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        framing_of(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os").abort()',
        "LengthField(exit())",
        'LengthField(__import__("os").abort())',
        "(lambda: exit())()",
        "[exit() for _ in 'a'][0]()",
        "Netstring(max_size=(x := 5))",
        "Netstring(f'{exit()}')",
        "Netstring().decode(b'')",
        "Netstring()()",
    ],
)
def test_nothing_is_evaluated(text: str) -> None:
    with pytest.raises(ValueError):
        framing_of(text)


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)
NAMES = st.sampled_from(
    ["width", "offset", "strip", "escape", "mask", "magic", "pad", "base", "digits", "max_size", "start", "size", "x"]
)


@given(st.sampled_from([*CLASSES]), st.lists(LITERALS, max_size=3), st.dictionaries(NAMES, LITERALS, max_size=3))
def test_any_literals_build_a_description_or_are_refused(
    name: str, args: list[object], words: dict[str, object]
) -> None:
    text = f"{name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in words.items())])})"
    try:
        framing = framing_of(text)
    except ValueError:
        return
    assert type(framing) is CLASSES[name]
    assert framing_of(repr(framing)) == framing


@given(st.text())
def test_any_text_is_a_framing_or_refused(text: str) -> None:
    try:
        framing = framing_of(text)
    except ValueError:
        return
    assert isinstance(framing, ff.Framing)
