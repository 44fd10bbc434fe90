// Passwords: one's own, and those that an admin resets.
"use strict";

on("own-password", "submit", (form) => doing(form, async () => {
  show("changed", "");
  const { old, again } = form.elements, chosen = form.elements.new;
  if (chosen.value !== again.value) throw new Error(_("the two new passwords differ"));
  await ask("PUT", "/api/password", { old: old.value, new: chosen.value });
  form.reset();
  show("changed", _("Your password is changed."));
}));

on("reset-password", "submit", (form) => doing(form, async () => {
  show("reset-said", "");
  const { account, password } = form.elements, name = account.selectedOptions[0].text;
  await ask("POST", `/api/accounts/${account.value}/password`, { password: password.value });
  form.reset();
  show("reset-said", _("The password of {name} is changed; its log-ins and tokens have ended.", { name }));
}));
