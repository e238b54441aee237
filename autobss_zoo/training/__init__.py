"""The recipes' engine: data, the training loop, evaluation, publishing."""

from .metrics.accuracy import Accuracy, evaluate
from .processes import World, joined
from .recipe import TrainingRecipe, register_task
from .task import Task, score
from .trainer import train
from .validation import validate

__all__ = [
    "Accuracy",
    "Task",
    "TrainingRecipe",
    "World",
    "evaluate",
    "joined",
    "register_task",
    "score",
    "train",
    "validate",
]
