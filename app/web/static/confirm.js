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
      said(button, `Noted: ${noted}`);
      if (mine === query && body.says === "wrong" && byId("confirm-others").children.length)
        byId("confirm-others").hidden = byId("which-title").hidden = false;
    }));
    return button;
  };
  const ofVehicle = (row) => {
    const name = row.plate ? `${row.plate}, vehicle ${row.vehicle}` : `vehicle ${row.vehicle}, no plate`;
    return choice(`It is ${name}`, { says: "vehicle", vehicle: row.vehicle }, `it is ${name}.`);
  };
  const none = (text) => choice(text, { says: "none" }, "it is not registered.");

  const others = [...answer.candidates, ...named].filter((row) => answer.decision !== "match" || row.vehicle !== answer.vehicle).map(ofVehicle);
  if (answer.decision === "unsure") {
    byId("confirm-title").textContent = "Which one is it?";
    byId("confirm-answers").replaceChildren(...others, none("None of these"));
  } else {
    const isMatch = answer.decision === "match";
    byId("confirm-title").textContent = "Is this answer right?";
    byId("confirm-answers").replaceChildren(
      choice(isMatch ? "Right" : "Right, it is not registered", { says: "right" }, "the answer is right."),
      choice(isMatch ? "Wrong" : "Wrong, it is registered", { says: "wrong" }, "the answer is wrong."));
    byId("confirm-others").replaceChildren(...others, ...(isMatch ? [none("None of these, it is not registered")] : []));
  }
  byId("withdraw").onclick = () => doing(byId("confirm"), async () => {
    await ask("DELETE", path);
    byId("confirm-others").hidden = byId("which-title").hidden = true;
    said(null, "Withdrawn: nothing is noted about this answer.");
  });
}
