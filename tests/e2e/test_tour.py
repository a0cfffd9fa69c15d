"""The tour: Maria leads a team through everything once, from /setup to a roll back, in a real browser.

The bot as it is started, its real base encoder, the texts of the first lesson. It takes a picture at each station;
`docs/tour.md` shows some of them. `PUPIL_TOUR` names another folder for them than `build/screens`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.running import BRIEF, ROOT, start_bot

playwright = pytest.importorskip("playwright.async_api", reason="Playwright's Python package is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = Path(os.environ.get("PUPIL_TOUR") or ROOT / "build" / "screens")
LESSON = ROOT / "bot" / "lesson"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = 1280, 400
"""Pixels across."""
SETTLED = """async (message) => {
  const drawn = async () => { for (let frames = 0; frames < 3; frames += 1) await new Promise(requestAnimationFrame); };
  const log = message.parentElement;
  await Promise.all([...message.querySelectorAll('img')].map((image) => image.decode()));
  await drawn();
  log.scrollTop = message.offsetTop + message.offsetHeight + 14 - log.clientHeight;
  await drawn();
  return innerHeight - log.clientHeight + message.offsetHeight + 30;
}"""
"""Scrolls to the end of a message, once the page has its new size, and says how high the page has to be for it."""
TRAINED = re.compile(r"^(v1 is live|Kept v0)")

pytestmark = [
    pytest.mark.long,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


class Chat:
    """The page as a person uses it: every step waits for what the person would wait for."""

    def __init__(self, page: playwright.Page) -> None:
        self.page = page

    async def command(self, line: str, file: tuple[str, bytes] | None = None) -> playwright.Locator:
        """Types a command, runs it, and returns the message that answers it, once it says something."""
        name = re.split(r" \w+: ?", line)[0]
        before = await self.used(name).count()
        await self.page.fill("#message", line)
        if ": " not in line:  # a line with options is taken for a command while it is typed
            await self.page.keyboard.press("Enter")
        form = self.page.locator(".command-form")
        await playwright.expect(form).to_be_visible()
        if file is not None:
            await form.locator("input[type=file]").set_input_files(
                {"name": file[0], "mimeType": "text/csv", "buffer": file[1]}
            )
            await playwright.expect(form.locator(".option-file")).to_contain_text(file[0])
        await form.get_by_role("button", name=f"Run {name}").click()
        await playwright.expect(form).to_have_count(0)
        answer = self.used(name).nth(before)
        await playwright.expect(answer).to_be_visible()
        return await self.answered(await self.kept(answer))

    def used(self, name: str) -> playwright.Locator:
        line = self.page.locator(".command-name", has_text=re.compile(f"^{re.escape(name)}$"))
        return self.page.locator("#log .message[data-id]", has=line)

    async def kept(self, message: playwright.Locator) -> playwright.Locator:
        """The same message by its id: "the last one" is another one soon."""
        return self.page.locator(f'[data-id="{await message.get_attribute("data-id")}"]')

    async def answered(self, message: playwright.Locator) -> playwright.Locator:
        await playwright.expect(message.locator(".thinking")).to_have_count(0, timeout=30_000)
        return message

    async def press(self, message: playwright.Locator, name: str) -> None:
        await message.get_by_role("button", name=name, exact=True).click()

    async def press_for_more(self, message: playwright.Locator, name: str) -> playwright.Locator:
        """Presses a button that answers with a message of its own, and returns that."""
        messages = self.page.locator("#log .message[data-id]")
        before = await messages.count()
        await self.press(message, name)
        answer = messages.nth(before)
        await playwright.expect(answer).to_be_visible()
        return await self.answered(await self.kept(answer))

    async def choose(self, message: playwright.Locator, placeholder: str, option: str) -> None:
        await message.locator(".select", has_text=placeholder).click()
        await self.page.get_by_role("option", name=option, exact=True).click()

    async def fill_form(self, *values: str) -> None:
        form = self.page.get_by_role("dialog")
        for place, value in enumerate(values):
            await form.locator(".modal-input").nth(place).fill(value)
        await form.get_by_role("button", name="Submit").click()
        await playwright.expect(form).to_have_count(0)

    async def go_to(self, channel: str) -> None:
        await self.page.locator("nav .channel", has_text=channel).click()

    async def picture(self, name: str, message: playwright.Locator, width: int = DESKTOP) -> None:
        """The page with the whole message on it, as high as that takes."""
        await self.page.mouse.move(2, 2)
        await self.page.set_viewport_size({"width": width, "height": 900})
        needed = await message.evaluate(SETTLED)
        await self.page.set_viewport_size({"width": width, "height": max(480, needed)})
        await message.evaluate(SETTLED)
        SCREENS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENS / f"tour-{name}.png")


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    """The page of a bot that has just been started for the first time; any error on it fails the test."""
    brief = {} if "PUPIL_TOUR" in os.environ else BRIEF  # pictures for the documentation are of a whole training
    bot = await start_bot(tmp_path / "data", base=None, **brief)
    troubles: list[str] = []
    try:
        async with playwright.async_playwright() as chromium:
            browser = await chromium.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            context = await browser.new_context(viewport={"width": DESKTOP, "height": 900}, reduced_motion="reduce")
            context.set_default_timeout(30_000)
            playwright.expect.set_options(timeout=30_000)
            page = await context.new_page()
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
            await page.goto(bot.url)
            yield Chat(page)
            await browser.close()
    finally:
        playwright.expect.set_options(timeout=None)
        assert await bot.end() == 0
    assert troubles == []


def lesson_texts() -> tuple[dict[str, str], dict[str, str]]:
    """Texts of the first lesson, each with its label: 120 to import, and 40 that are imported without it."""
    rows = [json.loads(line) for line in (LESSON / "triage.jsonl").read_text().splitlines()]
    of_label: dict[str, list[str]] = {}
    for row in rows:
        of_label.setdefault(row["label"], []).append(row["text"])
    given = {text: label for label, texts in of_label.items() for text in texts[:20]}
    more = {text: label for label, texts in of_label.items() for text in texts[20:27]}
    return given, dict(list(more.items())[:40])


def as_csv(given: dict[str, str], unlabelled: dict[str, str]) -> bytes:
    """Also one text twice, and a line without a text."""
    file = io.StringIO()
    rows = [*given.items(), *((text, "") for text in unlabelled), next(iter(given.items())), ("", "bug")]
    csv.writer(file).writerows([("text", "label"), *rows])
    return file.getvalue().encode()


async def test_maria_leads_her_team_through_everything_once(chat: Chat) -> None:
    given, unlabelled = lesson_texts()
    await set_up(chat)
    await bring_in(chat, given, unlabelled)
    await teach_ten(chat, unlabelled)
    await train(chat)
    await ask_why(chat)
    await pin(chat)
    await roll_back(chat)
    await look_at_the_numbers(chat)


async def set_up(chat: Chat) -> None:
    expect = playwright.expect
    card = await chat.command("/setup")
    await chat.press(card, "Name it")
    labels = json.loads((LESSON / "triage.labels.json").read_text())
    await chat.fill_form("triage", "\n".join(f"{name}: {words}" for name, words in labels.items()))
    await expect(card).to_contain_text("Step 2 of 5")
    await chat.choose(card, "A role for leads", "@Leads")
    await expect(card).to_contain_text("whoever may manage this server, and @Leads")
    await expect(card.locator(".select").first).to_have_text("@Leads")
    await chat.picture("01-roles", card)
    await chat.press(card, "Next")
    await expect(card).to_contain_text("Step 3 of 5")
    await expect(card.locator(".select")).to_have_text("#support")  # where /setup was typed
    await chat.choose(card, "#support", "#training")
    await expect(card).to_contain_text("Questions are not kept for labelling now.")
    await chat.press(card, "Keep questions for labelling")
    await expect(card).to_contain_text("Step 5 of 5")
    await chat.choose(card, "Every night at 03:00 in", "Berlin (Europe)")
    await expect(card.locator(".embed-title")).to_have_text("Ready")
    await expect(card).to_contain_text("tells apart bug, billing, how_to, feature_request, account_access, outage")
    await expect(card).to_contain_text("Team channel: #training")
    await expect(card).to_contain_text("Learns from: labels, forms, files and questions")
    await expect(card).to_contain_text("every day at 03:00 (Europe/Berlin)")
    await chat.picture("02-ready", card)


async def bring_in(chat: Chat, given: dict[str, str], unlabelled: dict[str, str]) -> None:
    expect = playwright.expect
    card = await chat.command("/examples import", ("support.csv", as_csv(given, unlabelled)))
    await expect(card).to_contain_text("support.csv: 162 rows. Nothing is imported yet.")
    await expect(card).to_contain_text("120 new texts with a label")
    await expect(card).to_contain_text("40 new texts without a label")
    await expect(card).to_contain_text("1 row repeats a text of the file")
    await expect(card).to_contain_text("line 163: the text is empty")
    await chat.picture("03-import", card)
    await chat.press(card, "Apply")
    await expect(card).to_contain_text("Imported support.csv into triage: 120 new texts, 40 texts without a label")
    await expect(card.get_by_role("button", name="Undo import")).to_be_visible()


async def teach_ten(chat: Chat, truth: dict[str, str]) -> None:
    expect = playwright.expect
    card = await chat.command("/teach")
    for place in range(1, 11):
        await expect(card.locator(".embed-title")).to_have_text(f"Teach triage · {place} of 10")
        if place == 4:
            await chat.picture("04-teach", card)
            await chat.picture("04-teach-phone", card, PHONE)
        label = truth[await card.locator("blockquote").inner_text()]
        await chat.press(card, "Unsure" if place == 7 else label)
    await expect(card.locator(".embed-title")).to_have_text("Teach triage · done")
    await expect(card).to_contain_text("Thank you: 9 texts taught. The next answers know it already.")
    await expect(card).to_contain_text("taught 9, unsure 1 · 31 texts without a label")
    await chat.picture("05-taught", card)


async def train(chat: Chat) -> None:
    """The gate decides whether the new version goes live; where it says no, Maria says yes."""
    expect = playwright.expect
    card = await chat.command("/train now")
    await expect(card).to_contain_text("Training triage with 129 new labels. Watch it in #training.")
    await chat.go_to("training")
    result = chat.page.locator("#log .message[data-id]").first
    await expect(result).to_contain_text("keeps answering")
    await expect(result).to_contain_text("epoch", timeout=120_000)
    await chat.picture("06-training", result)
    await expect(result.locator(".embed-title")).to_have_text(TRAINED, timeout=240_000)
    for words in ("held-out texts", "In numbers", "How far to trust it"):
        await expect(result).to_contain_text(words)
    await chat.picture("07-result", result)
    await chat.picture("07-result-phone", result, PHONE)
    kept = "Kept" in await result.locator(".embed-title").inner_text()

    changed = await chat.press_for_more(result, "What changed")
    await expect(changed.locator(".embed-title")).to_contain_text("v1 against v0")
    await expect(changed).to_contain_text("right is")
    await chat.picture("08-changed", changed)
    confused = await chat.press_for_more(result, "Confusion")
    drawn = confused.get_by_role("img", name=re.compile("^Confusion matrix of v1: .* texts right"))
    await expect(drawn).to_have_js_property("naturalWidth", 1000)
    await chat.picture("09-confusion", confused)
    if kept:
        await expect(await chat.press_for_more(result, "Promote anyway")).to_contain_text("v1 of triage answers now")
    await chat.go_to("support")


async def ask_why(chat: Chat) -> None:
    expect = playwright.expect
    card = await chat.command("/ask text: The invoice still shows the old price, how do I change the plan?")
    await expect(card.locator(".embed-footer")).to_contain_text("triage · v1")
    await chat.picture("10-answer", card)
    await chat.press(card, "Why")
    await expect(card).to_contain_text("Nearest texts it learned")
    await expect(card).to_contain_text("by Maria")
    await expect(card).to_contain_text("Words that matter")
    await chat.picture("11-why", card)


async def pin(chat: Chat) -> None:
    card = await chat.command("/pin add text: I cannot log in since this morning label: account_access")
    await playwright.expect(card).to_contain_text("Pinned: account_access")
    await playwright.expect(card).to_contain_text("A version that breaks it does not go live by itself.")
    await chat.picture("12-pin", card)


async def roll_back(chat: Chat) -> None:
    expect = playwright.expect
    card = await chat.command("/model rollback")
    await expect(card).to_contain_text("v0 of triage answers now (was v1)")
    listed = await chat.command("/model list")
    await expect(listed).to_contain_text("v1 was live")
    await expect(listed).to_contain_text("v0 is live")
    await chat.picture("13-rolled-back", listed)


async def look_at_the_numbers(chat: Chat) -> None:
    expect = playwright.expect
    card = await chat.command("/stats")
    for words in ("v0+129", "0 new labels since the last one", "Maria 129", "6 labels"):
        await expect(card).to_contain_text(words)
    await chat.picture("14-stats", card)
