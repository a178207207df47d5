// Ten digits at a time, one of each class, as a group of radio buttons: arrows move, Tab leaves.
import { element, paintImage, SIDE } from "./pictures.js";

const CLASSES = 10;

/** Fills `box`; `chosen(image, label)` hears of each choice. Returns {another, release}. */
export function newGallery(box, { digits, labels }, chosen) {
  const size = SIDE ** 2;
  const sets = labels.length / CLASSES;
  let set = 0;
  const image = (at) =>
    Float32Array.from(digits.subarray(at * size, (at + 1) * size), (level) => level / 255);
  const buttons = Array.from({ length: CLASSES }, (_, digit) => {
    const button = element("button", { type: "button", role: "radio" }, element("canvas"));
    button.addEventListener("click", () => choose(digit));
    box.append(button);
    return button;
  });

  function mark(digit) {
    buttons.forEach((button, other) => {
      button.setAttribute("aria-checked", String(other === digit));
      button.tabIndex = other === (digit ?? 0) ? 0 : -1;
    });
  }

  function choose(digit) {
    mark(digit);
    const at = set * CLASSES + digit;
    chosen(image(at), labels[at]);
  }

  function show() {
    buttons.forEach((button, digit) => {
      const at = set * CLASSES + digit;
      paintImage(button.firstChild, image(at));
      button.setAttribute("aria-label", `a ${labels[at]}, set ${set + 1} of ${sets}`);
    });
  }

  box.addEventListener("keydown", (event) => {
    const from = buttons.indexOf(document.activeElement);
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const ends = { Home: 0, End: CLASSES - 1 };
    const to = ends[event.key] ?? (from + moves[event.key] + CLASSES) % CLASSES;
    if (from < 0 || Number.isNaN(to)) return;
    event.preventDefault();
    buttons[to].focus();
    choose(to);
  });

  show();
  return {
    choose,
    /** Shows the next ten and takes the digit of the same class. */
    another() {
      const checked = buttons.findIndex((button) => button.getAttribute("aria-checked") === "true");
      set = (set + 1) % sets;
      show();
      choose(Math.max(0, checked));
    },
    /** No digit is chosen: the reader draws. */
    release: () => mark(null),
  };
}
