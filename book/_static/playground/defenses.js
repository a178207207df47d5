// The networks and digits that were exported beside this page, checked, and the rows made of them.
import { chained, network } from "./network.js";

/** Fetches and checks all files: {manifest, digits, rows}. Throws an Error naming a bad file. */
export async function load(base) {
  const manifest = await (await fetched(base, "manifest.json")).json();
  const weights = await checked(base, manifest, "weights.bin");
  const digits = new Uint8Array(await checked(base, manifest, "digits.bin"));
  const numbers = new Float32Array(weights);
  const built = (name) => network(manifest.networks[name].layers, numbers);
  return { manifest, digits, rows: rowsOf(built) };
}

/** Each row: the network that answers, the one that an ignorant attacker has, and its purifier. */
export function rowsOf(built) {
  const [plain, robust, purifier] = ["s3-cnn", "manifold-robust", "magnet-1"].map(built);
  return {
    undefended: { answers: plain, guessed: plain, purifier: null },
    trained: { answers: robust, guessed: robust, purifier: null },
    purified: { answers: chained([purifier, plain]), guessed: plain, purifier },
  };
}

/** The answer to a request for one file. */
export async function fetched(base, name) {
  const answer = await fetch(new URL(name, base));
  if (!answer.ok) throw new Error(`${name} cannot be fetched (${answer.status})`);
  return answer;
}

/** The content of one file, checked against the manifest. */
export async function checked(base, manifest, name) {
  const content = await (await fetched(base, name)).arrayBuffer();
  const { bytes, sha256 } = manifest.files[name];
  if (content.byteLength !== bytes) {
    throw new Error(`${name} must hold ${bytes} bytes, got ${content.byteLength}`);
  }
  // Browsers offer checksums on https and on this machine's own address only.
  if (!globalThis.crypto?.subtle) return content;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw new Error(`${name} is damaged: its sha256 is not the manifest's`);
  return content;
}
