// The panel of analysis by synthesis: ten drawings with their half-spaces, and pixels to flip.
import { radios } from "../gallery.js";
import { read } from "../network.js";
import { element, paintImage, percent } from "../pictures.js";
import { newBoard, paintSigned } from "./board.js";
import { bestFlip, covered, halfspace } from "./halfspaces.js";
import { MARKUP } from "./markup.js";

const CLASSES = 10;
const at = (id) => document.getElementById(id);

/** Loads style and decoders, and shows the panel: {choose(image, label)}. */
export function open() {
  const style = element("link", { rel: "stylesheet",
    href: new URL("synthesis.css", import.meta.url).href });
  document.head.append(style);
  const panel = at("synthesis-panel");
  panel.innerHTML = MARKUP;
  const cards = newCards(at("drawings"), (rival) => {
    if (state.held?.spaces[rival]) state.rival = rival;
    showRival();
  });
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const state = { label: null, clean: null, image: null, digit: 0, id: 0, held: null, found: [],
    rival: null, shares: null };
  const tell = (text) => (at("play-status").textContent = text);
  const board = newBoard(at("board"), ask, tell);

  function ask(image) {
    Object.assign(state, { image, found: [], id: state.id + 1 });
    panel.dataset.state = "working";
    const length = Math.hypot(...image.map((pixel, i) => pixel - state.clean[i]));
    const count = board.count();
    at("board-count").textContent = `${count} ${count === 1 ? "pixel" : "pixels"} flipped (L0), ` +
      `‖δ‖₂ = ${length.toFixed(2)}`;
    showRival();
    worker.postMessage({ id: state.id, digit: state.digit, image });
  }

  /** Half-spaces of the drawings of the clean image, and what each card says of them. */
  function showRival() {
    const { held, rival, image, clean } = state;
    if (!held) return;
    held.spaces.forEach((space, label) => {
      cards.measure(label, space && { ...space, share: covered(space, image, clean) });
    });
    cards.mark(rival);
    paintSigned(at("normal"), held.spaces[rival].normal);
    at("normal").setAttribute("aria-label",
      `The ${rival}'s drawing minus the ${held.winner}'s: where ink helps the ${rival}, and where white`);
    at("normal-caption").textContent = `where ink (+) and white (−) help the ${rival}`;
    at("suggest").disabled = bestFlip(held.spaces[rival], image, clean) < 0;
  }

  /** Keeps the drawings of the clean image, from which the half-spaces are measured. */
  function hold() {
    const costs = state.found.map(({ cost }) => cost);
    const winner = costs.indexOf(Math.min(...costs));
    const spaces = state.found.map((rival, label) =>
      (label === winner ? null : halfspace(state.found[winner], rival)));
    const distances = spaces.map((space) => space?.distance ?? Infinity);
    state.held = { winner, spaces };
    state.rival = distances.indexOf(Math.min(...distances));
    showRival();
  }

  function verdict(place, answer, more) {
    const right = answer === state.label;
    const strong = element("strong", { class: right ? "right" : "wrong" },
      `${answer} ${right ? "✓" : "✗"}`);
    at(place).replaceChildren(strong, more);
    return right;
  }

  /** The fewest pixels that have fooled a classifier on this digit. */
  function record(place, right) {
    if (right) return;
    const before = Number(at(place).textContent) || Infinity;
    at(place).textContent = String(Math.min(before, board.count()));
  }

  function showClass({ label, drawing, cost, last }) {
    state.found[label] = { drawing, cost };
    cards.show(label, drawing, cost);
    if (!last) return;
    if (!state.held) hold();
    const costs = state.found.map((one) => one.cost);
    const order = costs.map((_, i) => i).sort((one, other) => costs[one] - costs[other]);
    const answer = order[0];
    cards.win(answer);
    const lead = (costs[order[1]] - costs[answer]).toFixed(1);
    const right = verdict("synthesis-reads", answer, `, ${lead} cheaper than the ${order[1]}`);
    record("synthesis-record", right);
    const network = read(state.shares);
    tell(`${board.count()} flipped. The network reads ${network}, analysis by synthesis ${answer}.`);
    panel.dataset.state = "done";
  }

  worker.onmessage = ({ data }) => {
    if (data.kind === "ready") {
      at("synthesis-status").textContent = "";
      panel.hidden = false;
    } else if (data.kind === "failed") {
      at("synthesis-status").textContent = `It cannot start: ${data.message}.`;
    } else if (data.id === state.id && data.kind === "network") {
      state.shares = data.shares;
      const answer = read(data.shares);
      const right = verdict("network-reads", answer, ` with ${percent(data.shares[answer])}`);
      record("network-record", right);
    } else if (data.id === state.id) {
      showClass(data);
    }
  };
  worker.onerror = (event) => (at("synthesis-status").textContent =
    `It has failed: ${event.message}.`);
  at("undo").addEventListener("click", () => board.undo());
  at("reset").addEventListener("click", () => board.reset());
  at("suggest").addEventListener("click", () => {
    if (!state.held) return;
    const best = bestFlip(state.held.spaces[state.rival], state.image, state.clean);
    if (best >= 0) board.flip(best);
  });

  return {
    /** Shows another digit, of a class that is known or, in a drawing, guessed. */
    choose(image, label) {
      Object.assign(state, { label, clean: image, digit: state.digit + 1, held: null });
      for (const place of ["network-record", "synthesis-record"]) at(place).textContent = "–";
      board.show(image);
    },
  };
}

/** Ten cards with a drawing each: {show, measure, win, mark}. */
function newCards(box, choose) {
  const { buttons, mark } = radios(box, CLASSES, choose);
  const parts = buttons.map((button, label) => {
    const name = element("strong", {}, String(label));
    const cost = element("span", { class: "cost" });
    const distance = element("span", { class: "distance" });
    const fill = element("span");
    button.append(name, cost, distance, element("span", { class: "meter", "aria-hidden": "true" },
      fill));
    return { name, cost, distance, fill };
  });
  return {
    mark,
    show(label, drawing, cost) {
      paintImage(buttons[label].firstChild, drawing);
      parts[label].cost.textContent = `cost ${cost.toFixed(1)}`;
    },
    measure(label, space) {
      const { distance, fill } = parts[label];
      buttons[label].setAttribute("aria-disabled", String(space === null));
      const share = space ? Math.min(1, Math.max(0, space.share)) : 0;
      distance.textContent = space
        ? `half-space at ${space.distance.toFixed(2)}, ${percent(share, 0)} of the way`
        : "won on the image without flips";
      fill.style.width = `${100 * share}%`;
    },
    win(winner) {
      parts.forEach(({ name }, label) => {
        name.textContent = label === winner ? `${label}, cheapest` : String(label);
        buttons[label].classList.toggle("wins", label === winner);
      });
    },
  };
}
