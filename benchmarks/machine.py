"""What every benchmark reports beside its figures, and where it keeps them."""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import timm
import torch

from autobss_zoo.latency.runners import processor


def machine() -> str:
    """The machine, the versions and the day, in a line."""
    name = processor()
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {name}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}"
    return f"{name}, {os.cpu_count()} cores; {versions}; {date.today()}"


def most_memory() -> float:
    """The most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the process that started this one had, too
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that every benchmark has."""
    out = argparse.ArgumentParser(description=description)
    out.add_argument("--write", action="store_true", help="also write benchmarks/results/<name>.md")
    out.add_argument("--check", action="store_true", help="fail if the target is missed")
    return out


def alone(script: str, *job: object) -> dict[str, float]:
    """What a script measures of a job in a process of its own, so that memory and start-up are that job's."""
    done = subprocess.run([sys.executable, script, json.dumps(job)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))  # Ray prints, too


def answer(measure: Callable[..., dict[str, float]]) -> None:
    """In a process that `alone` has started: measure, print and end."""
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        print(json.dumps(measure(*json.loads(sys.argv[1]))))
        sys.exit()


def report(script: str, title: str, header: list[str], rows: list[list[str]], met: bool, options) -> int:
    """Print the table, write it if asked to, and return the exit code."""
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = f"{title}\n\n{table}\n\n{machine()}\n"
    print(text)
    if options.write:
        path = Path(script).parent / "results" / f"{Path(script).stem}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0 if met or not options.check else 1
