"""The errors that a user's own space, scores or study can cause. The command prints them as one line."""

from autobss_zoo.errors import AutoBSSError


class SpaceError(AutoBSSError, ValueError):
    """A space without codes, or a code that is not in the space."""


class StudyError(AutoBSSError, RuntimeError):
    """A study that cannot be started or resumed as asked."""
