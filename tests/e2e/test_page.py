"""The playground's page in a real Chromium, against a stand-in server that speaks its socket protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes import page_scenes as scenes
from tests.fakes.page_server import PageServer

playwright = pytest.importorskip("playwright.async_api", reason="Playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium at /usr/bin/chromium"),
]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect = playwright.expect
LOG, LAST = "#log", "#log .message >> nth=-1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[PageServer]:
    async with PageServer() as running:
        yield running


@asynccontextmanager
async def opened(browser: Any, server: PageServer, width: int = 1280, height: int = 800) -> AsyncIterator[Any]:
    """The loaded page; fails at the end when the page logged an error or asked another host for anything."""
    context = await browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    context.set_default_timeout(5000)
    page = await context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: None if request.url.startswith(server.url) else trouble.append(request.url))
    await page.goto(server.url)
    await expect(page.locator(".welcome")).to_be_visible()
    yield page
    await context.close()
    assert [line for line in trouble if not line.startswith(("blob:", "data:"))] == []


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any, server: PageServer) -> AsyncIterator[Any]:
    async with opened(browser, server) as loaded:
        yield loaded


async def type_line(page: Any, text: str) -> None:
    await page.locator("#message").fill(text)


async def test_a_message_is_sent_with_enter_and_appears_in_the_log(page: Any, server: PageServer) -> None:
    await type_line(page, "hello there")
    await page.keyboard.press("Enter")
    await expect(page.locator(LAST)).to_contain_text("hello there")
    await expect(page.locator("#message")).to_have_value("")
    assert server.sent("say")[0]["channel_id"] == scenes.SUPPORT


async def test_user_text_never_becomes_markup(page: Any, server: PageServer) -> None:
    nasty = "<img src=x onerror=alert(1)> **<b>bold</b>** [x](javascript:alert(1)) `</code><script>`"
    await server.post(scenes.message("900", scenes.SUPPORT, scenes.ADA, nasty))
    last = page.locator(LAST)
    await expect(last).to_contain_text("<img src=x onerror=alert(1)>")
    assert await last.locator("img, script, b, a").count() == 0
    await expect(last.locator("strong")).to_have_text("<b>bold</b>")
    await expect(last.locator("code")).to_have_text("</code><script>")


async def test_an_escaped_underscore_is_drawn_without_its_backslash(page: Any, server: PageServer) -> None:
    text = r"\_not emphasis\_, snake\_case and C:\dir"
    await server.post(scenes.message("901", scenes.SUPPORT, scenes.ADA, text))
    last = page.locator(LAST)
    await expect(last).to_contain_text(r"_not emphasis_, snake_case and C:\dir")
    assert await last.locator("em").count() == 0


async def test_numbered_lines_stay_as_typed(page: Any, server: PageServer) -> None:
    text = "First:\n1. look\n   2. **ask**\n- that is all"
    await server.post(scenes.message("907", scenes.SUPPORT, scenes.ADA, text))
    last = page.locator(LAST)
    await expect(last.locator(".markdown p")).to_have_text("First:\n1. look\n   2. ask", use_inner_text=True)
    await expect(last.locator("strong")).to_have_text("ask")
    await expect(last.locator("li")).to_have_text("that is all")


async def test_markdown_mentions_and_times_are_drawn(page: Any) -> None:
    message = page.locator(".message", has_text="snake_case_name")
    await expect(message.locator("strong")).to_have_text("Bold")
    await expect(message.locator("em")).to_have_text("italic")
    await expect(message.locator("blockquote")).to_have_text("a quote")
    await expect(message.locator("li")).to_have_count(2)
    await expect(message.locator("pre")).to_have_text("print('hi')")
    await expect(message.locator("time.stamp")).to_contain_text("2023")
    await expect(message.locator(".mention")).to_have_text(["@jonas", "#training", "/label"])


async def test_a_command_is_picked_and_filled_with_the_keyboard_alone(page: Any, server: PageServer) -> None:
    await page.locator("#message").focus()
    await page.keyboard.type("/la")
    await expect(page.locator(".suggestions .choice")).to_have_count(1)
    await page.keyboard.press("Enter")
    await page.keyboard.type("I was charged twice")
    await page.keyboard.press("Tab")
    await page.keyboard.type("bill")
    await expect(page.locator(".suggestions .choice")).to_have_text(["billing"])
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(LAST)).to_contain_text("Saved: I was charged twice · billing")
    assert server.sent("command")[0]["options"] == [
        {"type": 3, "name": "text", "value": "I was charged twice"},
        {"type": 3, "name": "label", "value": "billing"},
    ]
    asked = server.sent("autocomplete")[-1]["options"]
    assert [(one["name"], one.get("focused", False)) for one in asked] == [("text", False), ("label", True)]


async def test_autocomplete_waits_until_the_typing_pauses(page: Any, server: PageServer) -> None:
    await type_line(page, "/label text: x label: ")
    await expect(page.locator(".suggestions .choice").first).to_be_visible()
    before = len(server.sent("autocomplete"))
    await page.keyboard.type("question", delay=20)
    await expect(page.locator(".suggestions .choice")).to_have_text(["question"])
    assert len(server.sent("autocomplete")) - before <= 2


async def test_arrow_keys_walk_the_picker_and_escape_closes_it(page: Any) -> None:
    await page.locator("#message").focus()
    await page.keyboard.type("/")
    names = await page.locator(".suggestions .choice-label").all_inner_texts()
    assert names == ["/ask", "/import", "/label", "/sleep", "/teach", "/train now", "/train status"]
    await page.keyboard.press("ArrowUp")
    await expect(page.locator(".choice.active .choice-label")).to_have_text("/train status")
    active = await page.locator("#message").get_attribute("aria-activedescendant")
    assert active == await page.locator(".choice.active").get_attribute("id")
    await page.keyboard.press("Escape")
    await expect(page.locator(".suggestions")).to_be_hidden()


async def test_a_missing_required_option_is_named_and_nothing_is_sent(page: Any, server: PageServer) -> None:
    await type_line(page, "/ask")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(".command-form [role=alert]")).to_have_text("“text” is required.")
    await expect(page.locator(".option.invalid")).to_have_count(1)
    assert server.sent("command") == []


async def test_a_number_out_of_range_and_a_missing_file_are_refused(page: Any, server: PageServer) -> None:
    await type_line(page, "/import limit: 500")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Run /import").click()
    await expect(page.locator(".command-form [role=alert]")).to_have_text("“file” needs a file.")
    table = {"name": "rows.csv", "mimeType": "text/csv", "buffer": b"text,label\nx,bug\n"}
    await page.locator(".option.file input").set_input_files(table)
    await expect(page.locator(".option-file")).to_contain_text("rows.csv")
    await page.get_by_role("button", name="Run /import").click()
    await page.get_by_role("button", name="Run /import").click()
    await expect(page.locator(".command-form [role=alert]")).to_have_text("“limit” can be at most 100.")
    await page.locator("[data-option=limit] textarea").fill("50")
    await page.keyboard.press("Enter")
    await expect(page.locator(".command-form")).to_have_count(0)
    options = {one["name"]: (one["type"], one["value"]) for one in server.sent("command")[0]["options"]}
    assert options["limit"] == (4, 50)
    assert options["file"][0] == 11


async def test_a_deferred_answer_thinks_and_is_then_edited(page: Any) -> None:
    await type_line(page, "/train now")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(LAST).locator(".thinking")).to_be_visible()
    await expect(page.locator(LAST)).to_contain_text("Training v5 began.")
    await expect(page.locator(LAST).locator(".used")).to_have_text("Mmaria used /train now")


async def test_a_bot_that_never_answers_is_told_in_red_and_can_be_dismissed(page: Any) -> None:
    await type_line(page, "/sleep")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    failed = page.locator(".waiting .failed")
    await expect(failed).to_have_text("The application did not respond")
    await page.locator(".waiting").get_by_role("button", name="Dismiss").click()
    await expect(failed).to_have_count(0)


async def test_a_button_sends_its_custom_id_and_the_message_changes(page: Any, server: PageServer) -> None:
    await page.get_by_role("button", name="Right").first.click()
    await expect(page.locator(".message", has_text="Noted: right")).to_be_visible()
    sent = server.sent("component")[0]
    assert (sent["custom_id"], sent["component_type"]) == ("right", 2)
    await expect(page.get_by_role("button", name="Undo")).to_be_enabled()


async def test_a_disabled_button_cannot_be_pressed(page: Any) -> None:
    await expect(page.get_by_role("button", name="Why")).to_be_disabled()


async def test_a_press_that_fails_says_so_below_the_message(page: Any, server: PageServer) -> None:
    buttons = [scenes.row(scenes.button("Dead", "why-not"))]
    await server.post(scenes.message("901", scenes.SUPPORT, scenes.BOT, "old", components=buttons))
    await page.get_by_role("button", name="Dead").click()
    await expect(page.locator('[data-id="901"] .failed')).to_have_text("The application did not respond")


async def test_a_select_works_with_the_keyboard(page: Any, server: PageServer) -> None:
    await page.locator(".select").focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("option")).to_have_count(len(scenes.LABELS))
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message", has_text="Noted: question")).to_be_visible()
    assert server.sent("component")[0]["values"] == ["question"]


async def test_a_role_select_offers_the_servers_roles_and_a_mention_names_one(page: Any, server: PageServer) -> None:
    select = {"type": 6, "custom_id": "who", "placeholder": "Who may teach?", "default_values": [{"id": "21"}]}
    asks = scenes.message("902", scenes.SUPPORT, scenes.BOT, "Now <@&21>.", components=[scenes.row(select)])
    await server.post(asks)
    message = page.locator('[data-id="902"]')
    await expect(message).to_contain_text("@Leads")
    await message.locator(".select").click()
    await expect(page.get_by_role("option")).to_have_text(["@Teachers", "@Leads"])
    await page.get_by_role("option", name="@Teachers").click()
    await expect(page.locator(".message", has_text="Noted: 20")).to_be_visible()
    assert server.sent("component")[0]["values"] == ["20"]


async def test_a_modal_checks_its_fields_and_sends_every_kind(page: Any, server: PageServer) -> None:
    await type_line(page, "/teach")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    modal = page.get_by_role("dialog", name="Teach a text")
    await modal.get_by_role("button", name="Submit").click()
    await expect(modal.locator(".field-error").first).to_have_text("This field is required.")
    await modal.get_by_role("textbox", name="Text").fill("A long text")
    await modal.locator(".select").click()
    await page.get_by_role("option", name="praise").click()
    await modal.get_by_label("Pin it").check()
    file = {"name": "more.csv", "mimeType": "text/csv", "buffer": b"x"}
    await modal.get_by_label("More texts").set_input_files(file)
    await expect(modal.locator(".file-state")).to_have_text("more.csv")
    await modal.get_by_role("button", name="Submit").click()
    await expect(modal).to_have_count(0)
    parts = {
        one["custom_id"]: one.get("values", one.get("value")) for one in server.sent("modal_submit")[0]["components"]
    }
    assert parts["text"] == "A long text"
    assert (parts["label"], parts["sure"], parts["also"]) == (["praise"], "yes", ["pin"])
    assert len(parts["file"]) == 1


async def test_escape_closes_a_modal_without_sending(page: Any, server: PageServer) -> None:
    await type_line(page, "/teach")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert server.sent("modal_submit") == []


async def test_the_message_menu_runs_a_message_command(page: Any, server: PageServer) -> None:
    await page.locator(".message", has_text="Third customer").click(button="right")
    await page.get_by_role("menuitem", name="Predict").click()
    await expect(page.locator(LAST).locator(".used")).to_contain_text("used Predict")
    target = server.sent("menu")[0]["target_id"]
    assert "Third customer" in next(one["content"] for one in server.messages[scenes.SUPPORT] if one["id"] == target)


async def test_an_ephemeral_answer_is_marked_and_goes_when_dismissed(page: Any, server: PageServer) -> None:
    private = page.locator(".message.ephemeral")
    await expect(private).to_contain_text("Only you can see this")
    await private.get_by_role("button", name="Dismiss").click()
    await expect(private).to_have_count(0)
    assert len(server.sent("dismiss")) == 1


async def test_another_person_sees_no_foreign_ephemeral_message(page: Any, server: PageServer) -> None:
    await page.get_by_role("button", name="You are maria").click()
    await page.get_by_role("menuitemradio", name="jonas").click()
    await expect(page.locator("#me")).to_contain_text("jonas")
    await expect(page.locator(".message.ephemeral")).to_have_count(0)
    await page.reload()
    await expect(page.locator("#me")).to_contain_text("jonas")
    assert server.sent("act_as")[-1]["user_id"] == scenes.JONAS


async def test_files_are_uploaded_and_sent_with_a_message(page: Any) -> None:
    picture = {"name": "chart.png", "mimeType": "image/png", "buffer": scenes.PICTURE}
    await page.locator(".message-box input[type=file]").set_input_files(picture)
    await expect(page.locator(".tray-file")).to_have_text("chart.png")
    await page.keyboard.press("Enter")
    await expect(page.locator(LAST).get_by_role("img", name="chart.png")).to_be_visible()
    await expect(page.locator(".tray-file")).to_have_count(0)


async def test_pictures_have_alternative_text_and_files_a_download(page: Any) -> None:
    await expect(page.get_by_role("img", name="Confusion matrix")).to_be_visible()
    assert await page.locator(".file-card").get_attribute("download") == "labels.csv"


async def test_a_message_in_another_channel_is_counted_until_it_is_read(page: Any, server: PageServer) -> None:
    await server.post(scenes.message("902", scenes.TRAINING, scenes.BOT, "v5 is live"))
    await expect(page.locator(".channel .count")).to_contain_text("1")
    await page.get_by_role("button", name="training").first.click()
    await expect(page.locator(LAST)).to_contain_text("v5 is live")
    await expect(page.locator(".channel .count")).to_have_count(0)


async def test_an_offline_bot_and_a_lost_connection_show_a_banner_and_both_recover(
    page: Any, server: PageServer
) -> None:
    await server.set_online(False)
    await expect(page.locator("#banner")).to_contain_text("Pupil is offline")
    await server.set_online(True)
    await expect(page.locator("#banner")).to_be_hidden()
    await server.stop()
    await expect(page.locator("#banner")).to_contain_text("Not connected")
    await server.start()
    await expect(page.locator("#banner")).to_be_hidden(timeout=10_000)


async def test_the_seconds_of_a_lost_connection_are_not_read_aloud_and_the_button_stays(
    page: Any, server: PageServer
) -> None:
    await server.stop()
    await expect(page.locator("#banner")).to_contain_text("Trying again in", timeout=10_000)
    await expect(page.locator("#banner [role=status]")).to_have_text("Not connected.")
    await expect(page.locator("[role=status] #banner-countdown")).to_have_count(0)
    await page.get_by_role("button", name="Try now").focus()
    await page.wait_for_timeout(2500)
    await expect(page.locator("#banner")).to_be_visible()
    await expect(page.get_by_role("button", name="Try now")).to_be_focused()
    await server.start()
    await page.keyboard.press("Enter")
    await expect(page.locator("#banner")).to_be_hidden(timeout=10_000)


async def test_what_happens_in_another_channel_leaves_the_focus_in_the_sidebar(page: Any, server: PageServer) -> None:
    training = page.locator(".channel", has_text="training")
    progress = await server.post(scenes.message("903", scenes.TRAINING, scenes.BOT, "Training v5"))
    await expect(page.locator(".channel .count")).to_contain_text("1")
    await training.focus()
    await training.evaluate("(button) => { button.kept = true; }")
    await server.edit(progress, content="Training v5: half done")
    await server.post(scenes.message("904", scenes.SUPPORT, scenes.BOT, "seen"))
    await expect(page.locator(LAST)).to_contain_text("seen")
    assert await training.evaluate("(button) => button.kept === true"), "an edit draws nothing there"
    await server.post(scenes.message("905", scenes.TRAINING, scenes.BOT, "v5 is live"))
    await expect(page.locator(".channel .count")).to_contain_text("2")
    await expect(training).to_be_focused()
    switch = page.locator(".me-button")
    await switch.focus()
    await server.post(scenes.message("906", scenes.TRAINING, scenes.BOT, "and more"))
    await expect(page.locator(".channel .count")).to_contain_text("3")
    await expect(switch).to_be_focused()


async def test_a_message_that_is_deleted_leaves_a_reader_where_they_read(page: Any, server: PageServer) -> None:
    for n in range(30):
        await server.post(scenes.message(f"{910 + n}", scenes.SUPPORT, scenes.ADA, f"line {n}"))
    await expect(page.locator(LAST)).to_contain_text("line 29")
    await page.locator(LOG).evaluate("(log) => { log.scrollTop = 300; }")
    await page.wait_for_timeout(200)
    await server.event("message_delete", {"channel_id": scenes.SUPPORT, "id": "939"})
    await expect(page.locator(LAST)).to_contain_text("line 28")
    assert await page.locator(LOG).evaluate("(log) => log.scrollTop") == 300
    await page.locator(LOG).evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
    await page.wait_for_timeout(200)
    await server.event("message_delete", {"channel_id": scenes.SUPPORT, "id": "938"})
    await expect(page.locator(LAST)).to_contain_text("line 27")
    assert await page.locator(LOG).evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 60


@pytest.mark.parametrize("promote", [True, False])
async def test_the_lesson_goes_from_step_to_step_and_explains_either_ending(
    page: Any, server: PageServer, promote: bool
) -> None:
    server.lesson.promote = promote
    server.lesson.training_seconds = 60.0
    await page.get_by_role("button", name="First lesson").click()
    lesson = page.locator("#lesson")
    for step, score in [("names", "31 of 60 right · 52 %"), ("teach", "45 of 60 right · 75 %")]:
        await lesson.locator(f"[data-step={step}]").click()
        await expect(lesson).to_contain_text(score)
    await lesson.locator("[data-step=train]").click()
    await expect(lesson.get_by_role("progressbar")).to_be_visible()
    await expect(lesson).to_contain_text("left")
    server.lesson.over.set()
    verdict = "The new version is live" if promote else "The present version was kept"
    await expect(lesson.locator(".verdict-title")).to_have_text(verdict)
    await lesson.locator("[data-step=ask]").click()
    await expect(lesson.locator(".lesson-end")).to_contain_text("35 points better")
    sample = lesson.locator(".sample", has_text="Since the update")
    await expect(sample.locator(".answer-mark")).to_have_text(["wrong", "right", "right"])


async def test_why_a_step_of_the_lesson_was_refused_stays_until_the_next_try(page: Any, server: PageServer) -> None:
    await page.get_by_role("button", name="First lesson").click()
    names = page.locator("#lesson [data-step=names]")
    await expect(names).to_be_visible()
    server.lesson.done = ["names"]  # somebody else was quicker
    await names.click()
    trouble = page.locator("#lesson .lesson-error")
    await expect(trouble).to_contain_text("This step is not the next one.")
    await page.wait_for_timeout(1500)  # longer than the pause between two looks
    await expect(trouble).to_contain_text("This step is not the next one.")
    await trouble.get_by_role("button", name="Try again").click()
    await expect(page.locator("#lesson")).to_contain_text("31 of 60 right")


async def test_a_command_that_is_open_does_not_move_to_another_channel_or_person(page: Any, server: PageServer) -> None:
    pill = page.locator(".command-pill")
    await type_line(page, "/ask text: it broke")
    await expect(pill).to_have_text("/ask")
    await server.set_online(False)  # what says nothing about channel or person closes nothing
    await expect(pill).to_have_count(1)
    await page.get_by_role("button", name="training").first.click()
    await expect(page.locator("#channel-name")).to_have_text("training")
    await expect(pill).to_have_count(0)
    await expect(page.locator("#message")).to_be_visible()
    await type_line(page, "/ask text: it broke")
    await expect(pill).to_have_text("/ask")
    await page.get_by_role("button", name="You are maria").click()
    await page.get_by_role("menuitemradio", name="jonas").click()
    await expect(page.locator("#me")).to_contain_text("jonas")
    await expect(pill).to_have_count(0)
    assert server.sent("command") == []


async def test_a_command_that_is_open_stays_when_the_connection_comes_back(page: Any, server: PageServer) -> None:
    await type_line(page, "/ask text: it broke")
    await server.stop()
    await expect(page.locator("#banner")).to_contain_text("Not connected")
    await server.start()
    await expect(page.locator("#banner")).to_be_hidden(timeout=10_000)
    await expect(page.locator(".command-pill")).to_have_text("/ask")


async def test_a_try_chip_puts_the_question_into_the_ask_command(page: Any, server: PageServer) -> None:
    await page.get_by_role("button", name="First lesson").click()
    await page.locator(".try").first.click()
    await expect(page.locator(".command-pill")).to_have_text("/ask")
    await page.keyboard.press("Enter")
    await expect(page.locator(LAST)).to_contain_text("I was charged twice this month")
    assert server.sent("command")[0]["options"][0]["name"] == "text"


async def test_an_empty_channel_offers_the_first_steps(browser: Any) -> None:
    async with PageServer(messages=False) as server, opened(browser, server) as page:
        await expect(page.locator(".idea")).to_have_count(3)
        await page.get_by_role("button", name="Take the first lesson").click()
        await expect(page.locator("#lesson .step")).to_have_count(4)


async def test_nothing_is_wider_than_a_phone_and_drawer_and_lesson_open_over_the_chat(
    browser: Any, server: PageServer
) -> None:
    async with opened(browser, server, width=360, height=740) as page:
        wide = "() => document.querySelector('#log').scrollWidth <= 360 && document.documentElement.scrollWidth <= 360"
        assert await page.evaluate(wide)
        await page.get_by_role("button", name="Open the channel list").click()
        await page.locator(".channel", has_text="training").click()
        await expect(page.locator("#channel-name")).to_have_text("training")
        await expect(page.locator("#sidebar")).to_be_hidden()
        await page.get_by_role("button", name="First lesson").click()
        box = await page.locator("#lesson").bounding_box()
        assert box is not None
        assert box["width"] == 360
        await page.keyboard.press("Escape")
        await expect(page.locator("#lesson")).to_be_hidden()


async def test_every_button_and_field_has_a_name_and_ids_are_unique(page: Any, server: PageServer) -> None:
    server.lesson.done = ["names", "teach"]
    await page.get_by_role("button", name="First lesson").click()
    await expect(page.locator("#lesson .step")).to_have_count(4)
    await type_line(page, "/label text: x")
    nameless = """() => [...document.querySelectorAll('button, input, textarea, a, img')].filter((one) =>
        one.offsetParent && !(one.ariaLabel || one.alt !== undefined && one.tagName === 'IMG'
        || one.labels?.length || one.textContent.trim() || one.querySelector('img[alt]')))
        .map((one) => one.outerHTML)"""
    assert json.loads(await page.evaluate(f"() => JSON.stringify(({nameless})())")) == []
    ids = await page.locator("[id]").evaluate_all("(all) => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
