// Scripts of the pages: send photos, show answers. Text is set as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const csrf = () => document.querySelector("meta[name=csrf]")?.content ?? "";

const PATIENCE = 180_000; // milliseconds; a long queue takes a minute

// What the service refused: `detail` as it came, the message in the language of the page.
class Refusal extends Error {
  constructor(detail, status) {
    super(detail ? sentence(detail) : _("the register failed (status {status})", { status }));
    this.detail = detail;
  }
}

// The service's answer. Throws an Error with one line for whatever goes wrong.
async function ask(method, path, body, more) {
  const headers = { "x-csrf-token": csrf(), accept: "application/json", ...more };
  if (body && !(body instanceof FormData)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal: AbortSignal.timeout(PATIENCE) });
  } catch (error) {
    const said = error.name === "TimeoutError" ? _("the register does not answer") : _("the register cannot be reached");
    throw Object.assign(new Error(said), { isUnreached: true });
  }
  if (response.status === 401) location.assign("/login?to=" + location.pathname);
  const answer = await response.json().catch((error) => {
    if (!response.ok || error.name === "SyntaxError") return null;
    throw Object.assign(new Error(_("the register cannot be reached")), { isUnreached: true }); // a line that broke
  });
  if (!response.ok) throw new Refusal(answer?.detail ?? "", response.status);
  if (answer === null) throw new Error(_("the answer cannot be read"));
  return answer;
}

function show(id, text) {
  const element = byId(id);
  if (!element) return;
  element.textContent = text;
  element.hidden = !text;
}

async function doing(form, work) {
  const buttons = form.querySelectorAll("button"), focused = document.activeElement;
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
    // A disabled button loses the focus: who works with keys goes on where they were.
    if (document.activeElement === document.body && form.contains(focused)) focused.focus({ preventScroll: true });
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
  const created = document.createElement(tag);
  if (text) created.textContent = text;
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  return created;
}

const vehicleName = (number) => _("vehicle {number}", { number });
const percent = (value) => (100 * value).toFixed(1) + " %";

// The photographs with what was found in them. Every vehicle is a button that identifies that one instead.
function showPhotographs(photographs) {
  byId("photographs").replaceChildren(...photographs.map((photograph, index) => {
    const frame = element("div", "", { class: "photograph" });
    frame.append(element("img", "", { src: "/api/pictures/" + photograph.picture, alt: _("Your photograph") }));
    const place = (created, [left, top, width, height]) => {
      created.style.left = (100 * left) / photograph.width + "%";
      created.style.top = (100 * top) / photograph.height + "%";
      created.style.width = (100 * width) / photograph.width + "%";
      created.style.height = (100 * height) / photograph.height + "%";
      frame.append(created);
    };
    const same = (box) => photograph.box && box.every((value, k) => Math.abs(value - photograph.box[k]) < 1);
    (photograph.vehicles ?? []).forEach(({ box, kind }, number) => {
      const chosen = same(box);
      const button = element("button", kind ? `${number + 1} ${_(kind)}` : String(number + 1), {
        type: "button", class: chosen ? "box chosen" : "box", "aria-pressed": String(chosen),
        "aria-label": kind
          ? _("Vehicle {number}, {kind}, of photograph {photograph}: identify it", { number: number + 1, kind: _(kind), photograph: index + 1 })
          : _("Vehicle {number} of photograph {photograph}: identify it", { number: number + 1, photograph: index + 1 }) });
      button.addEventListener("click", () => doing(byId("identify"), () => identifyAnother(photographs, index, box)));
      place(button, box);
    });
    if (photograph.box && !(photograph.vehicles ?? []).some(({ box }) => same(box)))
      place(element("div", "", { class: "box chosen" }), photograph.box);
    if (photograph.plate_box) place(element("div", "", { class: "box plate" }), photograph.plate_box);
    const figure = element("figure");
    const kind = photograph.kind ? _("Vehicle: {kind}.", { kind: _(photograph.kind) }) + " " : "";
    figure.append(frame, element("figcaption", kind +
      (photograph.modality === "infrared" ? _("Treated as taken in infrared") : _("Treated as taken in visible light"))));
    return figure;
  }));
  show("found", photographs.map(({ vehicles, box }) => {
    if (vehicles === null) return "";
    if (!vehicles.length) return _("No vehicle was found; the whole photograph was compared.");
    if (vehicles.length === 1) return "";
    const n = vehicles.length;
    return box
      ? _("{n} vehicles were found; the marked one was identified. Tap another one to identify that.", { n })
      : _("{n} vehicles were found; the largest, which fills the photograph, was identified. Tap another one to identify that.", { n });
  }).filter(Boolean).join(" "));
}

// Nothing of an answer stays on the page: not below an error, not while another one is waited for, and its form
// reports no sighting that the page does not show.
function forgetAnswer() {
  byId("answer").hidden = true;
  for (const id of ["decision", "why", "plate-text", "found", "reported"]) byId(id).textContent = "";
  for (const id of ["listed", "reason", "plates", "photographs", "candidates"]) byId(id).replaceChildren();
  const form = byId("incident");
  form.reset();
  form.elements.sighting.value = "";
  form.elements.vehicle.replaceChildren();
  forgetConfirmation();
  lastQuery = [];
  keepAnswer(null);
}

let query = 0; // number of the latest one; the answer to an earlier one comes too late

async function identify(data) {
  const mine = ++query;
  forgetAnswer();
  let answer;
  const key = newKey(); // sent again, it is the same query
  try {
    if (isShell) await keepForLater(data, key, _("the register cannot be reached"));
    answer = await ask("POST", "/api/identify", data, { "idempotency-key": key });
    if (mine !== query) return;
    showAnswer(answer);
    lastQuery = [...data];
    keepAnswer(answer);
  } catch (error) {
    if (mine !== query) return;
    forgetAnswer(); // also half of one that cannot be shown
    if (error.isUnreached) await keepForLater(data, key, error.message);
    if (answer !== undefined) console.error(error);
    throw answer === undefined ? error : new Error(_("the answer cannot be read"));
  }
}

// The same photographs again, with another vehicle of one of them.
function identifyAnother(photographs, index, box) {
  if (!lastQuery.length) throw new Error(_("choose the photographs again to identify another vehicle in them"));
  const data = new FormData(); // the query's fields, not those of the form by now; nothing is enrolled by a tap
  for (const [name, value] of lastQuery)
    if (!["boxes", "enrol_unknown"].includes(name)) data.append(name, value);
  photographs.forEach((photograph, k) => data.append("boxes", ((k === index ? box : photograph.box) ?? []).join(",")));
  return identify(data);
}

// The recognised plate text, and whose plate it may be. A vehicle of a similar plate is one to look at, and no more.
function showPlate(plate) {
  const read = ({ text, says }) => ({
    nothing: _("Plate read: {text}.", { text }),
    agrees: _("Plate read: {text}, as enrolled.", { text }),
    decides: _("Plate read: {text}, which is enrolled: please compare the vehicle.", { text }),
    contradicts: _("Plate read: {text}, which is not the plate of the vehicle that the photograph resembles.", { text }),
  })[says];
  show("plate-text", plate && [read(plate), ...plate.others.map(({ text }) => _("Another photograph: {text}.", { text })),
    ...(plate.combined && plate.combined.text !== plate.text ? [_("All photographs together: {text}.", plate.combined)] : [])].join(" "));
  byId("plates").replaceChildren(...(plate?.candidates ?? []).map((row) => {
    const item = element("li", row.cost ? _("Similar plate: ") : _("The same plate: "));
    item.append(element("a", _("{plate}, vehicle {number}", { plate: row.plate, number: row.vehicle }), { href: "/vehicles/" + row.vehicle }));
    return item;
  }));
}

// All figures of an answer, a line each; they stand behind a fold.
function showFigures(answer, weighed) {
  const plate = answer.plate_text;
  const byText = answer.decided_by === "plate_text";
  const limits = { value: percent(answer.similarity), limit: percent(answer.threshold), library: answer.decided_by && _(answer.decided_by) };
  const lines = [
    answer.evidence ? _("All evidence together: not registered {share}", { share: percent(answer.evidence.not_registered) })
    : byText ? _("The plate decided: read with {value}, a match from {limit}", limits)
    : !answer.decided_by ? _("There is no vehicle to compare with.")
    : answer.margin === null ? _("{library} library: similarity {value}, a match from {limit}", limits)
    : _("{library} library: similarity {value}, a match from {limit}, {margin} before the next vehicle",
      { ...limits, margin: percent(answer.margin) }),
    ...answer.candidates.map(({ vehicle: number, similarity }) => weighed.has(number)
      ? _("vehicle {number}: probability {share}, similarity {value}",
        { number, share: percent(weighed.get(number)), value: percent(similarity) })
      : _("vehicle {number}: similarity {value}", { number, value: percent(similarity) })),
    ...(plate ? [plate, ...plate.others] : []).map(({ text, confidence }) =>
      _("plate {text}: confidence {value}", { text, value: percent(confidence) })),
  ];
  byId("reason").replaceChildren(...lines.map((line) => element("li", line)));
}

// Why an answer is as it is, in words.
function reason({ decision, decided_by, candidates }) {
  if (decision === "match")
    return decided_by === "plate_text" ? _("The plate is that of this vehicle.") : _("It looks like this enrolled vehicle.");
  if (decision === "unsure")
    return candidates.length > 1 ? _("It resembles more than one vehicle, or none of them enough.") : _("It resembles this vehicle, but not enough.");
  return decision === "unknown" ? _("It looks like no enrolled vehicle.") : _("No enrolled vehicle has such a plate.");
}

function showAnswer(answer) {
  const best = answer.candidates[0];
  const plate = best?.plate ?? _("no plate"), number = answer.enrolled;
  const text = {
    match: best?.flat ? _("Resident: {plate}, flat {flat}", { plate, flat: best.flat })
      : best?.plate ? _("Resident: {plate}", { plate })
      : _("Vehicle {number}, enrolled without plate and flat", { number: answer.vehicle }),
    unsure: _("Looks like one of these: please compare"),
    unknown: number ? _("Unknown, enrolled as vehicle {number}", { number }) : _("Unknown vehicle"),
    not_registered: number ? _("Not registered, enrolled as vehicle {number}", { number })
      : _("Not registered: plate {plate}", { plate: answer.plate_text?.text }),
  };
  const decision = byId("decision");
  decision.textContent = text[answer.decision];
  decision.className = answer.decision;
  byId("why").textContent = reason(answer);
  showListed(answer, decision);
  const weighed = new Map((answer.evidence?.candidates ?? []).map((row) => [row.vehicle, row.probability]));
  showFigures(answer, weighed);
  showPlate(answer.plate_text);
  showPhotographs(answer.photographs);
  byId("nearest").hidden = !answer.candidates.length;
  byId("candidates").replaceChildren(...answer.candidates.map((row) => {
    const item = element("li");
    if (row.picture) item.append(element("img", "", { src: "/api/pictures/" + row.picture, alt: _("Enrolled picture of vehicle {number}", { number: row.vehicle }) }));
    item.append(element("strong", row.plate ?? _("no plate")), element("div", [row.flat && _("flat {flat}", row), ...row.tags].filter(Boolean).join(", ")));
    const probability = weighed.get(row.vehicle);
    const meter = probability === undefined
      ? { low: Math.max(0, answer.threshold - 0.1), high: answer.threshold, value: row.similarity, "aria-label": answer.decided_by === "plate_text" ? _("plate") : _("similarity") }
      : { low: 0.5, high: 0.9, value: probability, "aria-label": _("probability") };
    item.append(element("meter", "", { min: 0, max: 1, optimum: 1, ...meter }));
    item.append(element("a", vehicleName(row.vehicle), { href: "/vehicles/" + row.vehicle }));
    return item;
  }));
  const { sighting, vehicle } = byId("incident").elements;
  sighting.value = answer.sighting;
  const known = answer.decision === "match" ? [] : [new Option(_("not known"), "")];
  const shown = new Set(answer.candidates.map((row) => row.vehicle));
  const named = (answer.plate_text?.candidates ?? []).filter((row) => !shown.has(row.vehicle));
  vehicle.replaceChildren(...known, ...[...answer.candidates, ...named].map((row) => new Option(`${row.vehicle}: ${row.plate ?? _("no plate")}`, row.vehicle)));
  askToConfirm(answer, named);
  show("reported", "");
  reported = false;
  reportKey = "";
  byId("answer").hidden = false;
  decision.scrollIntoView();
}

function on(id, event, work) {
  byId(id)?.addEventListener(event, (given) => {
    given.preventDefault();
    work(given.currentTarget);
  });
}

let lastQuery = []; // the fields of the query whose answer is shown

on("identify", "submit", (form) => doing(form, () => identify(fields(form))));

// Back returns to the answer that this session saw last on this page.
addEventListener("DOMContentLoaded", () => {
  const answer = byId("identify") && keptAnswer();
  if (answer) showAnswer(answer);
});

on("to-incident", "click", () => {
  byId("incident").scrollIntoView();
  byId("incident").elements.kind.focus({ preventScroll: true });
});

let reported = false; // a second tap must not report the same again; a changed report may be sent
let reportKey = ""; // sent again after a lost answer, it is the same report

on("incident", "input", () => {
  reported = false;
  reportKey = "";
  show("reported", "");
});

on("incident", "submit", (form) => doing(form, async () => {
  if (reported) return;
  show("reported", "");
  const { sighting, vehicle, kind, note } = form.elements;
  const report = { sighting: Number(sighting.value), kind: kind.value, note: note.value };
  if (vehicle.value) report.vehicle = Number(vehicle.value);
  const mine = query;
  reportKey ||= newKey();
  const created = await ask("POST", "/api/incidents", report, { "idempotency-key": reportKey });
  if (mine !== query) return; // the page shows another answer by now
  show("reported", _("Incident {number} was reported.", { number: created.id }));
  reported = true;
}));

on("enrol", "submit", (form) => doing(form, async () => {
  show("held", "");
  const created = await ask("POST", "/api/vehicles", fields(form)).catch((error) => offerHeld(form, error));
  location.assign("/vehicles/" + created.id);
}));

on("account", "submit", (form) => doing(form, async () => {
  await ask("POST", "/api/accounts", Object.fromEntries(new FormData(form)));
  location.reload();
}));

on("show-owner", "click", (button) => doing(button.closest("section"), async () => {
  const cells = byId("owner").querySelectorAll("dd");
  byId("owner").hidden = true;
  cells.forEach((cell) => (cell.textContent = ""));
  const owner = await ask("GET", `/api/vehicles/${byId("vehicle").dataset.vehicle}/owner`);
  [owner.name, owner.flat, owner.contact].forEach((text, index) => (cells[index].textContent = text || "-"));
  byId("owner").hidden = false;
}));

on("forget", "click", (button) => doing(button.closest("section"), async () => {
  if (!confirm(_("Delete this vehicle with its pictures, sightings and incidents?"))) return;
  await ask("DELETE", "/api/vehicles/" + byId("vehicle").dataset.vehicle);
  keepAnswer(null);
  location.assign("/register");
}));

for (const button of document.querySelectorAll("button.close, button.reopen, button.disable, button.enable, button.revoke"))
  button.addEventListener("click", () => doing(button.parentElement, async () => {
    const { incident, account, token } = button.dataset;
    if (token) await ask("DELETE", `/api/tokens/${token}`);
    else await ask("POST", incident ? `/api/incidents/${incident}/${button.className}` : `/api/accounts/${account}/${button.className}`);
    location.reload();
  }));

on("retention", "submit", (form) => doing(form, async () => {
  show("retention-said", "");
  const days = form.elements.days.value;
  const kept = (await ask("PUT", "/api/retention", { days: days ? Number(days) : null })).days;
  show("retention-said", kept === null ? _("Sightings are kept for ever.")
    : ngettext("Sightings are kept for {n} day.", "Sightings are kept for {n} days.", kept));
}));
