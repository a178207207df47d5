// A drawing as MNIST has its digits (LeCun et al. 1998): scaled to fit 20 × 20 pixels with its
// proportions kept, then moved until its center of mass is the center of 28 × 28.
import { SIDE } from "./pictures.js";

const BOX = 20;
const TOUCHED = 0.05;

/** 784 numbers in [0, 1] of `ink` in [0, 1], row by row; null where nothing is drawn. */
export function centered(ink, width) {
  const marks = [];
  ink.forEach((value, at) => {
    if (value > TOUCHED) marks.push({ x: at % width, y: Math.floor(at / width), value });
  });
  if (marks.length === 0) return null;
  const most = (axis) => marks.reduce((top, mark) => Math.max(top, mark[axis]), -Infinity);
  const least = (axis) => marks.reduce((low, mark) => Math.min(low, mark[axis]), Infinity);
  const extent = 1 + Math.max(most("x") - least("x"), most("y") - least("y"));
  const scale = BOX / extent;
  const mass = marks.reduce((sum, mark) => sum + mark.value, 0);
  const mean = (axis) => marks.reduce((sum, mark) => sum + mark.value * mark[axis], 0) / mass;
  const [middleX, middleY] = [mean("x"), mean("y")];

  // Each mark covers scale × scale of one pixel: sums of areas are the anti-aliased image.
  const image = new Float32Array(SIDE ** 2);
  for (const mark of marks) {
    const x = Math.floor((mark.x - middleX) * scale + SIDE / 2);
    const y = Math.floor((mark.y - middleY) * scale + SIDE / 2);
    const inside = x >= 0 && x < SIDE && y >= 0 && y < SIDE;
    if (inside) image[y * SIDE + x] += mark.value * scale ** 2;
  }
  return image.map((value) => Math.min(1, value));
}
