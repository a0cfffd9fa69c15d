"""Looking after examples: find them, remove one and bring it back, export them."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.services.examples_files import ExportFormat, files_of
from bot.services.naming import find_label, label_with_id
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from storage.errors import InvalidInput, NotAllowed
from storage.listing import FoundExample
from storage.records import Classifier, Example, Label, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)

PAGE = 10
"""Examples on one page of a search."""
MOST_QUERY = 60
"""Characters of a search that count: it has to fit into the id of a button."""
MOST_FILES, MOST_FILE = 10, 19 * 2**19
"""Attachments of one message, and bytes (9.5 MiB) of one."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    classifier: Classifier
    query: str
    """As it was searched for: normalised, at most MOST_QUERY characters."""
    label: Label | None
    found: list[FoundExample]
    page: int
    """From 0."""
    pages: int
    """At least 1."""
    total: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of an example that was removed or brought back."""

    example: Example
    label: str | None
    """Before it was removed, or since it is back; None: it has none."""
    done: bool
    """False: it was so before."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    name: str
    content: bytes


class ExampleService:
    def __init__(self, stores: Stores, serving: Serving) -> None:
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._opinions = stores.opinions
        self._listing = stores.listing
        self._serving = serving

    async def search(
        self, classifier: Classifier, query: str, label: str | int | None = None, page: int = 0
    ) -> SearchPage:
        """Examples whose text holds all words of `query` and that have `label` (its name or id), newest first.

        A page beyond the last one is the last one. Raises NotFound: no such label.
        """
        wanted = None if label is None else await self._label(classifier, label)
        query = normalise(normalise(query)[:MOST_QUERY])
        words, at = query.split(), (classifier.guild, classifier.id)
        found, total = await self._listing.search(*at, words, wanted, page * PAGE, PAGE)
        pages = max(1, -(-total // PAGE))
        if page >= pages:
            return await self.search(classifier, query, label, pages - 1)
        return SearchPage(classifier, query, wanted, found, page, pages, total)

    async def remove(self, actor: Actor, example_id: int) -> Removal:
        """Lets an example count nowhere any more; its labels and its place (golden or train) are kept.

        Raises:
            NotFound, NotAllowed: a member may remove a text of their own that nobody else has labelled.
        """
        example = await self._allowed(actor, example_id)
        label = await self._examples.current_label(actor.guild, example_id)
        done = await self._examples.remove(actor.guild, example_id, actor.id, time.time())
        return await self._changed(example, label, done, "example.removed")

    async def restore(self, actor: Actor, example_id: int) -> Removal:
        """Brings a removed example back as it was. Raises as `remove`."""
        example = await self._allowed(actor, example_id)
        done = await self._examples.restore(actor.guild, example_id, actor.id, time.time())
        label = await self._examples.current_label(actor.guild, example_id)
        return await self._changed(example, label, done, "example.restored")

    async def export(self, actor: Actor, classifier: Classifier, format: ExportFormat) -> bytes:
        """Everything in one file. Raises NotAllowed."""
        actor.require(Role.LEAD, "export the examples")
        (file,) = await self._files(classifier, format, None)
        return file

    async def export_files(self, actor: Actor, classifier: Classifier, format: ExportFormat) -> list[ExportedFile]:
        """The same as files that fit into one message.

        Raises:
            NotAllowed, InvalidInput: it takes more files than that.
        """
        actor.require(Role.LEAD, "export the examples")
        files = await self._files(classifier, format, MOST_FILE)
        if len(files) > MOST_FILES:
            raise InvalidInput(
                f"That is {len(files)} files of {MOST_FILE / 2**20:g} MiB, too much for a message. The operator can "
                f"write it to a file: pupil labels export FILE --classifier {classifier.name}"
            )
        stem = f"{classifier.name}-{datetime.now(UTC):%Y-%m-%d}"
        names = [stem] if len(files) == 1 else [f"{stem}-{number}-of-{len(files)}" for number in _numbers(files)]
        return [ExportedFile(f"{name}.{format}", file) for name, file in zip(names, files, strict=True)]

    async def _files(self, classifier: Classifier, format: ExportFormat, most: int | None) -> list[bytes]:
        examples = await self._listing.whole(classifier.guild, classifier.id)
        return await asyncio.to_thread(lambda: list(files_of(examples, format, most)))

    async def _label(self, classifier: Classifier, label: str | int) -> Label:
        at = (classifier.guild, classifier.id)
        if isinstance(label, int):
            return label_with_id(classifier, await self._classifiers.labels(*at), label)
        return find_label(classifier, await self._classifiers.every_label(*at), label)[0]

    async def _allowed(self, actor: Actor, example_id: int) -> Example:
        actor.require(Role.MEMBER, "remove texts")
        example = await self._examples.get(actor.guild, example_id)
        if actor.role >= Role.LEAD:
            return example
        if example.submitted_by != actor.id or await self._opinions.annotators_of(actor.guild, example_id) - {actor.id}:
            raise NotAllowed("Only a lead may remove or bring back a text that others brought or labelled.")
        return example

    async def _changed(self, example: Example, label: Label | None, done: bool, what: str) -> Removal:
        if done:
            self._serving.touch(await self._classifiers.by_id(example.guild, example.classifier_id))
            log.info(what, extra={"classifier": example.classifier_id, "example": example.id})
        return Removal(example, label.name if label else None, done)


def _numbers(files: list[bytes]) -> range:
    return range(1, len(files) + 1)
