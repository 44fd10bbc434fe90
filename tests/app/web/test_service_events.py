"""Events that the service delivers beside its requests."""

import pytest
from event_receivers import desk, name_receivers, wait_until
from fastapi.testclient import TestClient
from web_service import jpeg

from app.register.receivers import EventsFileError


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_guards_identification_reaches_a_receiver(service, identification, as_role, webhook):
    name_receivers(identification.folder, desk(webhook.url, 'events = ["match"]'))
    service.state.register.deliver()
    client = as_role("guard")
    answer = client.post("/api/identify", files={"pictures": jpeg(1), "plate_pictures": jpeg(101)}).json()
    client.post("/api/identify", files={"pictures": jpeg(3)})
    wait_until(lambda: webhook.bodies)
    (body,) = webhook.bodies
    assert (body["event"], body["sighting"], body["vehicle"]) == ("match", answer["sighting"], 1)
    assert (body["camera"], body["plate"]) == (None, "AB 12")
    assert "owner" not in body


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_service_does_not_start_with_a_file_of_receivers_that_it_cannot_use(service, identification):
    name_receivers(identification.folder, "webhook = 1")
    with TestClient(service), pytest.raises(EventsFileError, match=r"events\.toml: webhook"):
        service.state.register.deliver()
