"""What a latency depends on beside the network: the device, the runtime and how it is used. No torch is needed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..limits import Flag, Text, Whole, complaint

Count = Annotated[Whole, Field(gt=0, le=65536)]


class Runtime(BaseModel):
    """How networks are run.

    Attributes:
        name: "pytorch", eager, or "onnxruntime".
        device: "cpu" or, of PyTorch, "cuda".
        threads: CPU threads of an operator.
        batch: Images at a time.
        dtype: "float32", or of PyTorch "float16" or "bfloat16".
        channels_last: Whether PyTorch's tensors have the channels last in memory.
        compiled: Whether PyTorch compiles the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["pytorch", "onnxruntime"] = "onnxruntime"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Count = 1
    batch: Count = 1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    channels_last: Flag = False
    compiled: Flag = False

    @model_validator(mode="after")
    def _pytorchs(self) -> Runtime:
        plain = ("cpu", "float32", False, False)
        if self.name == "onnxruntime" and (self.device, self.dtype, self.channels_last, self.compiled) != plain:
            raise ValueError(
                "onnxruntime: runs on cpu in float32; device, dtype, channels_last and compiled are pytorch's"
            )
        return self

    @classmethod
    def of(cls, **options: Any) -> Runtime:
        """A runtime of given attributes.

        Raises:
            ValueError: If one is out of range, or they do not go together; the message names it.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            raise ValueError(complaint(error, cls.model_fields)) from None

    def __str__(self) -> str:
        parts = [
            f"{self.name} on {self.device}",
            f"{self.threads} thread{'s' * (self.threads > 1)}",
            f"batch {self.batch}",
        ]
        parts += [self.dtype, *["channels last"] * self.channels_last, *["compiled"] * self.compiled]
        return ", ".join(parts)


class Conditions(BaseModel):
    """Where and how latencies were measured.

    Attributes:
        processor: The CPU's or GPU's name.
        system: The operating system and the machine's kind.
        versions: Of Python, torch, timm and, if it was used, ONNX Runtime or CUDA.
        runtime: How the networks were run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: Text
    system: Text
    versions: dict[Text, Text]
    runtime: Runtime

    def __str__(self) -> str:
        return f"{self.processor}; {self.runtime}; {', '.join(f'{name} {v}' for name, v in self.versions.items())}"
