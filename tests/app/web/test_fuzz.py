"""The API with whatever its own description allows, and with what it does not: never a server error."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from registers import photo
from schemathesis.checks import not_a_server_error
from web_service import FAST

from app.register.accounts import Accounts, Role
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from app.web.service import create_app
from app.web.state import State

OPEN: list[State] = []
APP = create_app(lambda: OPEN[0])
schema = schemathesis.openapi.from_dict(APP.openapi())
schema.app = APP  # called without a network; each call starts and ends the app


class KeptOpen(State):
    def close(self):
        pass


@pytest.fixture(scope="module")
def token(tmp_path_factory, run_folder):
    """That of an admin, over a register of three vehicles."""
    identification = Identification(tmp_path_factory.mktemp("fuzz") / "register", device="cpu")
    identification.active_model.change_to_run(run_folder, "global", "tester")
    for number in range(3):
        identification.enrol(
            [VehiclePhoto(photo(number))], account="tester", owner=NewOwner(f"owner {number}"), plate=f"P{number}"
        )
    state = KeptOpen(identification)
    OPEN[:] = [state]
    state.accounts = Accounts(identification.database, FAST)
    state.accounts.add("admin", Role.admin, "a long enough password", "tester")
    yield state.accounts.new_token("admin", "", 1, "tester")
    State.close(state)


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_breaks_the_service(case, token):
    response = case.call(headers={"Authorization": f"Bearer {token}"})
    case.validate_response(response, checks=[not_a_server_error])
    if response.status_code >= 400:
        assert response.json()["detail"]
