// With the drawings of two classes held, the decision between them changes across a hyperplane.

/** The half-space {normal, needed, distance} in which the drawing of a rival costs no more than the
 * drawing G_y that won: δ · (G_c − G_y) ≥ (L_c − L_y) / 2. The squares of δ cancel. */
export function halfspace(winner, rival) {
  const normal = rival.drawing.map((pixel, at) => pixel - winner.drawing[at]);
  const needed = (rival.cost - winner.cost) / 2;
  const length = Math.sqrt(normal.reduce((sum, value) => sum + value ** 2, 0));
  return { normal, needed, distance: needed / length };
}

/** δ · normal / needed: how much of the way to a half-space a change of the image has gone. */
export function covered({ normal, needed }, image, clean) {
  let along = 0;
  for (let at = 0; at < image.length; at++) along += (image[at] - clean[at]) * normal[at];
  return along / needed;
}

/** What a click makes of a pixel: ink where it is light, white where it is dark. */
export const flipped = (pixel) => (pixel < 0.5 ? 1 : 0);

/** The pixel, not yet changed, whose flip goes the longest way to a half-space; −1 if none helps. */
export function bestFlip({ normal }, image, clean) {
  let [best, most] = [-1, 0];
  for (let at = 0; at < image.length; at++) {
    if (image[at] !== clean[at]) continue;
    const gain = (flipped(clean[at]) - clean[at]) * normal[at];
    if (gain > most) [best, most] = [at, gain];
  }
  return best;
}
