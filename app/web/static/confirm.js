// What a guard says about an answer: right, wrong, or which vehicle it was. The last word counts; it can be withdrawn.
"use strict";

function forgetConfirmation() {
  for (const id of ["confirm-title", "confirmed"]) byId(id).textContent = "";
  for (const id of ["confirm-answers", "confirm-others"]) byId(id).replaceChildren();
  for (const id of ["confirmed", "withdraw", "which-title", "confirm-others"]) byId(id).hidden = true;
}

// The buttons of an answer. `named` are the vehicles of plates that it shows beside its candidates.
function askToConfirm(answer, named) {
  forgetConfirmation();
  const path = `/api/sightings/${answer.sighting}/confirmation`;
  const mine = query;
  const buttons = () => byId("confirm").querySelectorAll(".choices button");

  const said = (pressed, text) => {
    if (mine !== query) return; // the page shows another answer by now
    buttons().forEach((button) => button.setAttribute("aria-pressed", String(button === pressed)));
    show("confirmed", text);
    byId("withdraw").hidden = !pressed;
  };
  const choice = (text, body, noted) => {
    const button = element("button", text, { type: "button", "aria-pressed": "false" });
    button.addEventListener("click", () => doing(byId("confirm"), async () => {
      await ask("POST", path, body);
      said(button, noted);
      if (mine === query && body.says === "wrong" && byId("confirm-others").children.length)
        byId("confirm-others").hidden = byId("which-title").hidden = false;
    }));
    return button;
  };
  const ofVehicle = (row) => {
    const given = { plate: row.plate, number: row.vehicle };
    const name = row.plate ? _("{plate}, vehicle {number}", given) : _("vehicle {number}, no plate", given);
    return choice(_("It is {name}", { name }), { says: "vehicle", vehicle: row.vehicle }, _("Noted: it is {name}.", { name }));
  };
  const none = (text) => choice(text, { says: "none" }, _("Noted: it is not registered."));

  const others = [...answer.candidates, ...named].filter((row) => answer.decision !== "match" || row.vehicle !== answer.vehicle).map(ofVehicle);
  if (answer.decision === "unsure") {
    byId("confirm-title").textContent = _("Which one is it?");
    byId("confirm-answers").replaceChildren(...others, none(_("None of these")));
  } else {
    const isMatch = answer.decision === "match";
    byId("confirm-title").textContent = _("Is this answer right?");
    byId("confirm-answers").replaceChildren(
      choice(isMatch ? _("Right") : _("Right, it is not registered"), { says: "right" }, _("Noted: the answer is right.")),
      choice(isMatch ? _("Wrong") : _("Wrong, it is registered"), { says: "wrong" }, _("Noted: the answer is wrong.")));
    byId("confirm-others").replaceChildren(...others, ...(isMatch ? [none(_("None of these, it is not registered"))] : []));
  }
  byId("withdraw").onclick = () => doing(byId("confirm"), async () => {
    await ask("DELETE", path);
    byId("confirm-others").hidden = byId("which-title").hidden = true;
    said(null, _("Withdrawn: nothing is noted about this answer."));
  });
}
