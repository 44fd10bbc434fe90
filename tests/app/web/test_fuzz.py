"""The API with whatever its own description allows, and with what it does not: never a server error."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from registers import photo
from schemathesis.checks import not_a_server_error
from web_service import FAST

from app.registry.accounts import Accounts, Role
from app.registry.desk import Desk, Shot
from app.registry.register import NewOwner
from app.web.service import create_app
from app.web.state import State


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory, run_folder):
    """The app, and the token of an admin."""
    desk = Desk(tmp_path_factory.mktemp("fuzz") / "register", device="cpu")
    desk.use_model(run_folder, "global", "tester")
    for number in range(3):
        desk.enrol([Shot(photo(number))], account="tester", owner=NewOwner(f"owner {number}"), plate=f"P{number}")
    accounts = Accounts(desk.database, FAST)
    accounts.add("admin", Role.admin, "a long enough password", "tester")
    state = State(desk)
    state.accounts = accounts
    app = create_app(lambda: state)
    app.state.register = state
    yield app, accounts.new_token("admin", "", 1, "tester")
    state.close()


@pytest.fixture(scope="module")
def described(fuzzed):
    return schemathesis.openapi.from_asgi("/api/openapi.json", fuzzed[0])


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_breaks_the_service(case, fuzzed):
    response = case.call(headers={"Authorization": f"Bearer {fuzzed[1]}"})
    case.validate_response(response, checks=[not_a_server_error])
    if response.status_code >= 400:
        assert response.json()["detail"]
