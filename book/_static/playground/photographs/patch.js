// An adversarial patch (Brown et al. 2017) for one photograph: a square whose pixels may be anything.
import { STEP_SHARE } from "../attacks.js";
import { lossGradient } from "../network.js";

const GRAY = 0.5;
const CHANNELS = 3;

/** Calls visit(number of the patch, number of the image) for a patch with its corner at [x, y]. */
function covered({ size, place: [left, top] }, side, visit) {
  for (let at = 0; at < CHANNELS * size ** 2; at++) {
    const channel = Math.floor(at / size ** 2);
    const y = top + (Math.floor(at / size) % size);
    visit(at, (channel * side + y) * side + left + (at % size));
  }
}

/** The image (3, side, side) with the patch (3, size, size) on it. */
export function applied(image, patch, where, side) {
  const result = image.slice();
  covered(where, side, (at, pixel) => (result[pixel] = patch[at]));
  return result;
}

/** Signed steps from gray, or from a patch, of the length that PGD takes in a ball of radius 1/2,
 * which is the whole box. Yields the patch after each step, and the logits before it. */
export function* patchPath(net, image, settings) {
  const { label, target = null, steps, size, place, side, start = null } = settings;
  const towards = target === null ? 1 : -1;
  const stride = (STEP_SHARE * GRAY) / steps;
  let patch = start ?? new Float32Array(CHANNELS * size ** 2).fill(GRAY);
  for (let taken = 0; taken < steps; taken++) {
    const where = { size, place };
    const { logits, gradient } =
      lossGradient(net, applied(image, patch, where, side), target ?? label);
    patch = patch.slice();
    covered(where, side, (at, pixel) => {
      const stepped = patch[at] + towards * stride * Math.sign(gradient[pixel]);
      patch[at] = Math.min(1, Math.max(0, stepped));
    });
    yield { logits, patch };
  }
}
