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
