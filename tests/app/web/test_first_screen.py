"""Answers in people's words: on the first screen of a phone, beside the photograph on a desktop, in both languages."""

import pytest
from test_pages import address, browser, fits, log_in, page, vehicles  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("needs_chromium")


def ask(page, file):  # noqa: F811
    page.locator("#identify [name=pictures]").set_input_files(file)
    page.locator("#identify button").click()
    page.locator("#decision").wait_for(state="visible")


def test_a_phone_shows_answer_flat_and_incident_button_at_once(page, vehicles):  # noqa: F811
    log_in(page, "guard")
    ask(page, vehicles[0][0])
    assert page.locator("#decision").inner_text() == "Resident: AB 12, flat 12"
    assert page.locator("#why").inner_text() == "It looks like this enrolled vehicle."
    for part in ("#decision", "#why", "#to-incident", "#photographs img"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= 844, part
    assert page.locator("#reason").is_hidden(), "figures stand behind a fold"
    page.get_by_role("button", name="Report an incident").click()
    assert page.evaluate("document.activeElement.name") == "kind"
    assert page.locator("#incident button").is_visible()


def test_a_desktop_shows_the_photograph_beside_the_answer(page, vehicles):  # noqa: F811
    page.set_viewport_size({"width": 1400, "height": 900})
    log_in(page, "guard")
    ask(page, vehicles[0][0])
    photograph, decision = page.locator("#photographs").bounding_box(), page.locator("#decision").bounding_box()
    assert photograph["x"] + photograph["width"] <= decision["x"]
    assert abs(photograph["y"] - decision["y"]) < 60
    fits(page, "identify")


def test_answers_and_errors_are_in_chinese(page, vehicles, tmp_path):  # noqa: F811
    (tmp_path / "no.jpg").write_bytes(b"nothing")
    page.goto("/login")
    page.get_by_role("button", name="中文").click()
    log_in_chinese(page)
    ask(page, vehicles[0][0])
    assert page.locator("#decision").inner_text() == "住户车辆：AB 12，房号 12"
    page.get_by_role("button", name="上报事件").click()
    page.get_by_text("已上报违规事件").wait_for()
    page.locator("#identify [name=pictures]").set_input_files(tmp_path / "no.jpg")
    page.locator("#identify button").click()
    page.locator("#error").get_by_text("no.jpg: 不是照片文件").wait_for()
    assert page.locator("#answer").is_hidden()
    page.evaluate("byId('error').textContent = sentence('vehicle 17 has this plate already')")
    assert page.locator("#error").inner_text() == "17 号车辆已登记此车牌"
    assert page.evaluate("ngettext('{n} vehicle found.', '{n} vehicles found.', 3)") == "找到 3 辆车。"
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()


def log_in_chinese(page):  # noqa: F811
    page.get_by_label("姓名").fill("guard")
    page.get_by_label("密码").fill("a long enough password")
    page.get_by_role("button", name="登录").click()
    page.get_by_role("heading", name="这是谁的车？").wait_for()
