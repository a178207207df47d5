// Drawing a digit by mouse, by touch or by keyboard.
import { centered } from "./centering.js";

const PEN = 22;
const STRIDE = 10;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Makes the canvas a drawing area; `drawn(image)` hears of each change, null after clearing, and
 * `told(text)` what the keyboard's pen does. Returns {clear}. */
export function newPad(canvas, drawn, told) {
  const side = canvas.width;
  const context = canvas.getContext("2d");
  // The ink lies on a canvas of its own, so that the pen's ring is no part of the drawing.
  const sheet = new OffscreenCanvas(side, side);
  const ink = sheet.getContext("2d", { willReadFrequently: true });
  let [pen, down, stroking, keyed] = [[side / 2, side / 2], false, false, false];

  function refresh() {
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, side, side);
    context.drawImage(sheet, 0, 0);
    if (document.activeElement !== canvas || !keyed) return;
    context.beginPath();
    context.arc(...pen, PEN / 2, 0, 2 * Math.PI);
    context.lineWidth = 3;
    context.strokeStyle = down ? "#d1495b" : "#2a6f97";
    context.stroke();
  }

  function lineTo(place) {
    ink.strokeStyle = "#1f2933";
    ink.lineWidth = PEN;
    ink.lineCap = ink.lineJoin = "round";
    ink.beginPath();
    ink.moveTo(...pen);
    ink.lineTo(...place);
    ink.stroke();
    pen = place;
    refresh();
  }

  function report() {
    const { data } = ink.getImageData(0, 0, side, side);
    const opacity = Float32Array.from({ length: side ** 2 }, (_, at) => data[4 * at + 3] / 255);
    drawn(centered(opacity, side));
  }

  function clear() {
    ink.clearRect(0, 0, side, side);
    [pen, down] = [[side / 2, side / 2], false];
    refresh();
    drawn(null);
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((share) => share * side);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [pen, stroking, keyed] = [place(event), true, false];
    lineTo(pen);
  });
  canvas.addEventListener("pointermove", (event) => stroking && lineTo(place(event)));
  const end = () => {
    if (!stroking) return;
    stroking = false;
    refresh();
    report();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  canvas.addEventListener("keydown", (event) => {
    keyed = true;
    if (event.key in MOVES) {
      const to = pen.map((value, axis) => value + STRIDE * MOVES[event.key][axis])
        .map((value) => Math.min(side - PEN / 2, Math.max(PEN / 2, value)));
      if (down) lineTo(to);
      pen = to;
      refresh();
      if (down) report();
    } else if (event.key === " ") {
      down = !down;
      told(down ? "The pen is down." : "The pen is up.");
      if (down) {
        lineTo(pen);
        report();
      }
      refresh();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      clear();
    } else {
      return;
    }
    event.preventDefault();
  });
  canvas.addEventListener("focus", () => {
    keyed = canvas.matches(":focus-visible");
    refresh();
  });
  canvas.addEventListener("blur", refresh);
  refresh();
  return { clear };
}
