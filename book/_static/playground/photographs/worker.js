// The network and the attacks on photographs, beside the page's own thread. The newest request wins:
// older ones stop between two steps.
import { fgsm, pgdPath } from "../attacks.js";
import { checked, fetched } from "../defenses.js";
import { softmax } from "../network.js";
import { network } from "./network.js";
import { applied, patchPath } from "./patch.js";

const LISTED = 5;
let [net, side, newest] = [null, 0, 0];
let [known, patch] = [{ number: 0 }, null];

const pause = () => new Promise((resume) => setTimeout(resume));
/** What a file would keep: whole levels of 255. */
const rounded = (image) => image.map((pixel) => Math.round(255 * pixel) / 255);

async function load() {
  const base = new URL("../", self.location.href);
  const description = await (await fetched(base, "photographs.json")).json();
  const names = Object.keys(description.files);
  const contents = await Promise.all(names.map((name) => checked(base, description, name)));
  const files = Object.fromEntries(names.map((name, at) => [name, contents[at]]));
  net = network(description, files["photograph_weights.bin"]);
  side = description.side;
  postMessage({ kind: "ready", description, photographs: files["photographs.bin"] ?? null });
}

/** The likeliest classes, and those asked for: [{ name, share }] of classes by number. */
function scores(logits, others = []) {
  const shares = softmax(logits);
  const order = shares.map((_, at) => at).sort((one, other) => shares[other] - shares[one]);
  const listed = order.slice(0, LISTED);
  const added = others.filter((label) => label !== null && !listed.includes(label));
  return [...listed, ...added].map((label) => ({ label, share: shares[label] }));
}

/** Each image on the attack's way, with the logits before its step. */
function* path(image, request) {
  const { attack, place, size } = request;
  if (attack === "fgsm") {
    yield { moved: fgsm(net, image, request) };
  } else if (attack === "pgd") {
    yield* pgdPath(net, image, request);
  } else {
    const start = request.goesOn ? patch : null;
    for (const step of patchPath(net, image, { ...request, start, side })) {
      patch = step.patch;
      yield { ...step, moved: applied(image, patch, { place, size }, side) };
    }
  }
}

async function answer(request) {
  // A patch that is dragged asks faster than the network answers.
  await pause();
  if (request.id !== newest) return;
  const { id, image, number, place, size } = request;
  // A patch of another size, left by a request that was stopped, cannot be moved or go on.
  const [moves, goesOn] = [request.moves, request.goesOn]
    .map((asked) => asked && patch?.length === 3 * size ** 2);
  if (known.number !== number) known = { number, scores: scores(net.forward(image)) };
  // One's own picture comes without its class: what the network reads in it is the first guess.
  const label = request.label ?? known.scores[0].label;
  const settings = { ...request, label, goesOn };
  const { target } = settings;
  const told = { id, kind: "answer", label, before: known.scores };
  const began = performance.now();
  let [adversarial, taken] = [image, 0];
  if (moves) {
    adversarial = applied(image, patch, { place, size }, side);
  } else {
    for (const { moved, logits } of path(image, settings)) {
      if (logits && taken) {
        postMessage({ ...told, adversarial, taken, after: scores(logits, [label, target]) });
      }
      [adversarial, taken] = [moved, taken + 1];
      await pause();
      if (id !== newest) return;
    }
  }
  adversarial = rounded(adversarial);
  const after = scores(net.forward(adversarial), [label, target]);
  const milliseconds = performance.now() - began;
  postMessage({ ...told, adversarial, taken, after, milliseconds, patch, done: true });
}

onmessage = ({ data }) => {
  newest = data.id;
  answer(data);
};

load().catch((error) => postMessage({ kind: "failed", message: error.message }));
