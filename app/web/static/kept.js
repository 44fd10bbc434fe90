// The answer to which Back returns: kept in this tab for the session that saw it, and gone when that session ends.
"use strict";

const session = () => document.querySelector("meta[name=session]")?.content ?? "";

// What a browser that keeps nothing throws is no failure: then Back shows the page without an answer.
function storage(work) {
  try {
    return work();
  } catch {
    return null;
  }
}

function keepAnswer(answer) {
  storage(() => (answer ? sessionStorage.setItem("answer", JSON.stringify(answer)) : sessionStorage.removeItem("answer")));
}

function keptAnswer() {
  const [entry] = performance.getEntriesByType("navigation");
  return session() && entry?.type === "back_forward" ? storage(() => JSON.parse(sessionStorage.getItem("answer"))) : null;
}

storage(() => {
  if (!session() && !document.querySelector("form[action='/login']")) return; // an error, or no line: nobody's page
  if (sessionStorage.getItem("session") !== session()) sessionStorage.clear(); // also on the page of the log-in
  sessionStorage.setItem("session", session());
  localStorage.setItem("session", session()); // for all tabs
});

document.querySelector("form[action='/logout']")?.addEventListener("submit", () => storage(() => sessionStorage.clear()));

// A page that the browser kept whole, with what it shows, is loaded anew if another session was here meanwhile.
addEventListener("pageshow", (event) => {
  if (event.persisted && storage(() => localStorage.getItem("session")) !== session()) location.reload();
});
