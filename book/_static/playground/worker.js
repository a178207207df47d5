// Attacks beside the page's own thread. The newest request wins: older ones stop at a pause.
import { fgsm, pgd } from "./attacks.js";
import { load } from "./defenses.js";
import { read, softmax } from "./network.js";

const BUDGETS = Array.from({ length: 11 }, (_, index) => index / 25);
let rows;
let newest = 0;
const curve = { key: null, points: {} };

const pause = () => new Promise((resume) => setTimeout(resume));

/** The adversarial image of one row at one budget, and what the defense says of it. */
function attacked({ answers, guessed }, { image, label, attack, target, steps, knows }, epsilon) {
  const net = knows ? answers : guessed;
  const wanted = attack === "targeted" ? target : null;
  const found = attack === "fgsm"
    ? fgsm(net, image, { label, epsilon })
    : pgd(net, image, { label, epsilon, steps, target: wanted });
  return { adversarial: found, shares: softmax(answers.forward(found)) };
}

async function answer(request) {
  const { id, image } = request;
  // A drawing comes without its class: what the undefended network reads is the first guess.
  const label = request.label ?? read(rows.undefended.answers.forward(image));
  const settings = { ...request, label };
  for (const [name, row] of Object.entries(rows)) {
    await pause();
    if (id !== newest) return;
    const began = performance.now();
    const { adversarial, shares } = attacked(row, settings, request.epsilon);
    const milliseconds = performance.now() - began;
    const purified = row.purifier && Float32Array.from(row.purifier.forward(adversarial));
    const last = name === Object.keys(rows).at(-1);
    const result = { name, label, adversarial, purified, shares, milliseconds, last };
    postMessage({ id, kind: "row", ...result });
  }
  await trace(settings);
}

/** The true class's share at each budget; goes on where an equal request was stopped. */
async function trace({ id, key, ...settings }) {
  if (curve.key !== key) {
    curve.key = key;
    curve.points = Object.fromEntries(Object.keys(rows).map((name) => [name, []]));
  }
  for (const [name, row] of Object.entries(rows)) {
    const points = curve.points[name];
    postMessage({ id, kind: "curve", name, points });
    while (points.length < BUDGETS.length) {
      await pause();
      if (id !== newest) return;
      points.push(attacked(row, settings, BUDGETS[points.length]).shares[settings.label]);
      postMessage({ id, kind: "curve", name, points });
    }
  }
  postMessage({ id, kind: "done" });
}

onmessage = ({ data }) => {
  newest = data.id;
  answer(data);
};

load(self.location.href).then(
  ({ manifest, digits, rows: loaded }) => {
    rows = loaded;
    postMessage({ kind: "ready", manifest, digits, budgets: BUDGETS });
  },
  (error) => postMessage({ kind: "failed", message: error.message }),
);
