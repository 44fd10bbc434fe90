"""Every operation refuses a field or parameter that it does not know, as its own description has it."""

from html import unescape

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from web_service import WORDS, jpeg

from app.web.service import create_app

METHODS = ("get", "post", "put", "patch", "delete")
DESCRIPTION = create_app(lambda: None).openapi()
OPERATIONS = [
    (method, path, operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
    if method in METHODS
]


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def address(path):
    return path.replace("{name}", "0" * 32 + ".jpg").replace("{", "").replace("}", "") if "{name}" in path else path


def fill(path):
    path = path.replace("{place:path}", "app.js")
    for name in ("vehicle", "view", "owner", "incident", "account", "token"):
        path = path.replace(f"{{{name}}}", "1")
    return address(path)


def body_of(operation):
    """Kind of the body and the names of its fields; ("", []) for none."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        if "$ref" in schema:
            schema = DESCRIPTION["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return kind, list(schema["properties"])
    return "", []


def test_every_operation_refuses_an_unknown_parameter_and_field(as_role):
    client = as_role("admin")
    assert len(OPERATIONS) >= 20
    for method, path, operation in OPERATIONS:
        said = client.request(method, fill(path), params={"colour": "red"})
        assert (said.status_code, said.json()["detail"].split(";")[0]) == (422, "unknown query parameter 'colour'"), (
            path
        )
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                name = parameter["name"]
                said = client.request(method, fill(path), params={name + "x": "1"})
                names = sorted(each["name"] for each in operation["parameters"] if each["in"] == "query")
                # Half of a name of one letter is too little to suggest it.
                remedy = f": did you mean '{name}'?" if len(name) > 1 else f"; known: {', '.join(names)}"
                assert said.json()["detail"] == f"unknown query parameter '{name}x'{remedy}"
        if method == "get":
            continue
        kind, fields = body_of(operation)
        for name in fields or [""]:
            wrong = {f"{name}x" if name else "colour": "1"}
            if "json" in kind:
                said = client.request(method, fill(path), json=wrong)
            elif kind:
                said = client.request(method, fill(path), files=[("pictures", jpeg(1))], data=wrong)
            else:
                said = client.request(method, fill(path), json=wrong)
            assert said.status_code == 422, (path, name, said.text)
            detail = said.json()["detail"]
            if kind:
                assert detail == f"unknown field '{name}x': did you mean '{name}'?", path
            else:
                assert detail == "this operation takes no body"
                assert "unknown field 'colour'" in client.request(method, fill(path), data=wrong).json()["detail"]


def routes_of(app):
    """Every route; nothing else is mounted, which the check of fields and parameters would not reach."""
    found = []
    for group in app.routes:
        found += getattr(getattr(group, "original_router", None), "routes", [group])
    assert {type(route) for route in found} == {APIRoute}
    return found


def test_no_route_is_without_the_check_and_a_new_one_has_it(as_role):
    client = as_role("admin")
    new = APIRouter()

    @new.post("/api/forgotten/{number}")
    def forgotten(number: int):
        return number

    client.app.include_router(new)
    methods = [(method, route.path) for route in routes_of(client.app) for method in route.methods]
    assert ("POST", "/api/forgotten/{number}") in methods
    assert len(methods) >= 50
    for method, path in methods:
        said = client.request(method, fill(path), params={"colour": "red"})
        assert (said.status_code, said.json()["detail"].split(";")[0]) == (
            422,
            "unknown query parameter 'colour'",
        ), path
    assert client.post("/api/forgotten/1", json={"colour": "red"}).status_code == 422
    assert client.post("/api/forgotten/1").json() == 1


def test_every_page_refuses_an_unknown_parameter_and_field(as_role):
    client = as_role("admin")
    pages = [route for route in routes_of(client.app) if not route.include_in_schema]
    assert len(pages) >= 10
    for route in pages:
        path = fill(
            route.path.replace("{library}", "vehicle").replace("{name}", "loss.png").replace("{place:path}", "app.js")
        )
        if "GET" in route.methods:
            said = client.get(path, params={"colour": "red"}, headers={"accept": "text/html"})
            assert said.status_code == 422, path
            assert "unknown query parameter 'colour'" in unescape(said.text)
    said = client.post("/login", data={"name": "guard", "pasword": WORDS["guard"], "password": WORDS["guard"]})
    assert (said.status_code, said.json()["detail"]) == (422, "unknown field 'pasword': did you mean 'password'?")
    assert client.post("/logout", data={"scrf": "x"}).status_code == 422
    assert client.get("/login?too=/").json()["detail"] == "unknown query parameter 'too': did you mean 'to'?"


def test_forms_still_bring_what_proves_their_session(as_role):
    client = as_role("manager")
    token = client.headers.pop("x-csrf-token")
    files = [("pictures", jpeg(40))]
    assert client.post("/api/vehicles", files=files, data={"csrf": token, "note": "two\r\nlines"}).status_code == 201
    assert client.post("/api/vehicles", files=files, data={"csrf": "no"}).status_code == 403
    assert client.post("/logout", data={"csrf": token}).status_code == 303


def test_what_takes_one_value_is_not_given_two(as_role):
    client = as_role("manager")
    said = client.get("/api/vehicles?after=1&after=2")
    assert (said.status_code, said.json()["detail"]) == (422, "query parameter 'after' is given twice")
    files = [("pictures", jpeg(1)), ("pictures", jpeg(2))]
    said = client.post("/api/vehicles", files=files, data={"plate": ["AA 1", "BB 2"]})
    assert (said.status_code, said.json()["detail"]) == (422, "field 'plate' is given twice")
    assert client.post("/api/vehicles", files=files, data={"boxes": ["1,1,20,20", "2,2,20,20"]}).status_code == 201


@pytest.mark.parametrize("name", ["a\nERROR: forged", "\x1b[2J", "x" * 500, "\u202epirt", "ä"])
def test_a_name_is_repeated_on_one_line(as_role, name):
    said = as_role("manager").get("/api/vehicles", params={name: "1"})
    assert said.status_code == 422
    assert said.json()["detail"].isprintable()
    assert len(said.json()["detail"]) < 200


REPEATED = {
    "/api/incidents": ['{"sighting": 1, "kind": "a", "sighting": 2}', '{"sighting": 1, "kind": "a", "kind": "a"}'],
    "/api/tokens": ['{"days": 1, "days": 3650}', '{"label": {"days": 1, "days": 2}}'],
    "/api/accounts": ['{"name": "a", "role": "guard", "role": "admin", "password": "long enough to be one"}'],
}


def test_a_key_that_is_given_twice_is_refused_by_name(as_role):
    client = as_role("admin")
    for path, bodies in REPEATED.items():
        for body in bodies:
            said = client.post(path, content=body, headers={"content-type": "application/json"})
            assert said.status_code == 422, (body, said.text)
            assert said.json()["detail"] in [
                f"field '{key}' is given twice" for key in ("sighting", "kind", "days", "role")
            ]
    said = client.post("/api/tokens", content='{"": 1, "": 2}', headers={"content-type": "application/json"})
    assert (said.status_code, said.json()["detail"]) == (422, "field '' is given twice")
    assert client.get("/api/tokens").json() == []
    assert len(client.get("/api/accounts").json()) == 3


def test_true_a_fraction_and_a_text_are_no_numbers(as_role):
    client = as_role("manager")
    sighting = client.post("/api/identify", files=[("pictures", jpeg(1))]).json()["sighting"]
    assert sighting == 1  # what true was read as
    for wrong in (True, False, 1.0, "1", [1], None):
        said = client.post("/api/incidents", json={"sighting": wrong, "kind": "seen"})
        assert (said.status_code, said.json()["detail"].split(":")[0]) == (422, "sighting"), wrong
        said = client.post("/api/incidents", json={"sighting": 1, "kind": "seen", "vehicle": wrong})
        assert said.status_code == (201 if wrong is None else 422), wrong
        said = client.post("/api/tokens", json={"days": wrong})
        assert (said.status_code, said.json()["detail"].split(":")[0]) == (422, "days"), wrong
    for wrong in (1, True, ["a"]):
        assert client.post("/api/incidents", json={"sighting": 1, "kind": wrong}).status_code == 422
        assert client.post("/api/tokens", json={"label": wrong}).status_code == 422
    assert client.post("/api/incidents", json={"sighting": 1, "kind": "seen"}).status_code == 201
