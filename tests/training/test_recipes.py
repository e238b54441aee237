"""Recipes: the paper's settings, bases and overrides, and what is wrong with broken ones."""

import pytest
import yaml

from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo import Setting
from autobss_zoo.errors import RecipeError
from autobss_zoo.families import get_family
from autobss_zoo.recipes import folder, list_recipes, merged, parse_settings, resolve
from autobss_zoo.registry import entries
from autobss_zoo.training import TrainingRecipe

SHARED = {"optimizer": "sgd", "batch_size": 1024, "schedule": "cosine", "label_smoothing": 0.1, "data": "imagenet"}
TABLE_6 = {  # weight decay, initial rate, epochs, augmentation, pixels
    "resnet18": (4e-5, 0.4, 120, None, 224),
    "resnet50": (1e-4, 0.7, 120, None, 224),
    "mnv2": (2e-5, 0.7, 120, None, 224),
    "efficientnet_b0": (2e-5, 0.7, 350, "original", 224),
    "efficientnet_b1": (2e-5, 0.7, 350, "original", 240),
}
TRAININGS = [name for name in list_recipes() if {"model", "task"} & resolve(name).values.keys()]
SEARCHES = [name for name in list_recipes() if "training" in resolve(name).values]


LONGER = ["original_350", "autobss_350"]  # EfficientNet's only trainings are of 350 epochs


@pytest.mark.parametrize(
    ("backbone", "variant"),
    [(b, v) for b in TABLE_6 for v in ("original", "random", "autobss", *([] if "efficient" in b else LONGER))],
)
def test_imagenet_recipes_are_the_papers_table(backbone, variant):
    decay, rate, epochs, augmentation, pixels = TABLE_6[backbone]
    name = f"imagenet/{backbone}" + (f".{variant}" if variant != "autobss" else "")
    recipe = TrainingRecipe.load(name)[0]
    expected = {
        **SHARED,
        "model": f"{backbone}_{variant.removesuffix('_350')}",
        "weight_decay": decay,
        "learning_rate": rate,
        "epochs": 350 if "350" in variant else epochs,
        "auto_augment": augmentation,
    }
    assert {key: getattr(recipe, key) for key in expected} == expected
    assert (recipe.input_size or 224) == pixels
    assert (recipe.momentum, recipe.flip, recipe.crop_scale, recipe.holdout) == (0.9, True, (0.08, 1.0), 0)


@pytest.mark.parametrize(("variant", "model"), [("", "mnv2_autobss_130m"), (".uniform", "mnv2_uniform_130m")])
def test_compression_is_trained_as_mobilenetv2(variant, model):
    recipe, mnv2 = (TrainingRecipe.load(n)[0] for n in (f"compression/mnv2_130m{variant}", "imagenet/mnv2"))
    assert recipe == mnv2.model_copy(update={"model": model})


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_valid_and_calls_what_exists(name):
    if name in TRAININGS:
        recipe, notes = TrainingRecipe.load(name)
        assert notes == ()
        assert TrainingRecipe.load(recipe.model_dump())[0] == recipe
    else:
        search = SearchRecipe.load(name)
        if search.score["kind"] == "supernet":
            return
        assert (search.rounds, search.batch) == (4, 16)  # 64 full trainings
        assert name not in SEARCHES or search.make_evaluator().load().holdout > 0


@pytest.mark.parametrize("backbone", TABLE_6)
def test_searches_regenerate_the_codes(backbone, monkeypatch):
    search = SearchRecipe.load(f"imagenet/{backbone}_search")
    training = search.make_evaluator().load()
    original = TrainingRecipe.load(f"imagenet/{backbone}.original")[0]
    assert training == original.model_copy(update={"holdout": 0.04, "evaluate_every": None})
    # The classes are those of the folder of images; their number does not matter to the budget's origin.
    counting = {"setting": Setting(original.input_size or 224)}
    monkeypatch.setattr("autobss_search.evaluators.training.Training.counting", counting)
    searcher = search.make_searcher()
    assert searcher.preset == "paper"
    (budget,) = searcher.space.constraints
    assert budget.upper == entries()[f"{backbone}_original"].measured.macs
    for how in ("random", "autobss"):
        searcher.space.check(entries()[f"{backbone}_{how}"].code)


def test_registry_entries_name_the_recipe_that_trains_them():
    for entry in entries().values():
        if entry.task == "classification" and entry.paper:
            assert TrainingRecipe.load(entry.recipe)[0].model == entry.name


def test_searches_of_small_networks_have_the_hand_made_ones_macs():
    for name in ("small/digits_search", "small/fashion_mnist_resnet_search", "small/fashion_mnist_mnv2_search"):
        search = SearchRecipe.load(name)
        training = search.make_evaluator()
        code = training.load().code
        (macs,) = search.make_space().constraints
        assert macs.upper == get_family(code.family).cost(code, training.setting).macs


def test_no_recipe_copies_another():
    """Every key of a file differs from its base's, but a rate that keeps another batch size from scaling it."""
    for path in folder().glob("*/*.yaml"):
        name = f"{path.parent.name}/{path.stem}"
        own = yaml.safe_load(path.read_text())
        if base := own.get("base"):
            inherited = resolve(base).values
            repeated = [key for key, value in own.items() if inherited.get(key, key) == value]
            repeated = [key for key in repeated if key != "learning_rate" or "batch_size" not in own]
            assert not repeated, f"{name}: {repeated}"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_files_of_ones_own_have_bases_beside_them_and_shipped_ones(tmp_path):
    write(tmp_path / "mine.yaml", "base: imagenet/resnet18.original\nepochs: 20\n")
    recipe = TrainingRecipe.load(write(tmp_path / "further.yaml", "base: mine.yaml\nlearning_rate: 1e-3\n"))[0]
    assert (recipe.model, recipe.epochs, recipe.learning_rate) == ("resnet18_original", 20, 0.001)


def test_another_batch_size_scales_the_rate_and_says_so(tmp_path):
    recipe, notes = TrainingRecipe.load("imagenet/resnet50", {"batch_size": 256})
    assert recipe.learning_rate == pytest.approx(0.7 / 4)
    assert notes == ("learning_rate: 0.7 became 0.175, as batch_size went from 1024 to 256",)
    recipe, notes = TrainingRecipe.load("imagenet/resnet50", {"batch_size": 256, "learning_rate": 0.3})
    assert (recipe.learning_rate, notes) == (0.3, ())
    mine = write(tmp_path / "mine.yaml", "base: imagenet/resnet50\nbatch_size: 512\n")
    recipe, notes = TrainingRecipe.load(mine, {"batch_size": 128})
    assert recipe.learning_rate == pytest.approx(0.7 / 8)
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochz: 3", "unknown key 'epochz': did you mean epochs"),
        ("epochs: many", "epochs: input should be a valid integer.*got 'many'"),
        ("epochs: 0", "epochs: input should be greater than 0, got 0"),
        ("epochs: 2.5", "epochs: .*got 2.5"),
        ("flip: perhaps", "flip: input should be a valid boolean.*got 'perhaps'"),
        ("model: resnet19_autobss", "model: unknown network 'resnet19_autobss': did you mean"),
        ("model: 'resnet18_small{8,16,32,64,2,2,0,2}'", r"model: resnet18_small code: element 7 \(L4\)"),
        ("data: imagnet", "data: 'imagnet': did you mean imagenet"),
        ("warmup_epochs: 40", "warmup_epochs: expected fewer than the 40 epochs, got 40"),
        ("accumulation: 7", "accumulation: 7 does not divide the batch_size of 64"),
        ("label_smoothing: 1", "label_smoothing: input should be less than 1, got 1"),
        ("momentum: .nan", "momentum: .*got nan"),
        ("learning_rate: .inf", "learning_rate: .*got inf"),
        ("crop_scale: [0.5, 1.0]", "crop_scale: is only for data in folders, not digits"),
        ("optimizer: sdg", "optimizer: 'sdg': did you mean"),
        ("base: small/digitz", "recipe 'small/digitz': did you mean small/digits"),
        ("base: missing.yaml", "missing.yaml: there is no such file"),
        ("base: small/digits.large", "small/digits.large: .*no such variant"),
        ("base: bad.yaml", "its bases lead back to it"),
        ("[1, 2]", "expected a mapping of keys to values"),
        ("a: [", "no YAML"),
    ],
)
def test_broken_recipes_name_the_key_and_the_file(tmp_path, content, message):
    text = content if content.startswith(("base", "[", "a:")) else f"base: small/digits\n{content}\n"
    with pytest.raises(RecipeError, match=message) as error:
        TrainingRecipe.load(write(tmp_path / "bad.yaml", text))
    assert "bad.yaml" in str(error.value) or "base: small/dig" in content or "missing" in content


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 1e23), ("epochs", True), ("epochs", "3"), ("iterations", 10**30), ("batch_size", 10**9),
        ("batch_size", False), ("learning_rate", 1e300), ("learning_rate", "0.1"), ("weight_decay", 1e9),
        ("seed", 2**63), ("seed", -1), ("workers", 10**6), ("train_images", 10**12), ("input_size", 100_000),
        ("evaluate_every", 10**9), ("checkpoint_steps", 10**12), ("flip", 1), ("milestones", [10**400]),
        ("accumulation", [10**5000]), ("warmup_epochs", float("inf")), ("data_dir", ""), ("model", ""), ("data", None),
        ("model", "resnet18_small{20000,32,64,128,2,2,2,2}"), ("model", "x" * 10**5), ("model_args", [1]),
        ("optimizer", ""), ("optimizer", "s" * 10**5), ("epochs", {"a": [[[[10**5000]]]]}), ("crop_scale", [True, 1]),
    ],
)  # fmt: skip
def test_every_value_has_limits_that_are_checked_at_load(key, value):
    with pytest.raises(RecipeError, match=rf"small/digits: {key}: ") as caught:
        TrainingRecipe.load("small/digits", {key: value})
    assert len(str(caught.value)) < 1000


def test_whole_numbers_can_be_written_with_an_exponent(tmp_path):
    path = write(tmp_path / "long.yaml", "base: small/digits\nepochs: 1e3\nlearning_rate: 5e-2\n")
    recipe = TrainingRecipe.load(path)[0]
    assert (recipe.epochs, type(recipe.epochs), recipe.learning_rate) == (1000, int, 0.05)


def test_hints_name_keys_and_say_where_all_names_are():
    with pytest.raises(RecipeError, match=r"unknown key 'zzz': known: accumulation, amp, .*, workers"):
        TrainingRecipe.load("small/digits", {"zzz": 1})
    with pytest.raises(RecipeError, match=r"optimizer: 'zzz': `timm\.optim\.list_optimizers\(\)` lists them"):
        TrainingRecipe.load("small/digits", {"optimizer": "zzz"})
    with pytest.raises(RecipeError, match="recipe 'zzz': `autobss recipes` shows all"):
        TrainingRecipe.load("zzz")


def test_paths_in_a_file_are_relative_to_it_and_those_of_a_caller_to_the_working_directory(tmp_path, monkeypatch):
    for name in ("own", "own/images", "own/trained", "elsewhere"):
        (tmp_path / name).mkdir()
    write(tmp_path / "own" / "base.yaml", "base: small/digits\ndata_dir: images\n")
    voc = write(tmp_path / "own" / "voc.yaml", "base: voc/pspnet_r50\nbackbone_weights: trained\n")
    further = write(tmp_path / "elsewhere" / "further.yaml", "base: ../own/base.yaml\nvariants: {}\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert TrainingRecipe.load(further)[0].data_dir == str(tmp_path / "own" / "images")
    assert TrainingRecipe.load("../own/base.yaml")[0].data_dir == str(tmp_path / "own" / "images")
    assert TrainingRecipe.load("further.yaml", {"data_dir": "here"})[0].data_dir == str(tmp_path / "elsewhere" / "here")
    assert TrainingRecipe.load({"base": "../own/base.yaml"})[0].data_dir == str(tmp_path / "own" / "images")
    assert TrainingRecipe.load(voc)[0].backbone_weights == str(tmp_path / "own" / "trained")
    names = write(tmp_path / "own" / "names.yaml", "base: voc/pspnet_r50.original\n")
    assert TrainingRecipe.load(names)[0].backbone_weights == "resnet50.tv_in1k"
    assert TrainingRecipe.load("voc/pspnet_r50")[0].backbone_weights == "runs/imagenet-resnet50.maskrcnn/last"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base: 3", "base: expected a recipe's name or a file, got 3"),
        ("base: {epochs: 3}", "base: expected a recipe's name or a file"),
        ("variants: [a]", "variants: expected a mapping of names to mappings"),
        ("variants: {a: 3}", "variants: expected a mapping of names to mappings"),
        ("base: ../own/./bad.yaml", "its bases lead back to it"),
        ("base: ../../etc/passwd", "recipe '../../etc/passwd': "),
        ("", "is empty"),
    ],
)
def test_bases_and_variants_are_what_they_should_be(tmp_path, content, message):
    (tmp_path / "own").mkdir()
    with pytest.raises(RecipeError, match=message):
        TrainingRecipe.load(write(tmp_path / "own" / "bad.yaml", content))


def test_policies_of_augmentation_are_timms():
    assert TrainingRecipe.load("imagenet/mnv2", {"auto_augment": "rand-m9-mstd0.5"})[0].auto_augment
    with pytest.raises(RecipeError, match="imagenet/mnv2: auto_augment: no policy of timm's: 'fixed'"):
        TrainingRecipe.load("imagenet/mnv2", {"auto_augment": "fixed"})


def test_missing_keys_and_recipes_of_the_other_kind_are_named():
    with pytest.raises(RecipeError, match="model: is missing"):
        TrainingRecipe.load({"data": "digits"})
    with pytest.raises(RecipeError, match="small/digits_search: is a search's recipe, for `autobss search`"):
        TrainingRecipe.load("small/digits_search")
    with pytest.raises(RecipeError, match="small/digits: is a training's recipe, for `autobss train`"):
        SearchRecipe.load("small/digits")


def test_settings_of_the_command():
    assert parse_settings(["epochs=2", "training.amp=bfloat16", "training.flip=true"]) == {
        "epochs": 2,
        "training": {"amp": "bfloat16", "flip": True},
    }
    for bad in ("epochs", "=3", "a=["):
        with pytest.raises(RecipeError, match="--set"):
            parse_settings([bad])
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {"a": {"b": 4, "c": 2}, "d": 3}
