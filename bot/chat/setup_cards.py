"""Cards of the first run: the greeting and the steps of /setup. Pure functions of what is set.

A step's card shows what is set there, so that it reads the same the first time and a year later. Its buttons say which
step and which classifier they are about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.chat.cards import MAX_CHOICES, Button, Card, Choice, Form, Input, Menu, Pick, Style, Tone
from bot.chat.text import code, listed
from bot.chat.training_cards import schedule_words, time_of_day
from storage.records import ClassifierSettings, GuildSettings, Schedule

if TYPE_CHECKING:
    from bot.services.setup import SetupState

CLASSIFIER, ROLES, CHANNEL, LEARNING, SCHEDULE, SUMMARY = range(1, 7)
TITLES = {
    CLASSIFIER: "What should I tell apart?",
    ROLES: "Who may do what?",
    CHANNEL: "Where does your team hear of trainings?",
    LEARNING: "What may I learn from?",
    SCHEDULE: "When do I train by myself?",
    SUMMARY: "Ready",
}
NEED_A_CLASSIFIER = frozenset({CHANNEL, LEARNING, SCHEDULE})
MOST_LABELS = 12
ZONES = (
    *("UTC", "Europe/London", "Europe/Lisbon", "Europe/Berlin", "Europe/Paris", "Europe/Madrid", "Europe/Rome"),
    *("Europe/Warsaw", "Europe/Athens", "Europe/Kyiv", "Europe/Istanbul", "Africa/Lagos", "Africa/Johannesburg"),
    *("Asia/Dubai", "Asia/Kolkata", "Asia/Singapore", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney"),
    *("America/Sao_Paulo", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"),
)
"""At most 25; any other is typed."""

GREETING = (
    "Hello! I am Pupil: show me short texts with `/label`, say what each one is, and I learn to tell them apart. Ask "
    "me with `/ask`; every label counts from the next answer on. At night I train on all of them, and a version that "
    "is not better never answers."
)
STORES = (
    "I never read the chat. I store what you type into my own commands and forms, and who labelled what; "
    "`/privacy show` tells what I have of you, and `/privacy forget` deletes it."
)
BEGIN = "To begin, somebody who manages this server runs {setup}: it takes two minutes."


def greeting_card(setup: str) -> Card:
    """`setup`: the command as it is shown, clickable where that is possible."""
    return Card(f"{GREETING}\n\n{STORES}\n\n{BEGIN.format(setup=setup)}")


def setup_card(state: SetupState, step: int, note: str = "") -> Card:
    """One step of the guide. `note`: what was just done or could not be."""
    if step in NEED_A_CLASSIFIER and state.classifier is None:
        step = CLASSIFIER
    body, rows = _STEPS[step](state)
    return Card(
        title=TITLES[step],
        body="\n\n".join(filter(None, [note, body])),
        footer="" if step == SUMMARY else f"Step {step} of 5 · everything can be changed later with /setup",
        tone=Tone.GOOD if step == SUMMARY and state.classifier else Tone.NEUTRAL,
        rows=(*rows, *_way(state, step)),
    )


def without_gone(card: Card, there: Collection[str]) -> Card:
    """The card with no role or channel preset that the server no longer has: Discord would refuse it."""
    rows = (replace(row, chosen="") if isinstance(row, Menu) and row.chosen not in there else row for row in card.rows)
    return replace(card, rows=tuple(rows))


Rows = tuple[tuple[Button, ...] | Menu, ...]


def _way(state: SetupState, step: int) -> Rows:
    """Back and Next; where all was gone through before, the way leads back to the summary."""
    if step == SUMMARY:
        return ()
    if state.settings.setup_step >= SUMMARY:
        return ((Button("Done", _go(SUMMARY, state), Style.GREEN),),)
    back = (Button("Back", _go(step - 1, state)),) if step > CLASSIFIER else ()
    words = f"Keep {state.classifier.name}" if step == CLASSIFIER and state.classifier else _next_words(state, step)
    style = Style.GREY if words == "Skip" else Style.GREEN
    return ((*back, Button(words, _go(after(state, step), state), style)),)


def _next_words(state: SetupState, step: int) -> str:
    chosen = {ROLES: state.settings.lead_role or state.settings.member_role, CLASSIFIER: state.classifier}
    return "Next" if chosen.get(step, True) else "Skip"


def after(state: SetupState, step: int) -> int:
    """The step that follows: without a classifier there is little to choose; once through, always the summary."""
    if state.settings.setup_step >= SUMMARY or (step == ROLES and state.classifier is None):
        return SUMMARY
    return min(step + 1, SUMMARY)


def _number(state: SetupState) -> int:
    return state.classifier.id if state.classifier else 0


def _go(step: int, state: SetupState) -> str:
    return f"setup:go:{step}:{_number(state)}"


def _classifier(state: SetupState) -> tuple[str, Rows]:
    if state.classifier is None:
        words = (
            "Name a task, and the labels that I should choose from. At first I answer from the names alone; a few "
            "words about each label help me before anybody has taught me anything."
        )
        return words, ((Button("Name it", "setup:name", Style.BLUE),),)
    words = f"{code(state.classifier.name)} tells apart {_labels(state)}.\nKeep it, add labels to it, or name another."
    buttons = (
        Button("Add labels", f"setup:name:{state.classifier.id}"),
        Button("Name another", "setup:name"),
    )
    if len(state.classifiers) == 1:
        return words, (buttons,)
    choices = tuple(Choice(str(one.id), one.name) for one in state.classifiers[:MAX_CHOICES])
    if (left := len(state.classifiers) - MAX_CHOICES) > 0:
        words += f" The menu lacks {left} more: `/classifier use` makes one this channel's, then /setup is about it."
    return words, (Menu("setup:use", "Set up another one", choices), buttons)


def _labels(state: SetupState) -> str:
    names = [code(count.label.name) for count in state.labels]
    return listed(names, MOST_LABELS) if names else "nothing yet: it has no labels"


def _roles(state: SetupState) -> tuple[str, Rows]:
    settings, number = state.settings, _number(state)
    others = " Everybody else may still ask." if settings.member_role else ""
    words = (
        f"**Leads** name labels, start trainings and decide what is live: {_leads(settings)}.\n"
        f"**Teachers** label and say what is right: {_teachers(settings)}.{others}"
    )
    rows: list[tuple[Button, ...] | Menu] = [
        Menu(f"setup:lead:{number}", "A role for leads", pick=Pick.ROLE, chosen=settings.lead_role or ""),
        Menu(f"setup:member:{number}", "A role for teachers", pick=Pick.ROLE, chosen=settings.member_role or ""),
    ]
    clear = []
    if settings.lead_role:
        clear.append(Button("Only who manages the server leads", f"setup:nolead:{number}"))
    if settings.member_role:
        clear.append(Button("Everyone may teach", f"setup:nomember:{number}"))
    return words, (*rows, *((tuple(clear),) if clear else ()))


def _leads(settings: GuildSettings) -> str:
    role = f", and <@&{settings.lead_role}>" if settings.lead_role else ""
    return f"whoever may manage this server{role}"


def _teachers(settings: GuildSettings) -> str:
    return f"leads and <@&{settings.member_role}>" if settings.member_role else "everyone"


def _channel(state: SetupState) -> tuple[str, Rows]:
    channel, number = _settings(state).team_channel, _number(state)
    now = f"It is <#{channel}> now." if channel else "Now it is the channel in which somebody asks for a training."
    words = f"How a training goes, what came of it, and in the morning what failed at night. {now}"
    menu = Menu(f"setup:channel:{number}", "A channel", pick=Pick.CHANNEL, chosen=channel or "")
    return words, (menu, (Button("This channel", f"setup:here:{number}", Style.BLUE),))


def _learning(state: SetupState) -> tuple[str, Rows]:
    on = _settings(state).learn_from_questions
    words = (
        "I learn from what people give me themselves: `/label`, forms and files. What somebody asks with `/ask` or "
        "`/why` can also wait among the texts that your team labels; whoever asks is told so every time.\n"
        "Discord's Developer Policy forbids training on chat messages without its permission, so I never read the "
        "chat; many read a bot's own commands as outside of that rule, but Discord has not said so.\n\n"
        f"Questions are {'**kept for labelling**' if on else '**not** kept for labelling'} now."
    )
    number = _number(state)
    keep = Button("Keep questions for labelling", f"setup:learn:on:{number}", Style.GREY if on else Style.BLUE)
    return words, ((keep, Button("Do not keep them", f"setup:learn:off:{number}")),)


def _schedule(state: SetupState) -> tuple[str, Rows]:
    number = _number(state)
    words = f"What answers changes only if the new version is better. {schedule_words(state.schedule)}"
    menu = Menu(
        f"setup:zone:{number}", "Every night at 03:00 in …", tuple(Choice(zone, _zone_words(zone)) for zone in ZONES)
    )
    buttons = (Button("Type it", f"setup:clock:{number}", Style.BLUE), Button("Never", f"setup:never:{number}"))
    return words, (menu, buttons)


def _zone_words(zone: str) -> str:
    """ "America/New_York" → "New York (America)"."""
    area, _, city = zone.replace("_", " ").rpartition("/")
    return f"{city} ({area})" if area else city


def _summary(state: SetupState) -> tuple[str, Rows]:
    settings, number = state.settings, _number(state)
    roles = [f"**Leads**: {_leads(settings)}", f"**Teachers**: {_teachers(settings)}"]
    if state.classifier is None:
        words = "\n".join([*roles, "", "There is no classifier yet: nothing can be asked or taught."])
        return words, ((Button("Name it", "setup:name", Style.BLUE),), _change(number, (ROLES,)))
    chosen = _settings(state)
    channel = f"<#{chosen.team_channel}>" if chosen.team_channel else "where a training is asked for"
    lines = [
        f"**Classifier**: {code(state.classifier.name)} tells apart {_labels(state)}",
        *roles,
        f"**Team channel**: {channel}",
        f"**Learns from**: {learning_words(chosen)}",
        f"**Training**: {schedule_words(state.schedule)}",
        "",
        f"Try: {example(state)}, then `/ask` something like it.",
    ]
    return "\n".join(lines), (_change(number, (CLASSIFIER, ROLES, CHANNEL, LEARNING, SCHEDULE)),)


def learning_words(settings: ClassifierSettings) -> str:
    """The sources of texts that are open."""
    return "labels, forms, files and questions" if settings.learn_from_questions else "labels, forms and files"


def example(state: SetupState) -> str:
    """ "`/label text:… label:bug`", with a label that is there."""
    label = f" label:{state.labels[0].label.name}" if state.labels else ""
    return code(f"/label text:…{label}")


def _change(number: int, steps: tuple[int, ...]) -> Menu:
    return Menu(f"setup:change:{number}", "Change something", tuple(Choice(str(each), TITLES[each]) for each in steps))


def _settings(state: SetupState) -> ClassifierSettings:
    return state.classifier.settings if state.classifier else ClassifierSettings()


_STEPS: dict[int, Callable[[SetupState], tuple[str, Rows]]] = {
    CLASSIFIER: _classifier,
    ROLES: _roles,
    CHANNEL: _channel,
    LEARNING: _learning,
    SCHEDULE: _schedule,
    SUMMARY: _summary,
}


def classifier_form(name: str = "", typed: str = "") -> Form:
    """Names a classifier and its labels; `name`: one that is there already gets more. `typed`: labels to begin with."""
    labels = Input(
        "labels",
        "Labels: one per line, or with commas",
        value=typed,
        placeholder="bug: something is broken\nquestion: somebody wants to know something\npraise",
        long=True,
    )
    return Form("setup:named", "What should I tell apart?", (_name_input(name), labels))


def _name_input(name: str) -> Input:
    return Input("name", "Its name: short, lower case", value=name, placeholder="triage", most=32)


def clock_form(number: int, schedule: Schedule | None) -> Form:
    """Asks for a time, its zone, a number of labels, and quiet hours; what is set stands there."""
    cron = schedule.cron if schedule and schedule.cron else ""
    at = time_of_day(cron) or cron
    zone = schedule.timezone if schedule else "UTC"
    count = str(schedule.after_labels) if schedule and schedule.after_labels else ""
    quiet = schedule.quiet if schedule and schedule.quiet else ""
    return Form(
        f"setup:clocked:{number}",
        "When do I train by myself?",
        (
            Input(
                "at",
                "Time of day; empty: not by the clock",
                value=at,
                placeholder="03:00",
                optional=True,
                most=max(60, len(at)),
            ),
            Input("zone", "Time zone", value=zone, placeholder="Europe/Berlin", optional=True, most=60),
            Input("count", "After so many new labels; empty: never", value=count, optional=True, most=6),
            Input("quiet", "Quiet hours; empty: none", value=quiet, placeholder="22:00-07:00", optional=True, most=30),
        ),
    )
