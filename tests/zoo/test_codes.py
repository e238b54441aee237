import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobss_zoo import Code
from autobss_zoo.codes import get_layout
from autobss_zoo.errors import AutoBSSError, CodeError, UnknownNameError
from autobss_zoo.families import FAMILIES
from conftest import codes

RESNET18 = (64, 128, 256, 512, 2, 2, 2, 2)


def test_named_fields():
    code = Code.parse("resnet50{128,256,768,2048,9,6,9,3,48,128,192,512}")
    assert code.channels == (128, 256, 768, 2048)
    assert code.layers == (9, 6, 9, 3)
    assert code.bottlenecks == (48, 128, 192, 512)
    assert code.expansions == ()
    assert code.as_dict()["B3"] == 128
    assert Code("mnv2", (24, 32, 64, 96, 160, 320, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6)).as_dict()["T5"] == 6


def test_is_an_immutable_value():
    code = Code("resnet18", RESNET18)
    assert code == Code("resnet18", np.array(RESNET18)) == Code.parse(" resnet18 { 64,128, 256,512,2,2,2,2 } ")
    assert code != Code("resnet18_small", RESNET18)
    assert len({code, Code("resnet18", list(RESNET18))}) == 1
    assert code < Code("resnet18", (65, *RESNET18[1:]))
    assert tuple(code) == RESNET18 == tuple(code[i] for i in range(len(code)))
    with pytest.raises(AttributeError):
        code.values = ()


@given(codes())
def test_parse_and_print_are_inverse(code):
    assert Code.parse(str(code)) == code
    assert pickle.loads(pickle.dumps(code)) == code
    assert re.fullmatch(r"\w+\{\d+(,\d+)*\}", str(code))


def shows_an_example(error: pytest.ExceptionInfo, family: str) -> bool:
    """Whether the message is one line and ends with a code that is valid."""
    text = str(error.value)
    return "\n" not in text and Code.parse(text.rsplit("a valid code is ", 1)[1]).family == family


@given(codes(), st.data())
def test_a_broken_element_is_named(code, data):
    position = data.draw(st.integers(0, len(code) - 1))
    name = get_layout(code.family).names[position]
    not_integers = [0, -1, -(10**30), 10**30, 2.5, 64.0, float("nan"), "64", "x", None, True, [1], 1j, np.float32(8)]
    broken = data.draw(st.sampled_from(not_integers) | st.integers(max_value=0) | st.floats())
    values = [*code[:position], broken, *code[position + 1 :]]
    with pytest.raises(CodeError, match=rf"element {position + 1} \({name}\): expected an integer from") as error:
        Code(code.family, values)
    assert repr(broken) in str(error.value)
    assert shows_an_example(error, code.family)


@given(codes(), st.integers(-5, 5).filter(bool))
def test_a_wrong_length_is_named(code, change):
    values = (*code, *[1] * change) if change > 0 else code[:change]
    names = get_layout(code.family).names
    where = f"nothing follows {names[-1]}" if change > 0 else f"no {names[change]}"
    with pytest.raises(CodeError, match=f"expected {len(code)} elements .* got {len(values)}: {where}") as error:
        Code(code.family, values)
    assert shows_an_example(error, code.family)


@given(st.text() | st.from_regex(r"resnet18\{[-0-9., a]*\}", fullmatch=True))
def test_any_text_is_a_code_or_one_clear_error(text):
    try:
        known = Code.parse(text).family in FAMILIES
    except AutoBSSError as error:
        known = "valid code" in str(error) or "unknown family" in str(error)
    assert known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet18{64,128,256,512,2,2,0,2}", r"element 7 \(L4\).*got 0"),
        ("resnet18{64,128,256,512,2,2,2.5,2}", r"element 7 \(L4\).*got '2.5'"),
        ("resnet18{2,2,2,2,64,128,256,512}", r"element 8 \(L5\): expected an integer from 1 to 256, got 512"),
        ("mnv2{24,32,64,96,160,320,2,3,4,3,3,1,6,6,-6,6,6,6}", r"element 15 \(T5\).*got -6"),
        ("resnet18{}", r"got 0: no C2"),
        ("resnet18", "unknown network 'resnet18'"),
        ("resnet81{1,2}", "unknown family 'resnet81': did you mean resnet18"),
    ],
)
def test_create_model_passes_the_error_on(text, message):
    pytest.importorskip("torch")
    from autobss_zoo import create_model

    with pytest.raises(AutoBSSError, match=message):
        create_model(text)


def test_squeeze_excite_needs_a_quarter_of_the_input():
    with pytest.raises(CodeError, match=r"\(C3\): expected an integer from 4 to"):
        Code("efficientnet_b0", (3, 40, 80, 112, 192, 320, 2, 2, 3, 3, 4, 1, 6, 6, 6, 6, 6, 6))
    assert Code("mnv2", (1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 1, 6, 6, 6, 6, 6, 6)).channels == (1,) * 6


def test_unknown_family():
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        Code("resnet_18", RESNET18)
