// The search box: finds as somebody types, a page at a time. Text is set as text, never as markup.
"use strict";

const TYPING = 250; // milliseconds without a key before a search
const REASONS = {
  number: _("this number"), plate: _("this plate"), flat: _("this flat"), plate_begins: _("plate begins so"),
  plate_part: _("part of the plate"), plate_alike: _("look-alike characters"), plate_similar: _("one character differs"),
  owner: _("owner"),
};
let searched = 0; // number of the latest search; the answer to an earlier one comes too late
let pageShown = 1, typing;

function clearHits() {
  for (const id of ["search-said", "search-error"]) show(id, "");
  byId("hits").replaceChildren();
  byId("hits").hidden = byId("hits-pages").hidden = true;
}

function hitCard(hit) {
  const item = element("li"), card = hit.may_open ? element("a", "", { href: "/vehicles/" + hit.vehicle }) : element("div");
  if (hit.picture) card.append(element("img", "", { src: "/api/thumbnails/" + hit.picture, alt: "" }));
  card.append(element("strong", hit.plate ?? _("no plate")));
  if (hit.owner) card.append(element("span", hit.owner));
  if (hit.flat) card.append(element("span", _("flat {flat}", hit)));
  card.append(element("span", `${vehicleName(hit.vehicle)}: ${REASONS[hit.found_by] ?? hit.found_by}`));
  item.append(card);
  return item;
}

function showHits(answer) {
  const found = answer.more
    ? ngettext("The first {n} vehicle; type more of the plate to see others.",
      "The first {n} vehicles; type more of the plate to see others.", answer.total)
    : ngettext("{n} vehicle found.", "{n} vehicles found.", answer.total);
  const place = answer.pages > 1 ? " " + _("Page {page} of {pages}.", answer) : "";
  show("search-said", answer.total ? found + place : _("No vehicle is found by this."));
  byId("hits").replaceChildren(...answer.hits.map(hitCard));
  byId("hits").hidden = !answer.hits.length;
  byId("hits-pages").hidden = answer.pages < 2;
  byId("hits-before").disabled = answer.page <= 1;
  byId("hits-next").disabled = answer.page >= answer.pages;
}

// Back returns to what was found: the text is kept with this page of this session, and not in its address.
function remember(q) {
  history.replaceState({ q, page: pageShown, session: session() }, "");
}

async function find(page = 1) {
  const mine = ++searched, form = byId("search"), q = form.elements.q.value.trim();
  clearTimeout(typing);
  pageShown = page;
  remember(q);
  if (q.replace(/[^\p{L}\p{N}]/gu, "").length < Number(form.dataset.least)) return clearHits();
  try {
    const answer = await ask("GET", "/api/search?" + new URLSearchParams({ q, page }));
    if (mine !== searched) return;
    show("search-error", "");
    showHits(answer);
  } catch (error) {
    if (mine !== searched) return;
    clearHits(); // nothing of the search before stays below an error
    show("search-error", error.message);
  }
}

on("search", "submit", () => find());

on("search", "input", () => {
  ++searched; // an answer that is under way is for another text
  clearTimeout(typing);
  typing = setTimeout(() => find(), TYPING);
});

byId("hits-before")?.addEventListener("click", () => find(pageShown - 1));
byId("hits-next")?.addEventListener("click", () => find(pageShown + 1));

const typed = byId("search")?.elements.q.value;
if (typed) {
  find(); // somebody typed before this script had arrived
} else if (byId("search") && history.state?.q && history.state.session === session()) {
  byId("search").elements.q.value = history.state.q;
  find(history.state.page);
}
