// The search for each class's drawing, beside the page's own thread. The newest request wins.
import { checked, load } from "../defenses.js";
import { softmax } from "../network.js";
import { explainer } from "./search.js";

const base = new URL("../", self.location.href).href;
let newest = 0;
const known = { digit: null, latents: [] };

const pause = () => new Promise((resume) => setTimeout(resume));

/** How the network and the ten classes read the image of a request: one message each. */
async function answer({ id, digit, image }) {
  const { network, synthesis } = await loaded;
  if (id !== newest) return;
  if (known.digit !== digit) Object.assign(known, { digit, latents: [] });
  postMessage({ id, kind: "network", shares: softmax(network.forward(image)) });
  for (let label = 0; label < synthesis.classes; label++) {
    await pause();
    if (id !== newest) return;
    const found = synthesis.explain(label, image, known.latents[label]);
    known.latents[label] = found.latents;
    const { drawing, cost } = found;
    postMessage({ id, kind: "class", label, drawing, cost, last: label === synthesis.classes - 1 });
  }
}

onmessage = ({ data }) => {
  newest = data.id;
  // Where loading has failed, the page has been told.
  loaded.then(() => answer(data), () => null);
};

async function begin() {
  const { manifest, rows } = await load(base);
  const content = await checked(base, manifest, "synthesis.bin");
  return { network: rows.undefended.answers, synthesis: explainer(manifest.synthesis, content) };
}

const loaded = begin();
loaded.then(
  () => postMessage({ kind: "ready" }),
  (error) => postMessage({ kind: "failed", message: error.message }),
);
