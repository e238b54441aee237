"""YAML of others: what it means, and that nothing in it explodes or goes by unseen."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobss_zoo.errors import RecipeError, shown
from autobss_zoo.yaml_text import check_mapping, parse_yaml, read_yaml, write_yaml

TEXTS = st.one_of(st.text(string.printable, max_size=8), st.sampled_from(["1e5", "yes", "~", "2020-01-01", "=", "<<"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def laughs(form):
    """Nine levels, each of nine aliases of the one before."""
    first = {"[%s]": "[x]", "{<<: [%s]}": "{k: 1}"}[form]
    lines = [f"a: &a {first}"]
    lines += [f"{n}: &{n} {form % ', '.join([f'*{m}'] * 9)}" for m, n in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs("[%s]"), "line 6: more than 20,000 values"),
        (laughs("{<<: [%s]}"), "line 5: more than 20,000 values"),
        ("a: &a [*a]", "line 1: a is inside itself"),
        ("[" * 100_000, "line 1: more than 32 mappings and lists inside each other"),
        ("- " * 100_000, "line 1: more than 32 mappings and lists inside each other"),
        ("x" * 300_000, "larger than 262,144 bytes"),
        ("a: " + "9" * 5000, "line 1: a number of 5,000 characters"),
        ("a: 0x_", "line 1: expected a number, got '0x_'"),
        ("a:\n  1: 2", "line 2: expected a text as a key, got '1'"),
        ("null: 2", "expected a text as a key, got 'null'"),
        ("on: 2", "expected a text as a key, got 'on'"),
        ("[a]: 2", "expected a text as a key, got a sequence"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("a: 1\n---\nb: 2", "line 2: expected a single document"),
        ("a:\n\tb: 1", r"line 2: .*found character '\\t'"),
        ("a: !!python/object/apply:os.system [ls]", "tags such as python/object/apply:os.system are not read"),
        ("a: !!binary aGk=", "tags such as binary are not read"),
        ("a: 1\nb: \0", r"line 2: special characters are not allowed, got '\\x00'"),
        ("<<: 3", "line 1: .*expected a mapping or list of mappings for merging"),
        ("a: *b", "line 1: found undefined alias 'b'"),
    ],
)
def test_what_is_refused_is_named_with_its_line_and_soon(text, message):
    start = time.perf_counter()
    with pytest.raises(RecipeError, match=rf"^here: no YAML.*: {message}") as caught:
        parse_yaml(text, "here")
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 10  # a bomb takes hours


def test_values_are_plain():
    text = "{a: 1e-3, b: 2020-01-01, c: yes, d: -1E5, e: [1, '1', ~], f: &f {g: 1}, h: {<<: *f, g: 2}}"
    expected = {"a": 0.001, "b": "2020-01-01", "c": True, "d": -1e5, "e": [1, "1", None], "f": {"g": 1}, "h": {"g": 2}}
    assert parse_yaml(text, "here") == expected


@given(VALUES)
def test_what_is_written_is_read(value):
    assert parse_yaml(write_yaml(value), "here") == value


@given(st.text(max_size=60) | st.text("&*!{}[],:?-|>'\"%@`# \n\tab01.<=~", max_size=60))
def test_any_text_is_a_value_or_one_line_of_error(text):
    problem = ""
    try:
        parse_yaml(text, "here")
    except RecipeError as error:
        problem = str(error)
    assert not problem or problem.startswith("here: no YAML")
    assert "\n" not in problem


def test_files_are_utf8_and_there(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: \xe9".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.yaml: no YAML: expected UTF-8, got 0xe9"):
        read_yaml(tmp_path / "latin.yaml")
    for absent in (tmp_path, tmp_path / "none.yaml", "x" * 5000, "a\0b"):
        with pytest.raises(RecipeError, match="there is no such file"):
            read_yaml(absent)


def test_mappings_from_python_have_the_same_shape():
    deep = {}
    for _ in range(2000):
        deep = {"a": [deep]}
    for wrong, message in (
        (deep, "more than 32"),
        ({"a": {1: 2}}, "expected a text as a key, got 1"),
        ([1], "expected a mapping of keys to values"),
    ):
        with pytest.raises(RecipeError, match=f"here: {message}"):
            check_mapping(wrong, "here")


@given(VALUES)
def test_anything_is_shown_in_a_short_line(value):
    text = shown([value, 10**5000, "x" * 1000])
    assert "\n" not in text
    assert len(text) < 20_000
    assert len(shown("x" * 10**6)) < 100


def test_merged_mappings_keep_what_they_state_anew():
    text = "a: &a {L: 1, R: 1, long: 1}\nb: &b {<<: *a, L: 2, long: 2}\nc: {<<: *b, R: 3}\n"
    assert parse_yaml(text, "mine")["c"] == {"L": 2, "long": 2, "R": 3}
