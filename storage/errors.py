"""What can go wrong, as one tree. Foreign exceptions are translated into it at the border.

    PupilError
    ├── UserError                 the person can put it right; the message is shown to them as it is
    │   ├── InvalidInput          empty text, 4,001 characters, a wrong column
    │   ├── NotFound              no such classifier, label, version, job (also: another guild's)
    │   │   └── UnknownLabel      no such label yet; it could be created
    │   ├── Conflict              exists already, was changed meanwhile, is not in a state for that
    │   ├── NotAllowed            the person's role does not permit it
    │   └── Busy                  try again in a moment: queue full, database locked
    ├── StorageError              nothing was saved
    │   ├── DiskFull
    │   ├── InstanceLocked        another process owns this data directory; names its pid
    │   ├── NewerDatabase         written by a newer Pupil
    │   └── DamagedFile           a database or snapshot that does not verify
    ├── ArtifactError             a model that must not be served: digest, shapes, NaN, canary
    ├── TrainerError              what the trainer could not do
    │   ├── TrainerUnavailable    not reachable, or it refused our key: worth trying again
    │   └── TrainingFailed        this job can never succeed as it is: not retried
    └── ConfigurationError        a setting that cannot work; the program does not start

A message says what happened, to which id, and what to do next. Expected outcomes (too few labels, candidate not
better) are return values, not exceptions.
"""

from __future__ import annotations


class PupilError(Exception):
    """Base of everything this project raises on purpose. `str(error)` is one clear sentence or two."""


class UserError(PupilError):
    pass


class InvalidInput(UserError):
    pass


class NotFound(UserError):
    pass


class UnknownLabel(NotFound):
    """`name`: what was typed, fit to be a label's name."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class Conflict(UserError):
    pass


class NotAllowed(UserError):
    pass


class Busy(UserError):
    """`retry_after`: seconds after which it is worth trying again."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageError(PupilError):
    pass


class DiskFull(StorageError):
    pass


class InstanceLocked(StorageError):
    pass


class NewerDatabase(StorageError):
    pass


class DamagedFile(StorageError):
    pass


class ArtifactError(PupilError):
    pass


class TrainerError(PupilError):
    pass


class TrainerUnavailable(TrainerError):
    pass


class TrainingFailed(TrainerError):
    pass


class ConfigurationError(PupilError):
    pass
