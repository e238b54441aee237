"""The recipes' engine: data, the training loop, evaluation, publishing."""

from .evaluation import Accuracy, evaluate
from .processes import World, joined
from .recipe import TrainingRecipe, register_task
from .task import Task, score
from .trainer import train

__all__ = ["Accuracy", "Task", "TrainingRecipe", "World", "evaluate", "joined", "register_task", "score", "train"]
