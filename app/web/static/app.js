// What the pages do besides showing: send pictures, show answers. Text is set as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const csrf = () => document.querySelector("meta[name=csrf]")?.content ?? "";

async function ask(method, path, body) {
  const headers = { "x-csrf-token": csrf(), accept: "application/json" };
  if (body && !(body instanceof FormData)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, { method, headers, body });
  } catch {
    throw new Error("the register cannot be reached");
  }
  if (response.status === 401) location.assign("/login?to=" + location.pathname);
  const answer = await response.json().catch(() => ({ detail: "the answer cannot be read" }));
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

function show(id, text) {
  const element = byId(id);
  if (!element) return;
  element.textContent = text;
  element.hidden = !text;
}

async function doing(form, work) {
  const buttons = form.querySelectorAll("button");
  show("error", "");
  if (byId("busy")) byId("busy").hidden = false;
  buttons.forEach((button) => (button.disabled = true));
  try {
    return await work();
  } catch (error) {
    show("error", error.message);
    byId("error")?.scrollIntoView();
  } finally {
    if (byId("busy")) byId("busy").hidden = true;
    buttons.forEach((button) => (button.disabled = false));
  }
}

// A form's fields; file fields without a file are left out.
function fields(form) {
  const data = new FormData();
  for (const [name, value] of new FormData(form))
    if (!(value instanceof File) || value.size) data.append(name, value);
  return data;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const percent = (value) => (100 * value).toFixed(1) + " %";

function showAnswer(answer) {
  const best = answer.candidates[0];
  const said = {
    match: `Vehicle ${answer.vehicle}: ${best?.plate ?? "no plate"}${best?.flat ? ", flat " + best.flat : ""}`,
    unsure: "Not sure: please compare",
    unknown: answer.enrolled ? `Unknown, enrolled as vehicle ${answer.enrolled}` : "Unknown vehicle",
  };
  const decision = byId("decision");
  decision.textContent = said[answer.decision];
  decision.className = answer.decision;
  byId("reason").textContent = answer.decided_by
    ? `${answer.decided_by} library: similarity ${percent(answer.similarity)}, a match from ${percent(answer.threshold)}` +
      (answer.margin === null ? "" : `, ${percent(answer.margin)} before the next vehicle`)
    : "There is no vehicle to compare with.";
  byId("photographs").replaceChildren(
    ...answer.pictures.map((name) => element("img", "", { src: "/api/pictures/" + name, alt: "Your photograph" })));
  byId("nearest").hidden = !answer.candidates.length;
  byId("candidates").replaceChildren(...answer.candidates.map((row) => {
    const item = element("li");
    if (row.picture) item.append(element("img", "", { src: "/api/pictures/" + row.picture, alt: `Enrolled picture of vehicle ${row.vehicle}` }));
    item.append(element("strong", row.plate ?? "no plate"), element("div", row.flat ? "flat " + row.flat : ""));
    item.append(element("meter", "", { min: 0, max: 1, optimum: 1, low: Math.max(0, answer.threshold - 0.1), high: answer.threshold, value: row.similarity, "aria-label": "similarity" }));
    const link = element("a", `vehicle ${row.vehicle}, ${percent(row.similarity)}`, { href: "/vehicles/" + row.vehicle });
    item.append(link);
    return item;
  }));
  const { sighting, vehicle } = byId("incident").elements;
  sighting.value = answer.sighting;
  const known = answer.decision === "match" ? [] : [new Option("not known", "")];
  vehicle.replaceChildren(...known, ...answer.candidates.map((row) => new Option(`${row.vehicle}: ${row.plate ?? "no plate"}`, row.vehicle)));
  show("reported", "");
  byId("answer").hidden = false;
  decision.scrollIntoView();
}

function on(id, event, work) {
  byId(id)?.addEventListener(event, (given) => {
    given.preventDefault();
    work(given.currentTarget);
  });
}

on("identify", "submit", (form) => doing(form, async () => showAnswer(await ask("POST", "/api/identify", fields(form)))));

on("incident", "submit", (form) => doing(form, async () => {
  const { sighting, vehicle, kind, note } = form.elements;
  const report = { sighting: Number(sighting.value), kind: kind.value, note: note.value };
  if (vehicle.value) report.vehicle = Number(vehicle.value);
  const made = await ask("POST", "/api/incidents", report);
  show("reported", `Incident ${made.id} was reported.`);
}));

on("enrol", "submit", (form) => doing(form, async () => {
  const made = await ask("POST", "/api/vehicles", fields(form));
  location.assign("/vehicles/" + made.id);
}));

on("account", "submit", (form) => doing(form, async () => {
  await ask("POST", "/api/accounts", Object.fromEntries(new FormData(form)));
  location.reload();
}));

on("show-owner", "click", (button) => doing(button.closest("section"), async () => {
  const owner = await ask("GET", `/api/vehicles/${byId("vehicle").dataset.vehicle}/owner`);
  const cells = byId("owner").querySelectorAll("dd");
  [owner.name, owner.flat, owner.contact].forEach((text, index) => (cells[index].textContent = text || "-"));
  byId("owner").hidden = false;
}));

on("forget", "click", (button) => doing(button.closest("section"), async () => {
  if (!confirm("Delete this vehicle with its pictures, sightings and incidents?")) return;
  await ask("DELETE", "/api/vehicles/" + byId("vehicle").dataset.vehicle);
  location.assign("/register");
}));

for (const button of document.querySelectorAll("button.close, button.disable"))
  button.addEventListener("click", () => doing(button.parentElement, async () => {
    const { incident, account } = button.dataset;
    await ask("POST", incident ? `/api/incidents/${incident}/close` : `/api/accounts/${account}/disable`);
    location.reload();
  }));
