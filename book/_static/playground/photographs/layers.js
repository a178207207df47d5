// The layers of EfficientNet-Lite0 on one photograph: forward, and back to the gradient with respect
// to the input. Features are float32, channels last (H, W, C), at addresses in the kernels' memory.
// Each layer keeps its own output and gradient, and overwrites them at the next call.
import { COLUMNS, ROWS } from "./kernels.js";

const MOST = 6;
const NUMBER = 4;
const whole = (count) => ROWS * Math.ceil(count / ROWS);

/** A matrix (rows, columns) as the kernel reads it: eight columns at a time, row after row. */
function packed(machine, rows, columns, value) {
  const address = machine.take(rows * columns);
  const numbers = machine.floats(address, rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const block = column - (column % COLUMNS);
      numbers[block * rows + row * COLUMNS + (column % COLUMNS)] = value(row, column);
    }
  }
  return address;
}

function kept(machine, values) {
  const address = machine.take(values.length);
  machine.floats(address, values.length).set(values);
  return address;
}

/** c (rows, columns) = a (rows, inner) · b (inner, columns) + bias, clipped; b is packed. */
function multiply(machine, { a, b, bias, c, rows, inner, columns, low = -Infinity,
  high = Infinity }) {
  for (let row = 0; row < rows; row += ROWS) {
    const from = a + row * inner * NUMBER;
    for (let column = 0; column < columns; column += COLUMNS) {
      machine.tile(from, inner * NUMBER, b + column * inner * NUMBER, bias + column * NUMBER,
        c + (row * columns + column) * NUMBER, columns * NUMBER, from + inner * NUMBER, low, high);
    }
  }
}

const clipping = ({ activated }) => (activated ? { low: 0, high: MOST } : {});

/** A 1 × 1 convolution, or a dense layer: one product of matrices. */
export function pointwise(layer, machine, { weights, biases }) {
  const { side, inputs, outputs, activated } = layer;
  const rows = whole(side ** 2);
  const bias = kept(machine, biases);
  const none = machine.take(inputs);
  const forth = packed(machine, inputs, outputs, (from, to) => weights[to * inputs + from]);
  const back = packed(machine, outputs, inputs, (from, to) => weights[from * inputs + to]);
  const answer = machine.take(rows * outputs);
  const gradient = machine.take(rows * inputs);
  return {
    forward(features) {
      multiply(machine, { a: features, b: forth, bias, c: answer, rows, inner: inputs,
        columns: outputs, ...clipping(layer) });
      return answer;
    },
    backward(slope) {
      if (activated) machine.mask(slope, answer, slope + rows * outputs * NUMBER, 0, MOST);
      multiply(machine, { a: slope, b: back, bias: none, c: gradient, rows, inner: outputs,
        columns: inputs });
      return gradient;
    },
  };
}

/** Calls visit(output, input, tap) for the pixels that a moving window joins. */
function windows({ side, size, kernel, stride, before }, visit) {
  for (let output = 0; output < size ** 2; output++) {
    for (let tap = 0; tap < kernel ** 2; tap++) {
      const y = Math.floor(output / size) * stride - before + Math.floor(tap / kernel);
      const x = (output % size) * stride - before + (tap % kernel);
      if (y >= 0 && y < side && x >= 0 && x < side) visit(output, y * side + x, tap);
    }
  }
}

/** Each channel filtered by itself. */
export function depthwise(layer, machine, { weights, biases }) {
  const { side, size, kernel, inputs: channels, activated } = layer;
  const [taps, wide] = [kernel ** 2, channels * NUMBER];
  const filters = kept(machine, weights.map((_, at) =>
    weights[(at % channels) * taps + Math.floor(at / channels)]));
  const count = size ** 2 * channels;
  const answer = machine.take(whole(size ** 2) * channels);
  const gradient = machine.take(whole(side ** 2) * channels);
  const end = answer + count * NUMBER;
  return {
    forward(features) {
      const numbers = machine.floats(answer, count);
      for (let at = 0; at < count; at += channels) numbers.set(biases, at);
      windows(layer, (output, input, tap) => {
        const at = answer + output * wide;
        machine.addProducts(at, features + input * wide, filters + tap * wide, at + wide);
      });
      if (activated) machine.clip(answer, end, 0, MOST);
      return answer;
    },
    backward(slope) {
      if (activated) machine.mask(slope, answer, slope + count * NUMBER, 0, MOST);
      machine.floats(gradient, side ** 2 * channels).fill(0);
      windows(layer, (output, input, tap) => {
        const at = gradient + input * wide;
        machine.addProducts(at, slope + output * wide, filters + tap * wide, at + wide);
      });
      return gradient;
    },
  };
}

/** The first layer: a convolution of the image (3, H, W) in [0, 1], by way of a matrix with the
 * pixels of one window in each row. Its gradient is that of the image. */
export function full(layer, machine, { weights, biases }) {
  const { side, size, kernel, inputs, outputs } = layer;
  const [rows, taps] = [size ** 2, kernel ** 2];
  const inner = COLUMNS * Math.ceil((inputs * taps) / COLUMNS);
  const columns = machine.take(rows * inner);
  const weight = (column, output) =>
    column < inputs * taps ? weights[output * inputs * taps + column] : 0;
  const product = pointwise({ ...layer, side: size, inputs: inner }, machine, {
    biases, weights: Float32Array.from({ length: outputs * inner }, (_, at) =>
      weight(at % inner, Math.floor(at / inner))),
  });
  const gradient = new Float32Array(inputs * side ** 2);
  /** Calls visit(entry of the matrix, entry of the image). */
  const joined = (visit) => windows(layer, (output, input, tap) => {
    for (let channel = 0; channel < inputs; channel++) {
      visit(output * inner + channel * taps + tap, channel * side ** 2 + input);
    }
  });
  return {
    forward(image) {
      // As the weights were trained; what is outside the image stays 0.
      const numbers = machine.floats(columns, rows * inner);
      joined((entry, pixel) => (numbers[entry] = (255 * image[pixel] - 127) / 128));
      return product.forward(columns);
    },
    backward(slope) {
      const numbers = machine.floats(product.backward(slope), rows * inner);
      gradient.fill(0);
      joined((entry, pixel) => (gradient[pixel] += (255 / 128) * numbers[entry]));
      return gradient;
    },
  };
}

/** The mean of each channel over all pixels. */
export function mean({ side, channels }, machine) {
  const [pixels, wide] = [side ** 2, channels * NUMBER];
  const shares = kept(machine, new Float32Array(channels).fill(1 / pixels));
  const answer = machine.take(whole(1) * channels);
  const gradient = machine.take(whole(pixels) * channels);
  return {
    forward(features) {
      machine.floats(answer, channels).fill(0);
      for (let pixel = 0; pixel < pixels; pixel++) {
        machine.addProducts(answer, features + pixel * wide, shares, answer + wide);
      }
      return answer;
    },
    backward(slope) {
      machine.floats(gradient, pixels * channels).fill(0);
      for (let pixel = 0; pixel < pixels; pixel++) {
        const at = gradient + pixel * wide;
        machine.addProducts(at, slope, shares, at + wide);
      }
      return gradient;
    },
  };
}
