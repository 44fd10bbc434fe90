// A note to the owner of an incident's vehicle; the page shows afterwards that it was queued.
"use strict";

for (const form of document.querySelectorAll("form.note"))
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    doing(form, async () => {
      await ask("POST", `/api/incidents/${form.dataset.incident}/note`, { text: form.elements.text.value });
      location.reload();
    });
  });
