// Signs the words of a page, one text or many, with this person's own key, in this browser, and sends the signatures.

import { bytes, signWithPasskey, signWithPassword } from "./key.js";

const form = document.querySelector("#sign");
const flaw = document.querySelector("#sign-flaw");

async function signature({ words, challenge }) {
  if (form.dataset.credential) return signWithPasskey(form.dataset.credential, bytes(challenge));
  const password = form.querySelector("#password").value;
  return { signature: await signWithPassword(JSON.parse(form.dataset.wrapped), password, bytes(words)) };
}

async function signAll() {
  for (const { dataset } of form.querySelectorAll("[data-words]")) {
    for (const [name, value] of Object.entries(await signature(dataset))) form.elements[name + dataset.place].value = value;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  flaw.hidden = true;
  try {
    await signAll();
    form.submit();
  } catch (error) {
    flaw.textContent = error.message || "It was not signed.";
    flaw.hidden = false;
    button.disabled = false;
  }
});
