// EfficientNet-Lite0 from the files that were exported beside this page.
import { chained, halves } from "../network.js";
import { kernels } from "./kernels.js";
import { depthwise, full, mean, pointwise } from "./layers.js";

const KINDS = { full, pointwise, depthwise, mean };

/** The numbers of one layer after another: biases in float32, then all weights in float16. */
function reader(content, count) {
  const biases = new Float32Array(content, 0, count);
  const weights = new Uint16Array(content, count * 4);
  const known = halves();
  let [bias, weight] = [0, 0];
  return ({ kind, inputs, outputs, kernel = 1 }) => {
    const size = kernel ** 2 * outputs * (kind === "depthwise" ? 1 : inputs);
    return {
      biases: biases.slice(bias, (bias += outputs)),
      weights: Float32Array.from(weights.subarray(weight, (weight += size)), (bits) => known[bits]),
    };
  };
}

/** A block, whose input may be added to its output. */
function block({ shortcut }, parts, machine, count) {
  const inside = chained(parts);
  const added = (to, from) => {
    const [numbers, others] = [machine.floats(to, count), machine.floats(from, count)];
    if (shortcut) for (let at = 0; at < count; at++) numbers[at] += others[at];
    return to;
  };
  return {
    forward: (features) => added(inside.forward(features), features),
    backward: (slope) => added(inside.backward(slope), slope),
  };
}

/** The network on one image (3, H, W) in [0, 1]: forward to logits, backward to the image. */
export function network({ layers, biases, classes }, content) {
  const machine = kernels();
  const numbers = reader(content, biases);
  let channels;
  const built = (layer) => {
    if (layer.kind === "block") {
      const { side, inputs } = layer.layers[0];
      return block(layer, layer.layers.map(built), machine, side ** 2 * inputs);
    }
    const made = KINDS[layer.kind]({ ...layer, channels }, machine,
      layer.outputs ? numbers(layer) : null);
    channels = layer.outputs ?? channels;
    return made;
  };
  const whole = chained(layers.map(built));
  const slopes = machine.take(4 * classes.length);
  return {
    forward: (image) => machine.floats(whole.forward(image), classes.length).slice(),
    backward(slope) {
      machine.floats(slopes, classes.length).set(slope);
      return whole.backward(slopes);
    },
  };
}
