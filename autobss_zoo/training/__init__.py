"""The recipes' engine: data, the training loop, evaluation, publishing."""

from .evaluation import Accuracy, evaluate
from .processes import World, joined
from .recipe import TrainingRecipe
from .task import score
from .trainer import train

__all__ = ["Accuracy", "TrainingRecipe", "World", "evaluate", "joined", "score", "train"]
