"""Codes trained from scratch by the thousand: what tables and surrogates of benchmarks are made of."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from machine import machine
from rich.progress import Progress

from autobss_search.evaluators.training import Training
from autobss_search.executors import Job
from autobss_search.executors.processes import LocalProcesses
from autobss_zoo.codes import Code
from autobss_zoo.files import write_atomically

Key = tuple[str, int]


def train_all(training: Training, wanted: Iterable[tuple[Code, int]], kept: Path, workers: int) -> dict[Key, float]:
    """The scores of codes by their texts and seeds; what was trained before is read from the file `kept`.

    Args:
        training: What trains them.
        wanted: Codes and seeds.
        kept: A line of JSON a training, written as they end: an interrupted run goes on.
        workers: Trainings side by side.

    Raises:
        RuntimeError: If a training fails.
    """
    wanted, done = list(wanted), read(kept)
    missing = [(code, seed) for code, seed in wanted if (str(code), seed) not in done]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a", encoding="utf-8") as file, Progress(disable=not missing) as progress:
        task = progress.add_task(kept.stem, total=len(missing))
        jobs = [Job(i, code, seed) for i, (code, seed) in enumerate(missing)]
        for outcome in LocalProcesses(workers).outcomes(training, jobs):
            code, seed = missing[outcome.id]
            if outcome.value is None:
                raise RuntimeError(f"{code}, seed {seed}: {outcome.error}")
            done[str(code), seed] = outcome.value
            file.write(json.dumps([str(code), seed, outcome.value]) + "\n")
            file.flush()
            progress.advance(task)
    return {(str(code), seed): done[str(code), seed] for code, seed in wanted}


def read(kept: Path) -> dict[Key, float]:
    """The trainings that a file holds; a line that a kill cut short is none."""
    done: dict[Key, float] = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else ():
        try:
            code, seed, value = json.loads(line)
        except ValueError:
            continue
        done[code, seed] = value
    return done


def write_compressed(path: Path, content: Any) -> None:
    """Write a benchmark's trainings, as compressed JSON and whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lzma.compress(json.dumps(content).encode(), preset=9))


def card(name: str, what: str, recipe: str, facts: Iterable[str], again: str, rest: str = "") -> str:
    """A benchmark's card, in Markdown.

    Args:
        name: The benchmark's.
        what: Holds what, in a paragraph.
        recipe: What trained its codes.
        facts: Measured, a sentence or more each.
        again: The command that makes it.
        rest: A section more.
    """
    setting: Any = Training(recipe).load()
    tested = f"the {setting.holdout:.0%} of them that are held out" if setting.holdout else "its test images"
    protocol = (
        f"Protocol: recipe `{recipe}`. Fashion-MNIST at {setting.input_size}x{setting.input_size} pixels, "
        f"{setting.train_images:,} images, epochs: {setting.epochs}, {setting.batch_size} images a batch; tested on "
        f"{tested}."
    )
    licence = "Licence: Apache-2.0, as the package. Fashion-MNIST's images are under MIT's."
    made = f"To make it again: `{again}`, which goes on where it was."
    lines = "".join(f"- {fact}\n" for fact in (protocol, *facts, licence, made))
    return f"# {name}\n\n{what}\n\n{lines}{rest}\nTrained on {machine()}.\n"
