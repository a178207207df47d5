// Images of 28 × 28 numbers on canvases, ink on white as in the course's figures.
export const SIDE = 28;
const INK = [31, 41, 51];
export const BELOW = [42, 111, 151];
export const ABOVE = [209, 73, 91];

/** White at 0, the color at 1. */
export const mixed = (color, share) => color.map((level) => Math.round(255 + (level - 255) * share));

function paint(canvas, numbers, color) {
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(SIDE, SIDE);
  numbers.forEach((number, at) => pixels.data.set([...color(number), 255], 4 * at));
  context.putImageData(pixels, 0, 0);
}

/** Pixels in [0, 1]: 0 white, 1 ink. */
export const paintImage = (canvas, image) => paint(canvas, image, (pixel) => mixed(INK, pixel));

/** A perturbation, 0 white: blue at −epsilon, vermilion at +epsilon. */
export function paintPerturbation(canvas, adversarial, image, epsilon) {
  const shares = image.map((pixel, at) => (epsilon ? (adversarial[at] - pixel) / epsilon : 0));
  paint(canvas, shares, (share) =>
    mixed(share < 0 ? BELOW : ABOVE, Math.min(1, Math.abs(share))));
}

/** An element with attributes and contents. */
export function element(name, attributes = {}, ...contents) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...contents);
  return made;
}

/** 0.123 as "12.3 %". */
export const percent = (share, places = 1) => `${(100 * share).toFixed(places)} %`;
