"""A search on real data, from a budget to a verified ONNX file: `make demo`.

AutoBSS looks for a better small-image ResNet than a hand-made one at the hand-made one's MACs: 32 full trainings on
scikit-learn's digits in two rounds. What it finds and the hand-made network are then trained anew with four seeds each
and tested on images that the search has not seen. Leaves the study, pictures and the winner in outputs/demo.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from autobss_search.evaluators.training import Training
from autobss_search.executors import Job
from autobss_search.executors.processes import LocalProcesses
from autobss_search.reports.plots import plot_history
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.studies.study import Study
from autobss_zoo import Code
from autobss_zoo.export.classifiers import to_onnx
from autobss_zoo.families import get_family
from autobss_zoo.plots import plot_allocation
from autobss_zoo.training import train
from autobss_zoo.training.data.batches import memory_evaluation, resized
from autobss_zoo.training.data.sources import SOURCES, load

HAND_MADE = Code.parse("resnet18_small{8,16,32,64,2,2,2,2}")
SEARCH = SearchRecipe.load("small/digits_search", {"rounds": 2, "enqueue": [str(HAND_MADE)]})
FINAL = Training({"base": "small/digits", "epochs": 10, "evaluate_every": None})
WORKERS = 2
SEEDS = (101, 102, 103, 104)
LEAST_ACCURACY = 90.0
OUTPUTS = Path(__file__).parents[1] / "outputs" / "demo"


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 140)
    setting = FINAL.setting
    searcher = SEARCH.make_searcher()
    console.print(f"{searcher.space.size:,} codes; the best one within the MACs of {HAND_MADE} is sought.")
    if (OUTPUTS / "found.onnx").exists():  # finished: a new one
        shutil.rmtree(OUTPUTS)
    executor = LocalProcesses(WORKERS)
    evaluate = SEARCH.make_evaluator()
    with Study(OUTPUTS / "study", searcher, evaluate, executor, SEARCH.rounds, on_event=console.print) as study:
        if not study.records:
            study.enqueue(HAND_MADE)
        found = study.run()
        plot_history(study.records, OUTPUTS / "history.png")
    networks = [(f"hand-made {HAND_MADE}", HAND_MADE), (f"found {found}", found)]
    plot_allocation(networks, OUTPUTS / "allocation.png", setting)

    console.print(f"Training {found} and the hand-made network {len(SEEDS)} times each, to be tested.")
    jobs = [Job(i, code, seed) for i, (code, seed) in enumerate((c, s) for c in (found, HAND_MADE) for s in SEEDS)]
    scores = {jobs[o.id]: o.value for o in executor.outcomes(FINAL, jobs) if o.value is not None}
    table = Table("network", "code", title=f"Held-out test digits, mean of {len(SEEDS)} trainings")
    for heading in ("MACs", "parameters", "accuracy", "lowest", "highest"):
        table.add_column(heading, justify="right")
    means = []
    for name, code in (("found", found), ("hand-made", HAND_MADE)):
        values = [value for job, value in scores.items() if job.code == code]
        cost = get_family(code.family).cost(code, setting)
        means.append(statistics.fmean(values))
        percents = (f"{p:.2f}%" for p in (means[-1], min(values), max(values)))
        table.add_row(name, str(code), f"{cost.macs:,}", f"{cost.params:,}", *percents)
    console.print(table)

    accuracy, winner = train(FINAL.load({"model": str(found), "seed": SEEDS[0]}))
    report = to_onnx(winner, OUTPUTS / "found.onnx")
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    source, images = SOURCES["digits"], resized(load("digits").test, setting.input_size)
    batches = memory_evaluation(images, source.mean, source.std, torch.device("cpu"))
    hits = [session.run(["logits"], {"image": x.numpy()})[0].argmax(1) == y.numpy() for x, y in batches]
    right, same = 100 * float(np.mean(np.concatenate(hits))), accuracy.top1
    both = f"{right:.2f}% in ONNX Runtime, {same:.2f}% in PyTorch"
    console.print(f"{report.path} is the found network, {report.macs:,} MACs; it classifies {both}.")
    console.print(f"{OUTPUTS} also has history.png, allocation.png and the study.")
    if means[0] < LEAST_ACCURACY or abs(right - same) > 0.5:
        print(f"demo: expected at least {LEAST_ACCURACY}% and the same in ONNX Runtime", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; `make demo` goes on")
