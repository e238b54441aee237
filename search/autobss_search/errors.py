"""The errors that a user's own space, scores or study can cause. The command prints them as one line."""

from autobss_zoo.errors import AutoBSSError


class SpaceError(AutoBSSError, ValueError):
    """A space without codes, or a code that is not in the space."""


class StudyError(AutoBSSError, RuntimeError):
    """A study that cannot be started or resumed as asked."""


class NotReadyError(StudyError):
    """A study that cannot be read yet, or for a moment: it has not begun, or its database is locked or away.

    Attributes:
        reason: The cause in a few words; the text when it was made without.
    """

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason or text
