// Convolution of one image's features, and back to the gradient with respect to them.
// Features are float32, channels last (H, W, C), so that sums over channels run over neighbours.

const MOST_CHANNELS = 1024;
const rows = new Int32Array(MOST_CHANNELS);
const values = new Float64Array(MOST_CHANNELS);

/** The pixels that a moving window joins, seen from the input and from the output. */
function windows(side, kernel, stride, padding) {
  const size = Math.floor((side + 2 * padding - kernel) / stride) + 1;
  const pairs = [];
  for (let output = 0; output < size * size; output++) {
    for (let tap = 0; tap < kernel * kernel; tap++) {
      const y = Math.floor(output / size) * stride - padding + Math.floor(tap / kernel);
      const x = (output % size) * stride - padding + (tap % kernel);
      if (y < 0 || y >= side || x < 0 || x >= side) continue;
      pairs.push({ input: y * side + x, output, tap });
    }
  }
  return { forth: linked(pairs, "input", "output"), back: linked(pairs, "output", "input"), size };
}

/** Pairs as flat arrays: those of pixel p are numbers first[p] to first[p + 1]. */
function linked(pairs, from, to) {
  const sorted = [...pairs].sort((one, other) => one[from] - other[from]);
  const first = new Int32Array(sorted.at(-1)[from] + 2);
  for (const pair of sorted) first[pair[from] + 1]++;
  for (let pixel = 1; pixel < first.length; pixel++) first[pixel] += first[pixel - 1];
  const column = (name) => Int32Array.from(sorted, (pair) => pair[name]);
  return { first, pixels: column(to), taps: column("tap") };
}

/** target[q] += weights[tap] · source[p] for all linked pixels; zeros of the source are free. */
function spread(source, inputs, target, outputs, weights, links) {
  const { first, pixels, taps } = links;
  for (let pixel = 0; pixel + 1 < first.length; pixel++) {
    let count = 0;
    for (let channel = 0; channel < inputs; channel++) {
      const value = source[pixel * inputs + channel];
      if (value === 0) continue;
      rows[count] = channel * outputs;
      values[count++] = value;
    }
    if (count === 0) continue;
    for (let link = first[pixel]; link < first[pixel + 1]; link++) {
      const tap = taps[link] * inputs * outputs;
      add(target, pixels[link] * outputs, outputs, weights, tap, count);
    }
  }
}

/** Adds one tap's rows of weights, each times its value; eight sums at once stay in registers. */
function add(target, at, outputs, weights, tap, count) {
  let j = 0;
  for (; j + 8 <= outputs; j += 8) {
    let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (let i = 0; i < count; i++) {
      const value = values[i], k = tap + rows[i] + j;
      a += value * weights[k]; b += value * weights[k + 1];
      c += value * weights[k + 2]; d += value * weights[k + 3];
      e += value * weights[k + 4]; f += value * weights[k + 5];
      g += value * weights[k + 6]; h += value * weights[k + 7];
    }
    const o = at + j;
    target[o] += a; target[o + 1] += b; target[o + 2] += c; target[o + 3] += d;
    target[o + 4] += e; target[o + 5] += f; target[o + 6] += g; target[o + 7] += h;
  }
  for (; j < outputs; j++) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += values[i] * weights[tap + rows[i] + j];
    target[at + j] += sum;
  }
}

/** PyTorch's (outputs, inputs, taps) as (taps, inputs, outputs) and as (taps, outputs, inputs). */
function arranged(weights, outputs, inputs, taps) {
  const forth = new Float32Array(weights.length);
  const back = new Float32Array(weights.length);
  weights.forEach((weight, index) => {
    const tap = index % taps;
    const input = Math.floor(index / taps) % inputs;
    const output = Math.floor(index / (taps * inputs));
    forth[(tap * inputs + input) * outputs + output] = weight;
    back[(tap * outputs + output) * inputs + input] = weight;
  });
  return { forth, back };
}

/** A convolution; a dense layer is one whose kernel is as large as the image. */
export function convolution(layer, numbers) {
  const { side, inputs, outputs, kernel, stride, padding, begin } = layer;
  const taps = kernel * kernel;
  const end = begin + outputs * inputs * taps;
  const weights = arranged(numbers.subarray(begin, end), outputs, inputs, taps);
  const links = windows(side, kernel, stride, padding);
  const answer = new Float32Array(links.size ** 2 * outputs);
  const biases = answer.map((_, at) => numbers[end + (at % outputs)]);
  const gradient = new Float32Array(side ** 2 * inputs);
  return {
    forward(features) {
      answer.set(biases);
      spread(features, inputs, answer, outputs, weights.forth, links.forth);
      return answer;
    },
    backward(slope) {
      gradient.fill(0);
      spread(slope, outputs, gradient, inputs, weights.back, links.back);
      return gradient;
    },
  };
}

/** A transposed convolution: forward is a convolution's way back, and backward its way forth. */
export function transposed(layer, numbers) {
  const { side, inputs, outputs, kernel, stride, padding, begin } = layer;
  const taps = kernel * kernel;
  const end = begin + outputs * inputs * taps;
  const weights = arranged(numbers.subarray(begin, end), inputs, outputs, taps);
  const larger = (side - 1) * stride + kernel - 2 * padding;
  const links = windows(larger, kernel, stride, padding);
  const answer = new Float32Array(larger ** 2 * outputs);
  const biases = answer.map((_, at) => numbers[end + (at % outputs)]);
  const gradient = new Float32Array(side ** 2 * inputs);
  return {
    forward(features) {
      answer.set(biases);
      spread(features, inputs, answer, outputs, weights.back, links.back);
      return answer;
    },
    backward(slope) {
      gradient.fill(0);
      spread(slope, outputs, gradient, inputs, weights.forth, links.forth);
      return gradient;
    },
  };
}
