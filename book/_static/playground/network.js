// Networks from the manifest's layers, one behind another, and the gradient of their loss.
import { convolution, transposed } from "./convolution.js";
import { elu, relu, resized, sigmoid } from "./layers.js";

const KINDS = { convolution, transposed, relu, elu, sigmoid, average: resized, repeat: resized };

/** A network on one image, 784 numbers in [0, 1], or on latents; its next call overwrites what it
 * returned. */
export function network(description, numbers) {
  let channels = 1;
  return chained(description.map((layer) => {
    const built = KINDS[layer.kind]({ ...layer, channels }, numbers);
    channels = layer.outputs ?? channels;
    return built;
  }));
}

/** Every float16 as a float32: 65,536 of them (IEEE 754, binary16; weights are finite). */
export function halves() {
  return Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    return bits >> 15 ? -size : size;
  });
}

/** Layers, or whole networks, one behind another: the gradient runs back through all of them. */
export function chained(parts) {
  return {
    forward: (features) => parts.reduce((result, part) => part.forward(result), features),
    backward: (slope) => parts.reduceRight((result, part) => part.backward(result), slope),
  };
}

/** The probabilities of logits, in float64. */
export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const total = powers.reduce((sum, power) => sum + power);
  return powers.map((power) => power / total);
}

/** The class read from logits or probabilities. */
export const read = (scores) => scores.indexOf(Math.max(...scores));

/** Logits of an image, and the gradient of the label's cross-entropy with respect to the image. */
export function lossGradient(net, image, label) {
  const logits = Float32Array.from(net.forward(image));
  const slope = softmax(logits);
  // p − 1 as minus the sum of the others: exact also where p rounds to 1 and PyTorch's slope is 0.
  slope[label] = -slope.reduce((sum, share, other) => (other === label ? sum : sum + share), 0);
  return { logits, gradient: net.backward(Float32Array.from(slope)) };
}
