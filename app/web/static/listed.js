// What the lists say about the vehicle of an answer: in words, and in colour.
"use strict";

// "14:00" for today, otherwise with the day.
const untilWords = (until) => (until.startsWith(new Date().toLocaleDateString("sv-SE")) ? until.slice(11) : until);

function listedWords({ kind, reason, flat, until }) {
  const values = { reason, flat, until: until && untilWords(until) };
  if (kind === "deny") return reason ? _("No entry: {reason}", values) : _("No entry");
  if (kind === "visitor") return (flat ? _("Visitor of flat {flat} until {until}", values) : _("Visitor until {until}", values)) + (reason ? ` (${reason})` : "");
  const words = reason ? _("Allowed: {reason}", values) : _("Allowed");
  return until ? `${words} (${_("until {until}", values)})` : words;
}

// An exact denial, or the visit of somebody unknown, is the headline; everything else stands below it.
function showListed(answer, decision) {
  const headline = answer.listed.find((entry) => entry.exact && (entry.kind === "deny" || ["unknown", "not_registered"].includes(answer.decision)));
  const lines = answer.listed.filter((entry) => entry !== headline).map((entry) => {
    const compare = entry.plate ? _("please compare the plate with {plate}", entry) : _("please compare it with vehicle {vehicle}", entry);
    const words = entry.exact ? listedWords(entry) : _("May be on a list: {words}; {compare}", { words: listedWords(entry), compare });
    return element("li", words, { class: `listed ${entry.kind}${entry.exact ? "" : " maybe"}` });
  });
  if (headline) {
    if (headline.kind === "deny") lines.unshift(element("li", decision.textContent));
    decision.textContent = listedWords(headline);
    decision.className = headline.kind === "deny" ? "denied" : "match";
  }
  byId("listed").replaceChildren(...lines);
}
