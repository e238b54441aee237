import json

import pytest
from huggingface_hub import ModelCard

from autobss_zoo import cards, create_model, gallery, get, save_pretrained
from conftest import PAPER, tiny


@pytest.mark.parametrize("path", cards.files(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == cards.files()[path], "out of date: run `make cards`"


def test_the_zoo_at_a_glance_is_up_to_date_and_names_what_is_slower(tmp_path):
    text = gallery.page()
    assert (cards.ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == text, "out of date: run `make cards`"
    shown = {name for name in PAPER if get(name).task == "classification"}
    assert {name for name in PAPER if f"| `{name}` |" in text} == shown
    original, searched = (get(f"resnet18_{how}").latency["pytorch"] for how in ("original", "autobss"))
    assert (f"`resnet18_autobss` ({searched / original:.2f}x in pytorch)" in text) == (searched > 1.02 * original)
    gallery.draw(tmp_path / "zoo.png")
    assert (tmp_path / "zoo.png").stat().st_size > 10_000


def test_there_is_a_card_of_every_entry_and_no_other():
    assert {path.stem for path in (cards.ROOT / "model_cards").glob("*.md")} == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_a_card_says_what_matters(name):
    entry, text = get(name), cards.card(get(name))
    facts = [str(entry.code), f"{entry.measured.macs:,}", f"{entry.measured.params:,}", entry.source, entry.timm_name]
    facts += [*entry.printed.values(), *map(str, entry.accuracy.values())]
    facts += [f"autobss train {entry.recipe}`", "not reproduced", "| weight_decay |"]
    facts += [f"`{name}.{tag}`" for tag in entry.weights] or ["None are published yet"]
    assert [fact for fact in facts if fact not in text] == []
    assert text.startswith("---\n")


def test_a_users_card():
    code = tiny("mnv2_small")
    text = cards.hub_card(create_model(code, num_classes=7, in_chans=1))
    assert f"# {code}" in text
    assert "1 input channels, 7 classes,\n32x32 pixels" in text


def test_saving_keeps_a_card_that_was_edited_and_asserts_no_licence(tmp_path):
    card, model = tmp_path / "README.md", create_model("resnet18_small{8,8,8,8,1,1,1,1}", num_classes=3)
    save_pretrained(model, tmp_path)
    assert ModelCard.load(card).data.license is None
    assert "license" not in json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    other = create_model("resnet18_small{8,8,8,8,1,1,1,2}", num_classes=3)
    save_pretrained(other, tmp_path, license="mit", card_text="Trained on a Sunday.")
    saved = ModelCard.load(card)
    assert saved.data.license == "mit"
    assert "Trained on a Sunday." in saved.text
    assert str(other.about.code) in saved.text  # nobody edited the card, so it is the new network's
    for edited in (saved.content.replace("Sunday", "Monday"), saved.content + "More.\n", "My own.\n"):
        card.write_text(edited)
        save_pretrained(model, tmp_path)
        assert card.read_text() == edited
