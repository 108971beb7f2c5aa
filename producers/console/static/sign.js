// Signs the words of a page with this person's own key, in this browser, and sends the signature.

import { signWithPasskey, signWithPassword } from "./key.js";

const form = document.querySelector("#sign");
const flaw = document.querySelector("#sign-flaw");
const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

async function signature() {
  if (form.dataset.credential) return signWithPasskey(form.dataset.credential, bytes(form.dataset.challenge));
  const password = form.querySelector("#password").value;
  return { signature: await signWithPassword(JSON.parse(form.dataset.wrapped), password, bytes(form.dataset.words)) };
}

form.addEventListener("submit", async (event) => {
  if (form.elements.signature.value) return;
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  flaw.hidden = true;
  try {
    for (const [name, value] of Object.entries(await signature())) form.elements[name].value = value;
    form.submit();
  } catch (error) {
    flaw.textContent = error.message || "It was not signed.";
    flaw.hidden = false;
    button.disabled = false;
  }
});
