// FGSM and PGD in L∞ on one image, step for step as armsrace.attacks takes them.
import { lossGradient } from "./network.js";

export const STEP_SHARE = 2.5;

/** Numbers in [0, 1) that follow from the seed (mulberry32). */
export function uniform(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One signed step, up the label's loss or down the target's, put back into ball and box; with the
 * logits before it. */
function step(net, image, current, { label, target, size, epsilon }) {
  const towards = target === null ? 1 : -1;
  const { gradient, logits } = lossGradient(net, current, target ?? label);
  const moved = current.map((pixel, at) => {
    const stepped = pixel + towards * size * Math.sign(gradient[at]);
    const kept = Math.min(image[at] + epsilon, Math.max(image[at] - epsilon, stepped));
    return Math.min(1, Math.max(0, kept));
  });
  return { logits, moved };
}

/** One step of length epsilon (Goodfellow et al. 2015). */
export const fgsm = (net, image, { label, target = null, epsilon }) =>
  step(net, image, image, { label, target, epsilon, size: epsilon }).moved;

/** Projected gradient descent (Madry et al. 2018): a random start in the ball, then `steps` steps
 * of 2.5 ε / steps. The seed is fixed, so that the same settings give the same image. Yields the
 * image after each step, `moved`, and the logits before it. */
export function* pgdPath(net, image, { label, target = null, epsilon, steps, seed = 0 }) {
  const random = uniform(seed);
  const size = (STEP_SHARE * epsilon) / steps;
  let current = image.map((pixel) =>
    Math.min(1, Math.max(0, pixel + epsilon * (2 * random() - 1))));
  for (let taken = 0; taken < steps; taken++) {
    const result = step(net, image, current, { label, target, size, epsilon });
    yield result;
    current = result.moved;
  }
}

/** The last image of PGD. */
export function pgd(net, image, settings) {
  let found;
  for (const { moved } of pgdPath(net, image, settings)) found = moved;
  return found;
}
