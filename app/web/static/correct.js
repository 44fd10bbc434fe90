// Corrections of a vehicle. Every request names the version that the page shows: another person's change is not
// overwritten, the service refuses instead.
"use strict";

const own = () => byId("vehicle").dataset;
const path = () => "/api/vehicles/" + own().vehicle;
const version = () => Number(own().version);

// One correction; the page shows the vehicle anew afterwards.
const correcting = (form, work) => doing(form, async () => {
  if ((await work()) !== false) location.reload();
});

on("correct-values", "submit", (form) => correcting(form, () => {
  const { plate, note } = form.elements;
  const tags = form.elements.tags.value.split(/[,;]/).map((tag) => tag.trim()).filter(Boolean);
  return ask("PATCH", path(), { version: version(), plate: plate.value, note: note.value, tags });
}));

// Of the owner's form only the fields of what was chosen; values of an owner can be corrected once they were loaded.
let loaded = false;

function showOwnerFields() {
  const form = byId("correct-owner"), chosen = form?.elements.what.value;
  for (const part of form?.querySelectorAll("[data-for]") ?? []) {
    part.hidden = !part.dataset.for.split(" ").includes(chosen);
    const input = part.querySelector("input");
    if (input) input.disabled = part.hidden || (chosen === "values" && !loaded);
  }
}

byId("correct-owner")?.elements.what.addEventListener("change", () => {
  for (const name of ["owner", "flat", "contact"]) byId("correct-owner").elements[name].value = "";
  loaded = false;
  showOwnerFields();
});

on("load-owner", "click", (button) => doing(button.form, async () => {
  const owner = await ask("GET", path() + "/owner");
  loaded = true;
  showOwnerFields();
  const { elements } = button.form;
  [elements.owner.value, elements.flat.value, elements.contact.value] = [owner.name, owner.flat, owner.contact];
}));

on("correct-owner", "submit", (form) => correcting(form, () => {
  const { what, owner, flat, contact, owner_id } = form.elements;
  const change = { version: version() };
  if (what.value === "values" && !loaded) throw new Error(_("load the owner's data first"));
  if (what.value === "number" && !owner_id.value) throw new Error(_("give the number of the owner"));
  if (what.value === "number") change.owner_id = Number(owner_id.value);
  else if (what.value === "none") change.owner_id = 0;
  else Object.assign(change, { owner: owner.value, flat: flat.value, contact: contact.value, new_owner: what.value === "new" });
  return ask("PATCH", path(), change);
}));

for (const form of document.querySelectorAll("form.correct-view")) {
  const view = `${path()}/views/${form.dataset.view}`;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    correcting(form, () => ask("PATCH", view, { version: version(), modality: form.elements.modality.value }));
  });
  form.querySelector("button.remove")?.addEventListener("click", () => correcting(form, () =>
    confirm(_("Delete this image for good?")) && ask("DELETE", `${view}?version=${version()}`)));
}

on("add-views", "submit", (form) => correcting(form, () => ask("POST", path() + "/views", fields(form))));

on("merge", "submit", (form) => correcting(form, () => {
  const { other, owner_of, plate_of } = form.elements, both = { this: Number(own().vehicle), other: Number(other.value) };
  if (!confirm(_("Merge vehicle {number} into this one? Its images, sightings and incidents become this one's.", { number: other.value }))) return false;
  const change = { version: version(), other: both.other };
  if (owner_of.value) change.owner_of = both[owner_of.value];
  if (plate_of.value) change.plate_of = both[plate_of.value];
  return ask("POST", path() + "/merge", change);
}));

on("undo", "click", (button) => correcting(button.parentElement, () =>
  ask("POST", path() + "/undo", { version: version() })));

// Other vehicles that may be the same one, each with a button that fills in the form to merge them.
async function showAlike() {
  const found = await ask("GET", path() + "/alike").catch(() => []);
  const list = byId("alike").querySelector("ul");
  list.replaceChildren(...found.map((row) => {
    const item = element("li", _("This looks like "));
    const why = [row.cost === null ? "" : _("a similar plate"), row.similarity === null ? "" : _("alike in looks")];
    item.append(element("a", vehicleName(row.vehicle), { href: "/vehicles/" + row.vehicle }),
      `${row.plate ? `, ${row.plate}` : ""}: ${why.filter(Boolean).join(", ")}. `);
    const button = element("button", _("Merge with vehicle {number}", { number: row.vehicle }), { type: "button" });
    button.addEventListener("click", () => {
      byId("merge-part").open = true;
      byId("merge").elements.other.value = row.vehicle;
      byId("merge").querySelector("button").focus();
    });
    item.append(button);
    return item;
  }));
  byId("alike").hidden = !found.length;
}

// A plate that another vehicle has: its photographs may belong to that one.
function offerHeld(form, error) {
  const held = error.detail?.match(/^vehicle (\d+) has this plate already/)?.[1];
  if (held) {
    const place = byId("held"), button = element("button", _("Add these photographs to vehicle {number}", { number: held }), { type: "button" });
    show("held", _("Is it the same vehicle? "));
    place.append(element("a", _("Look at vehicle {number}", { number: held }), { href: "/vehicles/" + held }), " ", button);
    button.addEventListener("click", () => doing(form, async () => {
      const data = new FormData();
      for (const [name, value] of fields(form))
        if (["pictures", "plate_pictures", "modality", "whole"].includes(name)) data.append(name, value);
      await ask("POST", `/api/vehicles/${held}/views`, data);
      location.assign("/vehicles/" + held);
    }));
  }
  throw error;
}

if (byId("correct-owner")) {
  showOwnerFields();
  showAlike();
}
