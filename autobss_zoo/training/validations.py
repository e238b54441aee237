"""How trained networks are measured on a data set's own images: by what the task of the data has registered for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ..plugins import Kinds
from .data.sources import SOURCES
from .processes import World

_BUILT_IN = {**dict.fromkeys(SOURCES, "validation"), "coco": "tasks.detection", "voc": "tasks.segmentation"}


class Validation(ABC):
    """What measures the networks of a task on a data set.

    Attributes:
        options: What `measure` takes besides.
    """

    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(
        self, name: str, data: str, data_dir: str | None, *, world: World, workers: int = 4, **options: Any
    ) -> Any:
        """A trained network on the test (or validation) images.

        Args:
            name: The network.
            data: The data set's name.
            data_dir: Where the data are; their own place when None.
            world: The processes and devices.
            workers: Processes that read images.
            **options: Of those that it takes.

        Returns:
            The metrics, as the task's.

        Raises:
            WeightsError, DataError: If the network or the data cannot be had, or do not fit each other.
            ValueError: If there is no such network, or a number is too small.
        """


VALIDATIONS: Kinds[Validation] = Kinds("data", {data: f"{__package__}.{module}" for data, module in _BUILT_IN.items()})
"""The validations by the names of their data."""

register_validation = VALIDATIONS.register
"""Decorates the validation of a data set of a user's own; takes the data set's name."""


def measure(name: str, data: str, data_dir: str | None, *, options: Mapping[str, Any], **shared: Any) -> Any:
    """A trained network on the images of any data set; arguments, result and errors as of `Validation.measure`.

    Args:
        name: As there.
        data: As there.
        data_dir: As there.
        options: Those that are not None have been asked for.
        **shared: world and workers.
    """
    validation = VALIDATIONS.find(data)()
    given = {key: value for key, value in options.items() if value is not None}
    if odd := [key for key in given if key not in validation.options]:
        raise ValueError(f"{odd[0]}: is not for networks on {data}; leave it out")
    return validation.measure(name, data, data_dir, **shared, **given)
