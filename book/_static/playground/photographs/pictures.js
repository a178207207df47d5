// Photographs on canvases and as numbers: (3, side, side) in [0, 1], red, green and blue planes.

/** The middle square of a bitmap or a video as an image, of 8-bit levels like any file. */
export function pixelsOf(source, width, height, side) {
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  const square = Math.min(width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, (width - square) / 2, (height - square) / 2, square, square,
    0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  const plane = side ** 2;
  return Float32Array.from({ length: 3 * plane }, (_, at) =>
    data[4 * (at % plane) + Math.floor(at / plane)] / 255);
}

/** Draws an image on a canvas, which takes its size. */
export function paint(canvas, image) {
  const plane = image.length / 3;
  const side = Math.sqrt(plane);
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(side, side);
  for (let at = 0; at < plane; at++) {
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * at + channel] = Math.round(255 * image[channel * plane + at]);
    }
    pixels.data[4 * at + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** A perturbation: gray where it adds nothing, the channel full at +epsilon and empty at −epsilon. */
export const perturbation = (adversarial, image, epsilon) =>
  image.map((pixel, at) =>
    epsilon ? Math.min(1, Math.max(0, 0.5 + (adversarial[at] - pixel) / (2 * epsilon))) : 0.5);
