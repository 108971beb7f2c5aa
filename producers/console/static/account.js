// Makes a signing key and lets it sign for itself; what leaves this page is its public half, and its private half locked.

import { bytes, makeKey, makePasskey, signWithPasskey, signWithPassword } from "./key.js";

async function passkey({ dataset }) {
  const credential = await makePasskey(JSON.parse(dataset.options));
  const proof = await signWithPasskey(credential.id, bytes(dataset.challenge));
  return { credential: JSON.stringify(credential), ...proof };
}

async function password(form) {
  const [chosen, again] = ["[data-password]", "[data-again]"].map((each) => form.querySelector(each).value);
  if (chosen !== again) throw new Error("The two are not the same.");
  const { public_key, wrapped } = await makeKey(chosen);
  const signature = await signWithPassword(wrapped, chosen, bytes(form.dataset.words));
  return { public_key, wrapped: JSON.stringify(wrapped), signature };
}

const made = { passkey, password };

for (const form of document.querySelectorAll("[data-make]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    const flaw = form.querySelector("[data-flaw]");
    button.disabled = true;
    flaw.hidden = true;
    try {
      for (const [name, value] of Object.entries(await made[form.dataset.make](form))) form.elements[name].value = value;
      form.submit();
    } catch (error) {
      flaw.textContent = error.message;
      flaw.hidden = false;
      button.disabled = false;
    }
  });
}
