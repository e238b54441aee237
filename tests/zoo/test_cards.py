import pytest

from autobss_zoo import cards, create_model, get
from conftest import PAPER, tiny


@pytest.mark.parametrize("path", cards.files(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == cards.files()[path], "out of date: run `make cards`"


def test_there_is_a_card_of_every_entry_and_no_other():
    assert {path.stem for path in (cards.ROOT / "model_cards").glob("*.md")} == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_a_card_says_what_matters(name):
    entry, text = get(name), cards.card(get(name))
    facts = [str(entry.code), f"{entry.measured.macs:,}", f"{entry.measured.params:,}", entry.source, entry.timm_name]
    facts += [*entry.printed.values(), *map(str, entry.accuracy.values())]
    facts += [f"autobss train {entry.recipe}`", "None are published yet", "not reproduced", "| weight_decay |"]
    assert [fact for fact in facts if fact not in text] == []
    assert text.startswith("---\n")


def test_a_users_card():
    code = tiny("mnv2_small")
    text = cards.hub_card(create_model(code, num_classes=7, in_chans=1))
    assert f"# {code}" in text
    assert "1 input channels, 7 classes,\n32x32 pixels" in text
