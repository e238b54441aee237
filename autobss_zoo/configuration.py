"""The config.json of a saved network, validated where it comes in: anybody can have written a folder or repository.

timm's form is kept: `architecture`, `num_classes`, `model_args`, `pretrained_cfg`, and beside them the code, its costs
and the checksum. A detector's or segmenter's states its `task`. No key can name a place: weights lie beside the file.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from .codes import Code
from .errors import WeightsError, shown
from .limits import Number, Side, Text

CONFIG_NAME = "config.json"
_MOST = 16 << 20  # bytes of a file; ImageNet-21k's labels take less than two million
_PLACES = ("file", "url", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load")
# Of model_args: what timm's factory takes, and not a network.
_FACTORY = {
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_filter_fn", "pretrained_strict",
    "pretrained_model_args", "checkpoint_path", "cache_dir", "model_cfg", "feature_cfg", "kwargs_filter", "pruned",
    "features_only", "out_indices", "feature_cls", "device", "dtype", "model_name",
}  # fmt: skip


def _plain(value: Any) -> Any:
    """A plain value, or a list of such."""
    items = value if isinstance(value, list) else [value]
    if len(items) > 64 or not all(item is None or isinstance(item, bool | int | float | str) for item in items):
        raise ValueError("expected a number, a text, true, false, null or a list of such")
    if any(isinstance(item, int | float) and not -1e9 <= item <= 1e9 for item in items):
        raise ValueError("expected numbers up to 1e9")
    return value


def _arguments(values: dict[str, Any]) -> dict[str, Any]:
    if odd := sorted(values.keys() & _FACTORY):
        raise ValueError(f"expected arguments of a network; {odd[0]} is none")
    return values


Value = Annotated[Any, BeforeValidator(_plain)]
Arguments = Annotated[dict[str, Value], AfterValidator(_arguments)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Classes = Annotated[int, Field(ge=0, le=1_000_000)]
Channels = Annotated[int, Field(gt=0, le=16384)]
Names = list[Annotated[str, Field(max_length=4096)]]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Preprocessing(_Part):
    """timm's `pretrained_cfg`, of which everything that is used is checked."""

    input_size: tuple[Channels, Side, Side] = (3, 224, 224)
    num_classes: Classes = 1000
    interpolation: Text = "bicubic"
    crop_pct: Annotated[Number, Field(gt=0, le=10)] = 0.875
    crop_mode: Text = "center"
    mean: Annotated[tuple[Number, ...], Field(min_length=1, max_length=64)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Annotated[Number, Field(gt=0)], ...], Field(min_length=1, max_length=64)] = (
        0.229,
        0.224,
        0.225,
    )
    fixed_input_size: bool = False
    label_offset: Annotated[int, Field(ge=0, le=1)] | None = None
    label_names: Names | dict[str, str] | None = None
    label_descriptions: dict[str, str] | None = None
    first_conv: str | Names | None = None
    classifier: str | Names | None = None
    license: str | None = None

    @model_validator(mode="after")
    def _names_no_place(self) -> Preprocessing:
        for key in _PLACES:
            if value := (self.model_extra or {}).get(key):
                raise ValueError(f"{key} names {shown(value)}; the weights of a saved network lie beside {CONFIG_NAME}")
        return self


class Accuracy(_Part):
    """What a published network scored."""

    top1: Annotated[Number, Field(ge=0, le=100)]
    text: Text


class Published(_Part):
    """What is stated of a published network."""

    name: str
    tag: str
    found_by: Text
    source: Text
    recipe: Text
    accuracy: Accuracy


class Configuration(_Part):
    """A classifier's: of this zoo where it states a code or an architecture of the zoo's, else of timm."""

    architecture: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,128}$")]
    pretrained_cfg: Preprocessing
    num_classes: Classes | None = None
    model_args: Arguments = {}
    label_names: Names | dict[str, str] | None = None
    label_descriptions: dict[str, str] | None = None
    code: str | None = None
    sha256: Checksum = ""  # timm's own savers state none; null is no checksum
    published: Published | None = None

    @model_validator(mode="after")
    def _one_code(self) -> Configuration:
        stated = [text for text in (self.code, self.model_args.get("code")) if text is not None]
        codes = {Code.parse(_text(text)) for text in stated}
        if len(codes) > 1:
            raise ValueError(f"code is {self.code}, and model_args have {self.model_args['code']}; expected one code")
        return self

    @property
    def timms(self) -> dict[str, Any]:
        """`pretrained_cfg` as timm completes it from the other keys."""
        cfg = self.pretrained_cfg.model_dump(exclude_unset=True)
        for key in ("num_classes", "label_names", "label_descriptions"):
            if (value := getattr(self, key)) is not None:
                cfg[key] = value
        if channels := self.model_args.get("in_chans"):
            cfg["input_size"] = (channels, *self.pretrained_cfg.input_size[1:])
        return {key: value for key, value in cfg.items() if key not in _PLACES}


class Sliding(_Part):
    """How a segmenter's images are prepared."""

    crop: Side | None = None
    base_size: Side | None = None


class ComposedConfiguration(_Part):
    """A detector's or segmenter's."""

    task: Literal["detection", "segmentation"]
    architecture: Text
    code: str
    sha256: Checksum
    arguments: Arguments = {}
    label_names: Names = []
    evaluation: Sliding = Sliding()

    @model_validator(mode="after")
    def _is_a_code(self) -> ComposedConfiguration:
        Code.parse(self.code)
        return self


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"model_args.code: expected a text, got {shown(value)}")
    return value


def read_config(path: Path, where: str = "") -> Configuration | ComposedConfiguration:
    """Read and validate a config.json that save_pretrained or timm has written beside weights.

    Args:
        path: The file.
        where: What an error calls it; the path when empty.

    Raises:
        WeightsError: If there is no such file, or it is no configuration.
    """
    where = where or str(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST:
            raise WeightsError(f"{where}: expected a file of up to {_MOST:,} bytes")
        content = path.read_bytes()
    except FileNotFoundError:
        parts = (path.parent / name for name in ("last", "best"))  # of a training's folder
        trained = [str(part) for part in parts if (part / path.name).is_file()]
        hint = f"; the networks of this training are {' and '.join(trained)}" if trained else ""
        text = f"no such file; expected a folder that save_pretrained has written{hint}"
        raise WeightsError(f"{where}: {text}") from None
    except OSError as error:
        raise WeightsError(f"{where}: {error.strerror or error}") from error
    try:
        values = from_json(content)
        kind = ComposedConfiguration if isinstance(values, Mapping) and "task" in values else Configuration
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise WeightsError(f"{where}: {_complaint(error)}") from None
    except ValueError as error:  # no JSON, or too deep
        reason = f"expected one that save_pretrained has written ({shown(str(error))})"
        raise WeightsError(f"{where}: no configuration; {reason}") from None


def _complaint(error: ValidationError) -> str:
    """One line on the first of pydantic's complaints."""
    wrong: Any = error.errors(include_url=False)[0]
    key = shown(".".join(map(str, wrong["loc"]))).strip("'\"")
    if wrong["type"] == "missing":
        return f"{key}: is missing; expected a configuration that save_pretrained has written"
    text = " ".join(wrong["msg"].removeprefix("Value error, ").split())[:300]
    if wrong["type"] == "value_error" and not isinstance(wrong["input"], int | float | str | list):
        return f"{key}: {text}" if key else text
    return f"{key}: {text[0].lower()}{text[1:]}, got {shown(wrong['input'])}"
