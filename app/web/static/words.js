// Texts of the scripts in the language of the page. The English text is the key; values stand in braces.
"use strict";

const MESSAGES_OF_PAGE = Object.assign(Object.create(null), globalThis.MESSAGES);
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values?.[name] ?? whole);

const _ = (text, values) => filled(MESSAGES_OF_PAGE[text] || text, values);

function ngettext(one, many, number, values) {
  const forms = MESSAGES_OF_PAGE[one];
  const text = forms?.length ? forms[globalThis.pluralForm(number)] : "";
  return filled(text || (number === 1 ? one : many), { n: number, ...values });
}

// An error of the service, which comes in English: as a text of its own, or as one with values, also behind the name
// of a file and a colon; otherwise as it is.
function sentence(detail) {
  if (MESSAGES_OF_PAGE[detail]) return MESSAGES_OF_PAGE[detail];
  for (const [expression, text, names] of globalThis.SENTENCES ?? []) {
    const found = names.length && detail.match(new RegExp(`^${expression}$`, "s"));
    const value = (name, given) => (globalThis.WORDS.includes(name) ? _(given) : given);
    if (found) return _(text, Object.fromEntries(names.map((name, index) => [name, value(name, found[index + 1])])));
  }
  const [, name, rest] = detail.match(/^(.*?): (.*)$/s) ?? [];
  return rest ? `${name}: ${sentence(rest)}` : detail;
}
