"""What is known of a network is one value on it."""

import timm
import torch

from autobss_zoo import create_model, from_pretrained, get
from autobss_zoo.about import About, task_of
from autobss_zoo.registry import PUBLISHED


def test_a_classifier_knows_its_code_classes_and_preprocessing():
    about = from_pretrained(PUBLISHED / "resnet_small_original.fmnist").about
    assert (about.code, about.task) == (get("resnet_small_original").code, "classification")
    assert about.label_names[:2] == ("T-shirt/top", "Trouser")
    shown = {key: tuple(value) if isinstance(value, list) else value for key, value in about.preprocessing.items()}
    assert shown == {
        "input_size": (1, 28, 28),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": (0.286,),
        "std": (0.353,),
    }


def test_every_kind_of_network_carries_it():
    with torch.device("meta"):
        for name in ("resnet18_autobss", "maskrcnn_r50_autobss", "psanet_r50_autobss"):
            network, entry = create_model(name), get(name)
            assert isinstance(network.about, About)
            assert (network.about.code, network.about.task) == (entry.code, entry.task)
            assert (network.about.architecture, task_of(network)) == (entry.architecture, entry.task)
        assert create_model("mnv2_original", features_only=True).about.code == get("mnv2_original").code
        assert task_of(timm.create_model("resnet18")) == "classification"
