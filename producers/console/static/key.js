// Signing keys: made here, locked here, used here; what leaves is locked.
//
// A key with a password is Ed25519; its private half (PKCS#8) is locked with AES-GCM, under what PBKDF2 makes of the
// password. A passkey is kept by the device or a security key, which sees that its owner is there.

const ITERATIONS = 600_000; // of PBKDF2 with SHA-256 (OWASP, Password Storage)
const MIN_CHARACTERS = 12;

export const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const base64 = (data) => btoa(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(""));
const fromUrl = (text) => bytes(text.replaceAll("-", "+").replaceAll("_", "/"));

// --- with a password ---------------------------------------------------------------------------------------------

/** Returns a new key: `public_key`, and `wrapped`, which only the password opens. */
export async function makeKey(password) {
  if ([...password.normalize("NFKC")].length < MIN_CHARACTERS) {
    throw new Error(`The signing password needs at least ${MIN_CHARACTERS} characters.`);
  }
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const lock = await lockOf(password, salt, ITERATIONS, "wrapKey");
  const ciphertext = await crypto.subtle.wrapKey("pkcs8", pair.privateKey, lock, { name: "AES-GCM", iv });
  return {
    public_key: base64(await crypto.subtle.exportKey("raw", pair.publicKey)),
    wrapped: { salt: base64(salt), iterations: ITERATIONS, iv: base64(iv), ciphertext: base64(ciphertext) },
  };
}

/** Returns the signature of these bytes in base64; the key is open for no longer than that. */
export async function signWithPassword(wrapped, password, message) {
  const lock = await lockOf(password, bytes(wrapped.salt), wrapped.iterations, "unwrapKey");
  const how = { name: "AES-GCM", iv: bytes(wrapped.iv) };
  let key;
  try {
    key = await crypto.subtle.unwrapKey("pkcs8", bytes(wrapped.ciphertext), lock, how, "Ed25519", false, ["sign"]);
  } catch {
    throw new Error("This is not the signing password of your key.");
  }
  return base64(await crypto.subtle.sign("Ed25519", key, message));
}

async function lockOf(password, salt, iterations, use) {
  const said = new TextEncoder().encode(password.normalize("NFKC"));
  const base = await crypto.subtle.importKey("raw", said, "PBKDF2", false, ["deriveKey"]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  return crypto.subtle.deriveKey(how, base, { name: "AES-GCM", length: 256 }, false, [use]);
}

// --- with a passkey ----------------------------------------------------------------------------------------------

/** Returns a new passkey in the JSON form of WebAuthn, level 3. */
export async function makePasskey(options) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return (await asked(navigator.credentials.create({ publicKey }))).toJSON();
}

/** Returns the passkey's signature of a challenge, and what it signs around it, each in base64. */
export async function signWithPasskey(credentialId, challenge) {
  const allowCredentials = [{ type: "public-key", id: fromUrl(credentialId) }];
  const publicKey = { challenge, allowCredentials, userVerification: "required" };
  const { response } = await asked(navigator.credentials.get({ publicKey }));
  return {
    signature: base64(raw(new Uint8Array(response.signature))),
    authenticator_data: base64(response.authenticatorData),
    client_data: base64(response.clientDataJSON),
  };
}

async function asked(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name !== "NotAllowedError") throw error;
    throw new Error("The passkey was not used: it was declined, took too long, or is not on this device.");
  }
}

/** Returns r and s of ECDSA, 32 bytes each, which authenticators write in DER; Ed25519 is 64 bytes as it is. */
function raw(signature) {
  if (signature.length === 64) return signature;
  const both = new Uint8Array(64);
  let at = 2; // past the sequence's tag and length
  for (const end of [32, 64]) {
    const length = signature[at + 1];
    const number = signature.slice(at + 2, at + 2 + length);
    const digits = number.slice(Math.max(0, length - 32)); // a leading zero keeps it positive
    both.set(digits, end - digits.length);
    at += 2 + length;
  }
  return both;
}
