// An image whose pixels are flipped one by one, by mouse, touch or keyboard.
import { ABOVE, BELOW, mixed, SIDE } from "../pictures.js";
import { flipped } from "./halfspaces.js";

const CELL = 12;
const INK = [31, 41, 51];
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const css = (color) => `rgb(${color.join()})`;
const corner = (at) => [(at % SIDE) * CELL, Math.floor(at / SIDE) * CELL];

/** A sign in a cell: + or −, so that nothing is told by color alone. */
function sign(context, at, positive, color) {
  const [x, y] = corner(at);
  context.fillStyle = color;
  context.fillRect(x + 3, y + CELL / 2 - 1, CELL - 6, 2);
  if (positive) context.fillRect(x + CELL / 2 - 1, y + 3, 2, CELL - 6);
}

function cells(canvas, color) {
  canvas.width = canvas.height = SIDE * CELL;
  const context = canvas.getContext("2d");
  for (let at = 0; at < SIDE ** 2; at++) {
    context.fillStyle = css(color(at));
    context.fillRect(...corner(at), CELL, CELL);
  }
  return context;
}

/** Signed numbers on white: vermilion and + above 0, blue and − below. */
export function paintSigned(canvas, numbers) {
  const most = Math.max(...numbers.map(Math.abs), 1e-9);
  const context = cells(canvas, (at) =>
    mixed(numbers[at] < 0 ? BELOW : ABOVE, Math.abs(numbers[at]) / most));
  numbers.forEach((number, at) => {
    if (Math.abs(number) > most / 4) sign(context, at, number > 0, "#ffffff");
  });
}

/** Makes a canvas the board; `changed(image)` hears of each flip and `told(text)` where the
 * keyboard is. Returns {show, flip, undo, reset, count}. */
export function newBoard(canvas, changed, told) {
  let [clean, image, order] = [null, null, []];
  let [cursor, keyed] = [Math.floor(SIDE / 2) * (SIDE + 1), false];

  function paint() {
    if (!image) return;
    const context = cells(canvas, (at) => mixed(INK, image[at]));
    for (const at of order) {
      const added = image[at] > clean[at];
      context.strokeStyle = css(added ? ABOVE : BELOW);
      context.lineWidth = 3;
      context.strokeRect(corner(at)[0] + 1.5, corner(at)[1] + 1.5, CELL - 3, CELL - 3);
      sign(context, at, added, added ? "#ffffff" : css(BELOW));
    }
    if (!keyed || document.activeElement !== canvas) return;
    context.strokeStyle = "#b8336a";
    context.lineWidth = 2;
    context.strokeRect(corner(cursor)[0] - 2, corner(cursor)[1] - 2, CELL + 4, CELL + 4);
  }

  const row = (at) => `row ${Math.floor(at / SIDE) + 1}, column ${(at % SIDE) + 1}`;

  /** Flips a pixel, or takes its flip back. */
  function flip(at) {
    const before = order.indexOf(at);
    if (before >= 0) order.splice(before, 1);
    else order.push(at);
    image = Float32Array.from(image);
    image[at] = before >= 0 ? clean[at] : flipped(clean[at]);
    paint();
    changed(image);
  }

  canvas.addEventListener("click", (event) => {
    if (!image) return;
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((share) => Math.min(SIDE - 1, Math.max(0, Math.floor(share * SIDE))));
    [cursor, keyed] = [y * SIDE + x, false];
    flip(cursor);
  });
  canvas.addEventListener("keydown", (event) => {
    if (!image) return;
    keyed = true;
    if (event.key in MOVES) {
      const [x, y] = MOVES[event.key];
      const [column, line] = [(cursor % SIDE) + x, Math.floor(cursor / SIDE) + y];
      if (column >= 0 && column < SIDE && line >= 0 && line < SIDE) cursor = line * SIDE + column;
      told(`At ${row(cursor)}: ${image[cursor].toFixed(2)}.`);
      paint();
    } else if (event.key === " " || event.key === "Enter") {
      flip(cursor);
    } else {
      return;
    }
    event.preventDefault();
  });
  canvas.addEventListener("focus", () => {
    keyed = canvas.matches(":focus-visible");
    paint();
  });
  canvas.addEventListener("blur", paint);

  function show(original) {
    [clean, image, order] = [original, original, []];
    paint();
    changed(image);
  }
  return {
    show,
    flip,
    undo: () => order.length && flip(order.at(-1)),
    reset: () => show(clean),
    count: () => order.length,
  };
}
