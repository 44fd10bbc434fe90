"""Accounts and passwords in a real browser."""

import re

from test_pages import PASSWORD, address, browser, fits, log_in, page, pytestmark, vehicles  # noqa: F401 - fixtures

NEW = "quite another password"


def test_a_password_is_changed_reset_and_an_account_enabled_again(page):  # noqa: F811
    log_in(page, "admin")
    page.get_by_role("link", name="Accounts").click()
    page.get_by_label("Name").fill("night guard")
    page.get_by_label("Password, ten letters or more").fill(PASSWORD)
    page.get_by_role("button", name="Make account").click()
    page.get_by_role("button", name="Disable night guard").click()
    page.get_by_role("button", name="Enable night guard").click()
    page.get_by_role("button", name="Disable night guard").wait_for()
    page.locator("#reset-password select").select_option("night guard")
    page.get_by_label("New password of the account").fill(NEW)
    page.get_by_role("button", name="Reset password").click()
    page.get_by_text("The password of night guard is changed").wait_for()
    fits(page, "accounts")
    page.get_by_role("button", name="Log out").click()

    page.get_by_role("heading", name="Log in").wait_for()
    log_in(page, "night guard", NEW)
    page.get_by_role("link", name="night guard (guard)").click()
    page.get_by_label("Old password").fill(PASSWORD)  # the one before
    page.get_by_label(re.compile("New password")).fill(PASSWORD)
    page.get_by_label("The new password again").fill(NEW)
    page.get_by_role("button", name="Change password").click()
    page.get_by_text("the two new passwords differ").wait_for()
    page.get_by_label("The new password again").fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    page.get_by_text("the old password is not right").wait_for()
    page.get_by_label("Old password").fill(NEW)
    page.get_by_role("button", name="Change password").click()
    page.get_by_text("Your password is changed.").wait_for()
    assert page.locator("#error").is_hidden()
    fits(page, "password")
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    log_in(page, "night guard", PASSWORD)
    page.get_by_role("heading", name="Whose vehicle is this?").wait_for()
