// The true class's confidence against ε, as a small SVG.
import { percent } from "./pictures.js";

const [WIDTH, HEIGHT] = [250, 132];
const [LEFT, RIGHT, TOP, BOTTOM] = [40, 8, 8, 34];
const MOST = 0.4;
const NAMESPACE = "http://www.w3.org/2000/svg";

const across = (epsilon) => LEFT + (epsilon / MOST) * (WIDTH - LEFT - RIGHT);
const down = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);

function drawn(parent, name, attributes, text = "") {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

/** An empty curve: {svg, draw(points, budgets, label), mark(epsilon)}. */
export function newCurve(title) {
  const svg = document.createElementNS(NAMESPACE, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("class", "curve");
  svg.setAttribute("aria-label", `${title}: confidence against ε, not drawn yet`);
  for (const share of [0, 0.5, 1]) {
    const y = down(share);
    drawn(svg, "line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: "grid" });
    drawn(svg, "text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, percent(share, 0));
  }
  for (const epsilon of [0, 0.1, 0.2, 0.3, 0.4]) {
    const place = { x: across(epsilon), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" };
    drawn(svg, "text", place, String(epsilon));
  }
  const middle = (LEFT + WIDTH - RIGHT) / 2;
  drawn(svg, "text", { x: middle, y: HEIGHT - 4, "text-anchor": "middle" }, "ε (pixel units, L∞)");
  const now = drawn(svg, "line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "now" });
  const line = drawn(svg, "polyline", { class: "line" });

  return {
    svg,
    mark(epsilon) {
      now.setAttribute("x1", across(epsilon));
      now.setAttribute("x2", across(epsilon));
    },
    draw(points, budgets, label) {
      const places = points.map((share, at) => `${across(budgets[at])},${down(share)}`);
      line.setAttribute("points", places.join(" "));
      const told = points
        .map((share, at) => `${percent(share, 0)} at ${budgets[at]}`)
        .filter((_, at) => at % 2 === 0);
      const text = `${title}: confidence in ${label} against ε. ${told.join(", ")}`;
      svg.setAttribute("aria-label", text);
    },
  };
}
