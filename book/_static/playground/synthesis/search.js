// Analysis by synthesis: the drawing by which each class explains an image best, found by search.
import { halves, network } from "../network.js";

const RADIUS = 5;
const STEPS = 40;
const HALVINGS = 8;
const DECREASE = 1e-4;
const GAIN = 1e-4;

const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);

/** Latents, those longer than the radius shortened to it. */
function within(latents) {
  const length = Math.sqrt(dot(latents, latents));
  return length > RADIUS ? latents.map((value) => (value * RADIUS) / length) : latents;
}

/** ‖a − b‖². */
export function squaredDistance(one, other) {
  let sum = 0;
  for (let at = 0; at < one.length; at++) sum += (one[at] - other[at]) ** 2;
  return sum;
}

/** The decoders from the exported numbers, and what their search may begin with:
 * {classes, explain(label, image, before)}. */
export function explainer({ classes, latents, starts, layers }, content) {
  const known = halves();
  const numbers = Float32Array.from(new Uint16Array(content), (bits) => known[bits]);
  const end = numbers.length - starts * latents;
  const size = end / classes;
  const decoders = Array.from({ length: classes }, (_, label) =>
    network(layers, numbers.subarray(label * size, (label + 1) * size)));
  const samples = Array.from({ length: starts }, (_, at) =>
    Array.from(numbers.subarray(end + at * latents, end + (at + 1) * latents)));
  const drawn = decoders.map((decoder) =>
    samples.map((z) => Float32Array.from(decoder.forward(Float32Array.from(z)))));

  /** The sample that explains an image best. */
  function nearest(label, image) {
    const costs = samples.map((z, at) => squaredDistance(image, drawn[label][at]) + dot(z, z) / 2);
    return samples[costs.indexOf(Math.min(...costs))];
  }

  /** How a class explains an image, {latents, drawing, cost}. The search begins with the latents
   * `before`, those found before the last change of the image, or with the best sample. */
  function explain(label, image, before = null) {
    return descend(decoders[label], image, before ?? nearest(label, image));
  }
  return { classes, explain };
}

/** Minimizes ‖x − G(z)‖² + ½ ‖z‖² over ‖z‖ ≤ RADIUS, by the method of Broyden, Fletcher, Goldfarb
 * and Shanno with halved steps. */
function descend(decoder, image, start) {
  const evaluate = (z) => {
    const drawing = decoder.forward(Float32Array.from(z));
    return { z, drawing, cost: squaredDistance(image, drawing) + dot(z, z) / 2 };
  };
  // Of the latents that were evaluated last.
  const gradient = ({ z, drawing }) => {
    const slope = drawing.map((pixel, at) => 2 * (pixel - image[at]));
    return Array.from(decoder.backward(slope), (value, at) => value + z[at]);
  };
  let now = evaluate(within(start));
  let slope = gradient(now);
  let inverse = null;
  let best = { latents: now.z, drawing: Float32Array.from(now.drawing), cost: now.cost };
  for (let step = 0; step < STEPS; step++) {
    const length = Math.sqrt(dot(slope, slope));
    const direction = inverse
      ? inverse.map((row) => -dot(row, slope))
      : slope.map((value) => -value / Math.max(2 * length, 1));
    let [size, next] = [1, null];
    for (let halved = 0; halved < HALVINGS; halved++, size /= 2) {
      const z = within(now.z.map((value, at) => value + size * direction[at]));
      const trial = evaluate(z);
      const promised = dot(slope, z.map((value, at) => value - now.z[at]));
      if (trial.cost <= now.cost + DECREASE * promised && promised < 0) {
        next = trial;
        break;
      }
    }
    if (!next) {
      if (!inverse) break;
      inverse = null;
      // The decoder must have drawn these latents last.
      now = evaluate(now.z);
      continue;
    }
    const gained = now.cost - next.cost;
    const after = gradient(next);
    inverse = updated(inverse, next.z.map((value, at) => value - now.z[at]),
      after.map((value, at) => value - slope[at]));
    [now, slope] = [next, after];
    best = { latents: now.z, drawing: Float32Array.from(now.drawing), cost: now.cost };
    if (gained < GAIN * now.cost) break;
  }
  return best;
}

/** H + (1 + yᵀHy / sᵀy) s sᵀ / sᵀy − (H y sᵀ + s yᵀH) / sᵀy; H as it is where sᵀy is not positive. */
function updated(inverse, s, y) {
  const sy = dot(s, y);
  if (sy <= 1e-10) return inverse;
  const scale = sy / dot(y, y);
  const h = inverse ?? s.map((_, row) => s.map((__, column) => (row === column ? scale : 0)));
  const hy = h.map((row) => dot(row, y));
  const factor = (1 + dot(y, hy) / sy) / sy;
  return h.map((row, i) => row.map((value, j) =>
    value + factor * s[i] * s[j] - (hy[i] * s[j] + s[i] * hy[j]) / sy));
}
