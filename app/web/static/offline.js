// Without a line: who is logged in is noted, queries are kept, and sent each once when the line is back.
"use strict";

const account = document.querySelector("meta[name=account]")?.content ?? "";
const isShell = Boolean(document.querySelector("meta[name=shell]"));
const MOST_TRIES = 5; // of a query at which the service fails
const AGAIN = 15_000; // milliseconds between two looks for the line

// Keep a query that did not reach the service, or throw an Error in words that says why it is not kept.
async function keepForLater(data, key, reason) {
  let who;
  try {
    who = isShell ? await queue.account() : account;
    if (!who) throw new Error(_("nobody is logged in on this device"));
    await queue.add(who, key, data);
  } catch (error) {
    throw new Error(_("{reason}, and the photographs are not kept: {why}", { reason, why: error.message }));
  }
  byId("identify").reset(); // for the next ones
  await showWaiting();
  throw new Error(_("{reason}: the photographs are kept on this device and sent when the line is back", { reason }));
}

// A request of the queue: the answer, or what to do with it. Only what the service decided ends it.
async function post(path, body, key) {
  const headers = { "x-csrf-token": csrf(), accept: "application/json", "idempotency-key": key };
  if (!(body instanceof FormData)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, { method: "POST", headers, body, signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    return { wait: true, said: "" };
  }
  // A line that breaks within the answer is no line; what is no JSON is a failure of the service.
  const answer = await response.json().catch((error) => (error.name === "SyntaxError" ? null : undefined));
  if (answer === undefined) return { wait: true, said: "" };
  if (response.ok && answer !== null) return { answer };
  const said = answer?.detail ? sentence(answer.detail) : _("the register failed (status {status})", { status: response.status });
  if (response.status === 401) return { wait: true, said: _("log in again, then it is sent") };
  const isStale = !answer?.detail || /^this form is not of your session/.test(answer.detail);
  if (response.status === 403 && isStale) return { wait: true, said };
  const isLater = [408, 429, 503, 507].includes(response.status);
  return { wait: isLater, failed: response.ok || response.status >= 500, said };
}

// The state of a row after a request: true to go on with the next one.
async function settle(row, { answer, wait, failed, said }, ofIncident) {
  if (answer) {
    const values = ofIncident
      ? { incident: { ...row.incident, number: answer.id, said: "" } }
      : { state: "sent", fields: null, said: "", sighting: answer.sighting, sent: Date.now(), tries: 0 };
    return queue.change(row.key, values);
  }
  const tries = row.tries + (failed && !wait ? 1 : 0), refused = !wait && (!failed || tries >= MOST_TRIES);
  const values = ofIncident ? { tries, incident: { ...row.incident, said, refused } } : { tries, said, state: refused ? "refused" : "waiting" };
  const changed = await queue.change(row.key, values);
  return wait ? null : changed;
}

async function sendAll() {
  for (let row of await queue.of(account)) {
    if (row.state === "waiting") {
      const data = new FormData();
      for (const [name, value] of row.fields) data.append(name, value);
      row = await settle(row, await post("/api/identify", data, row.key), false);
      if (row === null) return;
    }
    const { incident, sighting } = row;
    if (row.state === "sent" && incident && !incident.number && !incident.refused) {
      const body = { sighting, kind: incident.kind, note: incident.note };
      if ((await settle(row, await post("/api/incidents", body, incident.key), true)) === null) return;
    }
  }
}

let sending = null;

// Send what waits. One tab does it at a time; that a query is done once is the service's matter.
function send() {
  if (!account) return null;
  const locked = (work) => navigator.locks ? navigator.locks.request("queue", { ifAvailable: true }, (lock) => lock && work()) : work();
  sending ??= locked(sendAll).catch((error) => console.error(error)).then(() => queue.dropOld()).then(() => showWaiting())
    .catch((error) => console.error(error)).finally(() => (sending = null));
  return sending;
}

// The words for what became of a query. Plate and vehicle come from the service, as they are now.
async function answerOf(row) {
  const found = await ask("GET", "/api/sightings/" + row.sighting).catch(() => null);
  const words = {
    match: found?.plate ? _("Resident: {plate}", { plate: found.plate }) : _("Resident: vehicle {number}", { number: found?.vehicle }),
    unsure: _("Looks like one of these: please compare"), unknown: _("Unknown vehicle"),
    not_registered: found?.plate_read ? _("Not registered: plate {plate}", { plate: found.plate_read }) : _("Unknown vehicle"),
  };
  const listed = (found?.listed ?? []).filter((entry) => entry.exact).map(listedWords); // denials first
  return [...listed, words[found?.decision]].filter(Boolean).join(" · ");
}

const STATES = { waiting: () => _("waiting"), sent: () => _("sent"), refused: () => _("refused") };
let shownWaiting = 0, shownRows = "", thumbnails = [];

// Nothing is shown anew while somebody writes a report, except after a tap on a button.
async function showWaiting(isTapped = false) {
  const place = byId("waiting");
  if (!place) return;
  const mine = ++shownWaiting, who = isShell ? await queue.account() : account;
  const rows = who ? await queue.of(who) : [];
  if (isShell) {
    byId("nobody").className = who ? "" : "error";
    show("nobody", who ? _("Photographs are kept for {account}.", { account: who })
      : _("Nobody is logged in on this device: photographs can be kept after a log-in."));
  }
  const answers = isShell ? [] : await Promise.all(rows.map((row) => (row.state === "sent" ? answerOf(row) : "")));
  if (mine !== shownWaiting || (!isTapped && place.querySelector("form"))) return;
  const state = JSON.stringify([rows, answers]); // without the photographs; a reader of the screen hears changes alone
  if (!isTapped && state === shownRows) return;
  shownRows = state;
  thumbnails.forEach((address) => URL.revokeObjectURL(address));
  thumbnails = [];
  place.querySelector("ul").replaceChildren(...rows.map((row, number) => waitingItem(row, answers[number] ?? "")));
  place.hidden = !rows.length;
}

function waitingItem(row, answer) {
  const item = element("li", "", { class: row.state });
  const first = row.fields?.find(([, value]) => value instanceof Blob)?.[1];
  if (first) {
    thumbnails.push(URL.createObjectURL(first));
    item.append(element("img", "", { src: thumbnails.at(-1), alt: _("Your photograph") }));
  }
  const line = element("p");
  line.append(new Date(row.made).toLocaleString(document.documentElement.lang), ": ", element("strong", STATES[row.state]()));
  item.append(line);
  for (const text of [row.said, answer, incidentText(row.incident)]) if (text) item.append(element("p", text));
  if (row.state === "sent" && !isShell)
    item.append(element("a", _("Sighting {number}", { number: row.sighting }), { href: "/sightings/" + row.sighting }));
  const button = (text, work) => {
    const made = element("button", text, { type: "button" });
    made.addEventListener("click", () => doing(item, () => work(made)));
    item.append(made);
  };
  const changing = (text, work) => button(text, async () => {
    await work();
    await showWaiting(true);
  });
  if (row.state === "waiting" && !row.incident) button(_("Report an incident with it"), (made) => made.replaceWith(incidentForm(row)));
  if (row.state === "refused") changing(_("Try again"), () => queue.change(row.key, { state: "waiting", said: "", tries: 0 }).then(send));
  if (row.incident?.refused) changing(_("Report again"), () => queue.change(row.key, { tries: 0, incident: { ...row.incident, refused: false } }).then(send));
  changing(row.state === "sent" ? _("Remove from this list") : _("Delete"), () => queue.drop(row.key));
  return item;
}

function incidentText(incident) {
  if (!incident) return "";
  if (incident.number) return _("Incident {number} was reported.", { number: incident.number });
  const about = _("Incident: {kind}", { kind: _(incident.kind) });
  return incident.said ? `${about}: ${incident.said}` : about;
}

// A report that is sent with the photographs.
function incidentForm(row) {
  const form = element("form", "", { class: "narrow" });
  const kind = byId("incident").elements.kind.cloneNode(true), note = element("textarea", "", { name: "note", maxlength: 2000, rows: 3 });
  const labelled = (text, field) => {
    const label = element("label", text + " ");
    label.append(field);
    return label;
  };
  form.append(labelled(_("What happened"), kind), labelled(_("Note"), note), element("button", _("Keep the report")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    doing(form, async () => {
      await queue.change(row.key, { incident: { key: newKey(), kind: kind.value, note: note.value } });
      await showWaiting(true);
      await send();
    });
  });
  return form;
}

// The page that stands in for the others: as soon as the service answers, the page that was asked for.
async function leaveShell() {
  const isBusy = [...document.querySelectorAll("input[type=file]")].some((input) => input.files.length);
  if (isBusy || document.querySelector("#waiting form")) return;
  const answer = await fetch("/healthz", { cache: "no-store" }).catch(() => null);
  if (!answer?.ok) return;
  if (location.pathname === "/shell") location.replace("/");
  else location.reload();
}

document.querySelector("form[action='/logout']")?.addEventListener("submit", () => queue.note(null));

(async () => {
  if (account || document.querySelector("form[action='/login']")) await queue.note(account); // not on a page of an error
  if (account) navigator.serviceWorker?.register("/service-worker.js").catch(() => {}); // needs TLS, or localhost
  await showWaiting();
  const look = isShell ? leaveShell : send;
  addEventListener("online", look);
  setInterval(look, AGAIN);
  await look();
})().catch((error) => console.error(error));
