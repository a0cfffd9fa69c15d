"""The commands and their options, by click. Each one reads its arguments, makes one call and shows the answer.

`show` words the answers, `bot.__main__` the failures. Results go to stdout, everything else to stderr. With `--json`
stdout holds JSON alone, one value per line. A command's body imports what only it needs.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from bot.cli import show
from bot.cli.calls import (
    answer,
    call,
    call_about,
    everywhere,
    export_format,
    read_pairs,
    report_of,
    settings,
    write_export,
)

as_json = click.option("--json", "as_json", is_flag=True, help="For programs: JSON on stdout.")
which = click.option("--classifier", metavar="NAME", help="May be left out while there is only one.")
named = click.option("--classifier", metavar="NAME", required=True, help="Made if it is missing.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pupil", message="%(package)s %(version)s")
@everywhere
def pupil() -> None:
    """A Discord bot that a team teaches: label texts, train, and the better model answers.

    Commands talk to the bot that runs on the data directory, or open it themselves where none runs.
    """


@pupil.command("run")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the page and the API (default 8730; 0: any).")
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@everywhere
def run_bot(port: int | None, host: str | None) -> int:
    """Run the bot: on Discord with a token, else with its own playground page."""
    chosen = settings(port=port, host=host)
    from bot.run import run

    return run(chosen)


@pupil.command()
@which
@as_json
@everywhere
@click.argument("text", nargs=-1, required=True)
def predict(classifier: str | None, as_json: bool, text: tuple[str, ...]) -> None:
    """Ask the model about each TEXT."""
    answers = call_about(classifier, lambda api, name: api.predict(name, list(text)))
    if as_json:
        for one in answers:
            click.echo(json.dumps(one))
    else:
        show.answers(text, answers)


@pupil.group()
def classifiers() -> None:
    """Classifiers: list them, base one on another, say how sure one has to be."""


@classifiers.command("list")
@as_json
@everywhere
def list_classifiers(as_json: bool) -> None:
    """List the classifiers, what answers, and what each is based on."""
    answer(call(lambda api: api.classifiers()), as_json, show.classifiers)


@classifiers.command("base")
@click.option("--on", metavar="OTHER[@v3]", required=True, help="Another classifier; none: the pretrained model.")
@as_json
@everywhere
@click.argument("name")
def base_classifier(name: str, on: str, as_json: bool) -> None:
    """Start the trainings of NAME from what OTHER has learned; from the version that is live, if none is named."""
    answer(call(lambda api: api.base_on(name, on)), as_json, show.based)


@classifiers.command("sure")
@click.option("--right", metavar="95", help="How many of 100 answers should be right; none: the model's own threshold.")
@as_json
@everywhere
@click.argument("name")
def sure_classifier(name: str, right: str | None, as_json: bool) -> None:
    """Tell from which confidence on NAME answers, or choose it by the share of answers that should be right."""
    from bot.services.sureness import parse_precision

    if right is None:
        found = call(lambda api: api.precision(name))
    else:
        precision = parse_precision(right)
        found = call(lambda api: api.choose_precision(name, precision))
    answer(found, as_json, show.sure)


@pupil.group()
def labels() -> None:
    """Labelled texts: import a file, export one, list the labels."""


@labels.command("import")
@named
@as_json
@everywhere
@click.argument("file", type=click.Path(path_type=Path))
def import_labels(classifier: str, as_json: bool, file: Path) -> None:
    """Import FILE: CSV, TSV or JSONL with the columns text and label. All of it, or nothing."""
    rows = read_pairs(file)
    answer(call(lambda api: api.import_rows(classifier, rows)), as_json, show.imported)


@labels.command("export")
@which
@as_json
@everywhere
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export_labels(classifier: str | None, as_json: bool, file: Path) -> None:
    """Write every text to FILE: .csv for spreadsheets, .jsonl with every vote, which can be imported again."""
    format = export_format(file)
    content = call_about(classifier, lambda api, name: api.export(name, format))
    answer(write_export(file, content), as_json, show.exported)


@labels.command("list")
@which
@as_json
@everywhere
def list_labels(classifier: str | None, as_json: bool) -> None:
    """List the labels and how many texts each has."""
    answer(call_about(classifier, lambda api, name: api.labels(name)), as_json, show.labels)


@pupil.command()
@which
@click.option("--wait", is_flag=True, help="Wait for the result. Where no bot runs, it always waits.")
@as_json
@everywhere
def train(classifier: str | None, wait: bool, as_json: bool) -> int:
    """Train on the labels so far; a better model goes live by itself."""
    from bot.cli import training

    chosen = settings()
    job = call(lambda api: training.train(api, chosen, classifier, wait), chosen)
    answer(job, as_json, training.show_result)
    return 1 if job["state"] in training.UNHAPPY else 0


@pupil.command()
@which
@click.option("--file", type=click.Path(path_type=Path), required=True, help="CSV, TSV or JSONL with text and label.")
@as_json
@everywhere
def evaluate(classifier: str | None, file: Path, as_json: bool) -> None:
    """Measure the answers that people get on a file of labelled texts. Nothing in it is learned."""
    from bot.cli import evaluation

    rows = read_pairs(file)
    answer(call_about(classifier, lambda api, name: evaluation.evaluate(api, name, rows)), as_json, show.scores)


@pupil.group(invoke_without_command=True)
@which
@as_json
@everywhere
@click.pass_context
def models(context: click.Context, classifier: str | None, as_json: bool) -> None:
    """Model versions: list them, read a report, promote one, roll back, export."""
    if context.invoked_subcommand is None:
        context.invoke(list_models, classifier=classifier, as_json=as_json)
    else:  # what was said before the command holds for it
        given = ({"classifier": classifier} if classifier else {}) | ({"as_json": True} if as_json else {})
        context.default_map = dict.fromkeys(models.commands, given)


@models.command("list")
@which
@as_json
@everywhere
def list_models(classifier: str | None, as_json: bool) -> None:
    """List the versions, newest first, with what was measured."""
    answer(call_about(classifier, lambda api, name: api.versions(name)), as_json, show.versions)


@models.command("report")
@which
@click.option("--version", metavar="V3", help="The version; without it, the one that is live, else the newest.")
@as_json
@everywhere
def report_model(classifier: str | None, version: str | None, as_json: bool) -> None:
    """Tell everything that was measured on a version."""
    from bot.cli import export

    number = None if version is None else export.parse_version(version)
    answer(call_about(classifier, lambda api, name: report_of(api, name, number)), as_json, show.report)


@models.command()
@which
@as_json
@everywhere
@click.argument("version", type=int)
def promote(classifier: str | None, as_json: bool, version: int) -> None:
    """Make VERSION (a number) the one that answers."""
    answer(call_about(classifier, lambda api, name: api.promote(name, version)), as_json, show.swapped)


@models.command()
@which
@as_json
@everywhere
@click.argument("version", type=int, required=False)
def rollback(classifier: str | None, as_json: bool, version: int | None) -> None:
    """Go back to VERSION; without one, to the version before."""
    answer(call_about(classifier, lambda api, name: api.rollback(name, version)), as_json, show.swapped)


@models.command("export")
@which
@click.option("--version", metavar="V3", help="The version; without it, the one that is live.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="A new or empty folder.")
@as_json
@everywhere
def export_model(classifier: str | None, version: str | None, out: Path, as_json: bool) -> None:
    """Write a trained version to FOLDER, for the transformers library."""
    from bot.cli import export

    chosen = settings()
    number = None if version is None else export.parse_version(version)
    answer(call(lambda api: export.export(api, chosen, classifier, number, out), chosen), as_json, export.show_result)


@pupil.command()
@as_json
@everywhere
def demo(as_json: bool) -> int:
    """Take the first lesson: ask, teach, train, ask again; with the accuracy each time."""
    from bot.cli import lesson

    state = call(lambda api: lesson.take(api, quiet=as_json))
    if as_json:
        click.echo(json.dumps(state))
    return 0 if lesson.is_done(state) else 1


@pupil.command()
@as_json
@everywhere
def doctor(as_json: bool) -> int:
    """Check what Pupil needs, and say what to do about what is missing."""
    from bot.cli import doctor as checks
    from bot.cli.logs import log_to_file

    chosen = settings()
    log_to_file(chosen)
    found = asyncio.run(checks.examine(chosen))
    if as_json:
        click.echo(json.dumps([check.as_dict() for check in found]))
    else:
        checks.show(found)
    return 0 if all(check.is_fine for check in found) else 1


@pupil.command()
@everywhere
@click.argument("target", type=click.Path(path_type=Path))
def backup(target: Path) -> None:
    """Copy the database to TARGET, also while the bot runs, and check the copy."""
    from bot.cli import copies

    rows = asyncio.run(copies.back_up(settings(), target))
    click.echo(f"{target} holds {rows:,} rows and was checked.")


@pupil.command()
@everywhere
@click.argument("copy", type=click.Path(path_type=Path))
def restore(copy: Path) -> None:
    """Put the backup COPY in the place of the database, which is kept beside it. No bot may run."""
    from bot.cli import copies

    replaced = copies.restore(settings(), copy)
    kept = f" What was there before is kept as {replaced}." if replaced else ""
    click.echo(f"{copy} is the database now.{kept}")
