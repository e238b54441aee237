"""ScaleNet's Table 5: the search costs of seven methods, recomputed from the assumptions of its appendix G.

python benchmarks/scalenet_cost.py --write
"""

import sys
from typing import NamedTuple

import numpy as np
from machine import parser, report

HOURS = 24
SCALENET_TRAINING, SCALENET_SEARCH = 379, 106  # V100 days, stated and not computed
BUDGETS = 10_000, 6_000, 3_000, 1_500, 800, 350  # MFLOPs of S5 to S0
B1_DAYS = 1 / 6  # of TPUv3 for one training of EfficientNet-B1


class Row(NamedTuple):
    """A method.

    Attributes:
        name: Of the method.
        days: On its device.
        printed: The days and the ratio in Table 5.
        how: The assumptions.
    """

    name: str
    days: float
    printed: tuple[int, float]
    how: str


def compound_grid() -> int:
    """Depths, widths and resolutions of 1.00, 1.01, ..., 2.00 with |d w^2 r^2 - 2| < 0.1, counted in hundredths.

    The paper's text has <=, which gives 10,286 and not its 10,285.
    """
    steps = np.arange(100, 201, dtype=np.int64)
    products = steps[:, None, None] * steps[:, None] ** 2 * steps**2  # times 10^10
    return int((abs(products - 2 * 10**10) < 10**9).sum())


def rows() -> list[Row]:
    """The methods in the table's order."""
    total = sum(BUDGETS)
    bignas = 36 * 64 * 10 / HOURS
    return [
        Row("MnasNet", 91_000 * total / 388 / HOURS, (211_571, 436.23), f"91,000 TPUv2 hours x {total:,} / 388"),
        Row("EfficientNet-X", (11**3 + 21**3 - 1) * B1_DAYS, (1_765, 3.64), "11^3 + 21^3 - 1 trainings of B1"),
        Row("EfficientNet", compound_grid() * B1_DAYS, (1_714, 3.53), f"{compound_grid():,} trainings of B1"),
        Row(
            "FBNetV2",
            600 * (total - 100) / 330 / HOURS,  # of the 21,650 MFLOPs of MnasNet's row it would be 1,640
            (1_633, 3.37),
            f"600 GPU hours x {total - 100:,} / 330, with S1 of 700 MFLOPs",
        ),
        Row(
            "OFA",
            ((1_200 + 40) * 10_000 / 600 + 75 * 40 * 5) / HOURS,
            (1_486, 3.06),
            "1,240 GPU hours x 10,000 / 600 + 75 x 40 x 5",
        ),
        Row(
            "BigNAS",
            bignas + int(bignas * SCALENET_SEARCH / SCALENET_TRAINING),
            (1_228, 2.53),
            "36 x 64 x 10 TPUv3 hours, and of these 106 / 379 in whole days",
        ),
        Row("ScaleNet", SCALENET_TRAINING + SCALENET_SEARCH, (485, 1.0), "379 V100 days of training, 106 of search"),
    ]


def agrees(row: Row) -> bool:
    """Whether the days and the ratio are the printed ones."""
    days, ratio = row.printed
    return round(row.days) == days and round(row.days / (SCALENET_TRAINING + SCALENET_SEARCH), 2) == ratio


def main() -> int:
    options = parser(__doc__).parse_args()
    found = rows()
    table = [
        [
            row.name,
            row.how,
            f"{row.days:,.2f}",
            f"{row.printed[0]:,}",
            f"{row.days / found[-1].days:.2f}",
            f"{row.printed[1]:.2f}",
        ]
        for row in found
    ]
    header = ["method", "assumed", "days", "printed", "ratio to ScaleNet", "printed"]
    title = (
        "Search costs in days of GPUs or TPUs, after ScaleNet's Table 5 and appendix G: estimates from other papers' "
        "figures, on different devices. The appendix's 1,756 days of EfficientNet-X are a misprint of the 1,765 here."
    )
    return report(__file__, title, header, table, all(map(agrees, found)), options)


if __name__ == "__main__":
    sys.exit(main())
