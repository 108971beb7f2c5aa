// Keeps what is filled in, in this tab, until the desk has it: a session may end before a form is sent.
//
// It lies under its owner's digest: whoever else signs in here does not see it, and it goes. So it does on the way out.

const mine = document.body.dataset.reader;
const form = document.querySelector("[data-keep]");

function forget(which) {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith("kept:") && which(name)) sessionStorage.removeItem(name);
}

function restore(entries) {
  for (const field of form.elements) {
    const values = entries.filter(([name]) => name === field.name).map(([, value]) => value);
    if (field.type === "radio" || field.type === "checkbox") field.checked = values.includes(field.value);
    else if (field.name) field.value = values[0] ?? "";
  }
  document.querySelector("#kept").hidden = false;
}

if (mine) forget((name) => !name.startsWith(`kept:${mine}:`));
for (const { dataset } of document.querySelectorAll("[data-forget]")) forget((name) => name.startsWith(`kept:${mine}:${dataset.forget}`));
for (const leaving of document.querySelectorAll("[data-leave]")) {
  leaving.addEventListener("submit", () => forget((name) => name.startsWith(`kept:${mine}:${leaving.dataset.leave}`)));
}

if (form) {
  const name = `kept:${mine}:${form.dataset.keep}`;
  const kept = sessionStorage.getItem(name);
  if (kept && !form.querySelector("#flaws")) restore(JSON.parse(kept)); // what is wrong was said of what was sent last
  form.addEventListener("input", () => sessionStorage.setItem(name, JSON.stringify([...new FormData(form)])));
}
