// Layers without weights on one image: forward, and back to the gradient with respect to the input.
// Each keeps its own output and gradient, float32 (H, W, C), and overwrites them at the next call.

/** Pooling by the mean of size × size pixels, or each pixel repeated size × size times. */
export function resized({ kind, side, size, channels }) {
  const shrinks = kind === "average";
  const [large, small] = shrinks ? [side, side / size] : [side * size, side];
  const fine = new Float32Array(large ** 2 * channels);
  const coarse = new Float32Array(small ** 2 * channels);
  const places = Int32Array.from(fine, (_, at) => {
    const pixel = Math.floor(at / channels);
    const [y, x] = [Math.floor(pixel / large / size), Math.floor((pixel % large) / size)];
    return (y * small + x) * channels + (at % channels);
  });
  const factor = shrinks ? 1 / size ** 2 : 1;
  const gather = (features) => {
    coarse.fill(0);
    for (let at = 0; at < fine.length; at++) coarse[places[at]] += factor * features[at];
    return coarse;
  };
  const repeat = (features) => {
    for (let at = 0; at < fine.length; at++) fine[at] = factor * features[places[at]];
    return fine;
  };
  return shrinks ? { forward: gather, backward: repeat } : { forward: repeat, backward: gather };
}

/** max(0, x) of each number. */
export function relu({ side, channels }) {
  const answer = new Float32Array(side ** 2 * channels);
  const gradient = new Float32Array(answer.length);
  return {
    forward(features) {
      for (let at = 0; at < answer.length; at++) answer[at] = features[at] > 0 ? features[at] : 0;
      return answer;
    },
    backward(slope) {
      for (let at = 0; at < answer.length; at++) gradient[at] = answer[at] > 0 ? slope[at] : 0;
      return gradient;
    },
  };
}

/** x where it is positive, else exp(x) − 1. */
export function elu({ side, channels }) {
  const answer = new Float32Array(side ** 2 * channels);
  const gradient = new Float32Array(answer.length);
  return {
    forward(features) {
      for (let at = 0; at < answer.length; at++) {
        answer[at] = features[at] > 0 ? features[at] : Math.exp(features[at]) - 1;
      }
      return answer;
    },
    backward(slope) {
      // The derivative of the lower branch is exp(x), its value plus 1.
      for (let at = 0; at < answer.length; at++) {
        gradient[at] = slope[at] * (answer[at] > 0 ? 1 : answer[at] + 1);
      }
      return gradient;
    },
  };
}

/** 1 / (1 + exp(−x)) of each number. */
export function sigmoid({ side, channels }) {
  const answer = new Float32Array(side ** 2 * channels);
  const gradient = new Float32Array(answer.length);
  return {
    forward(features) {
      for (let at = 0; at < answer.length; at++) answer[at] = 1 / (1 + Math.exp(-features[at]));
      return answer;
    },
    backward(slope) {
      for (let at = 0; at < answer.length; at++) {
        gradient[at] = slope[at] * answer[at] * (1 - answer[at]);
      }
      return gradient;
    },
  };
}
