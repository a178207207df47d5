// Pictures to choose from, as a group of radio buttons: arrows move, Tab leaves. The digits come ten
// at a time, one of each class.
import { element, paintImage, SIDE } from "./pictures.js";

const CLASSES = 10;

/** `count` buttons with a canvas each, added to `box`; `choose(at)` hears of each choice. Returns
 * {buttons, mark}. */
export function radios(box, count, choose) {
  const buttons = Array.from({ length: count }, (_, at) => {
    const button = element("button", { type: "button", role: "radio" }, element("canvas"));
    button.addEventListener("click", () => choose(at));
    box.append(button);
    return button;
  });
  box.addEventListener("keydown", (event) => {
    const from = buttons.indexOf(document.activeElement);
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const ends = { Home: 0, End: count - 1 };
    const to = ends[event.key] ?? (from + moves[event.key] + count) % count;
    if (from < 0 || Number.isNaN(to)) return;
    event.preventDefault();
    buttons[to].focus();
    choose(to);
  });

  /** Checks one button; none with null. */
  function mark(chosen) {
    buttons.forEach((button, at) => {
      button.setAttribute("aria-checked", String(at === chosen));
      button.tabIndex = at === (chosen ?? 0) ? 0 : -1;
    });
  }
  return { buttons, mark };
}

/** Fills `box`; `chosen(image, label)` hears of each choice. Returns {another, release}. */
export function newGallery(box, { digits, labels }, chosen) {
  const size = SIDE ** 2;
  const sets = labels.length / CLASSES;
  let set = 0;
  const image = (at) =>
    Float32Array.from(digits.subarray(at * size, (at + 1) * size), (level) => level / 255);
  const { buttons, mark } = radios(box, CLASSES, choose);

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
