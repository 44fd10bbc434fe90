// The page of the lists: add, change, remove, and read a table. The page shows the lists anew afterwards.
"use strict";

const listing = (form, work) => doing(form, async () => {
  if ((await work()) !== false) location.reload();
});

// A last day, with a time or to its end; the service reads both in the time of the site.
const lastMoment = ({ end, end_time }) => (end.value && end_time.value ? `${end.value} ${end_time.value}` : end.value);

on("list-entry", "submit", (form) => listing(form, () => {
  const { kind, plate, vehicle, flat, reason, begin, end, end_time } = form.elements;
  if (end_time.value && !end.value) throw new Error(_("give the last day as well"));
  const entry = { kind: kind.value, plate: plate.value, flat: flat.value, reason: reason.value, begin: begin.value };
  if (vehicle.value) entry.vehicle = Number(vehicle.value);
  return ask("POST", "/api/lists", { ...entry, end: lastMoment({ end, end_time }) });
}));

for (const form of document.querySelectorAll("form.change-entry")) {
  const path = "/api/lists/" + form.dataset.entry;
  const before = lastMoment(form.elements);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    listing(form, () => {
      const change = { reason: form.elements.reason.value }, end = lastMoment(form.elements);
      if (end !== before) change.end = end;
      return ask("PATCH", path, change);
    });
  });
  form.querySelector(".remove-entry").addEventListener("click", () => listing(form, () =>
    confirm(_("Remove this entry for good?")) && ask("DELETE", path)));
}

on("list-import", "submit", (form) => doing(form, async () => {
  show("list-said", "");
  const read = await ask("POST", "/api/lists/import", fields(form));
  form.reset();
  show("list-said", ngettext("{n} entry was added; load the page again to see it.", "{n} entries were added; load the page again to see them.", read.added.length));
}));
