// The page: controls to a request, the worker's answers to rows.
import { newGallery } from "./gallery.js";
import { newPad } from "./pad.js";
import { paintImage } from "./pictures.js";
import { newRow } from "./rows.js";
import { stateThreat } from "./threat.js";

const at = (id) => document.getElementById(id);
const NAMES = { fgsm: "FGSM", pgd: "PGD", targeted: "Targeted PGD" };
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const chosen = { image: null, label: null, number: 0 };
let [rows, budgets, request, told] = [{}, [], { id: 0 }, []];
let synthesis = null;

function settings() {
  const attack = document.querySelector("input[name=attack]:checked").value;
  return {
    attack,
    epsilon: Number(at("epsilon").value),
    steps: Number(at("steps").value),
    target: Number(at("target").value),
    knows: at("knows").checked,
  };
}

function showSettings({ attack, epsilon, steps }) {
  at("epsilon-value").textContent = epsilon.toFixed(3);
  at("steps-value").textContent = attack === "fgsm" ? "1" : String(steps);
  at("steps").disabled = attack === "fgsm";
  at("target-choice").hidden = attack !== "targeted";
}

/** Asks for the attack that the controls describe; answers to older requests are dropped. */
function ask() {
  if (chosen.label !== null && Number(at("target").value) === chosen.label) {
    at("target").value = String((chosen.label + 1) % 10);
  }
  const now = settings();
  showSettings(now);
  stateThreat(at("threat"), now);
  at("rows").hidden = chosen.image === null;
  request = { ...now, ...chosen, id: request.id + 1 };
  if (chosen.image === null) return;
  const { attack, steps, target, knows, number, label } = request;
  request.key = [number, label, knows, attack, attack === "fgsm" ? 1 : steps,
    attack === "targeted" ? target : ""].join();
  [told, document.body.dataset.state] = [[], "working"];
  worker.postMessage(request);
}

function choose(image, label) {
  Object.assign(chosen, { image, label, number: chosen.number + 1 });
  ask();
  if (label !== null) explain();
}

/** Lets the ten generators draw the chosen digit, if they are loaded. */
function explain() {
  if (synthesis && chosen.image !== null) synthesis.choose(chosen.image, chosen.label);
}

function showRow({ name, label, last, ...result }) {
  if (chosen.label === null) {
    // The first guess of what was drawn; the reader may correct it.
    chosen.label = label;
    at("truth").value = String(label);
    explain();
    if (request.attack === "targeted" && request.target === label) return ask();
  }
  told.push(rows[name].show({ ...result, label }, request));
  if (!last) return;
  document.body.dataset.state = "answered";
  const goal = request.attack === "targeted" ? ` towards ${request.target}` : "";
  const attack = `${NAMES[request.attack]}${goal}, ε = ${request.epsilon}`;
  at("status").textContent = `${attack}. ${told.join(". ")}.`;
}

/** The button that loads the ten generators. */
function offerSynthesis({ files }) {
  const [button, status] = [at("synthesis-load"), at("synthesis-status")];
  const size = (files["synthesis.bin"].bytes / 1e6).toFixed(1);
  button.textContent = `Load the ten generators (${size} MB)`;
  button.disabled = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    status.textContent = "Loading.";
    try {
      synthesis = (await import("./synthesis/panel.js")).open();
      explain();
    } catch (error) {
      status.textContent = `It cannot be loaded: ${error.message}.`;
      button.disabled = false;
    }
  });
}

/** The button that loads what photographs need, or the reason why there is none. */
function offerPhotographs({ missing, samples, bytes }) {
  const [button, status] = [at("photo-load"), at("photo-status")];
  button.hidden = missing !== null;
  if (missing) {
    const command = document.createElement("code");
    command.textContent = missing;
    status.replaceChildren("This site was built without the network's weights. To have them: ",
      command, ", and build it again.");
    return;
  }
  const pictures = samples ? ` and ${samples} photographs` : "";
  button.textContent = `Load the network${pictures} (${(bytes / 1e6).toFixed(1)} MB)`;
  button.disabled = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    status.textContent = "Loading.";
    try {
      (await import("./photographs/panel.js")).open();
    } catch (error) {
      status.textContent = `It cannot be loaded: ${error.message}.`;
      button.disabled = false;
    }
  });
}

function begin({ manifest, digits, budgets: swept }) {
  budgets = swept;
  offerSynthesis(manifest);
  offerPhotographs(manifest.photographs);
  for (const name of ["undefended", "trained", "purified"]) {
    rows[name] = newRow(name, manifest.networks);
    at("rows").append(rows[name].section);
  }
  const gallery = newGallery(at("gallery"), { digits, labels: manifest.labels }, (image, label) => {
    openPad(false);
    choose(image, label);
  });
  const tell = (text) => (at("status").textContent = text);
  const pad = newPad(at("paper"), (image) => {
    at("seen-figure").hidden = image === null;
    if (image) paintImage(at("seen"), image);
    choose(image, null);
  }, tell);
  const openPad = (open) => {
    at("pad").hidden = !open;
    at("draw").setAttribute("aria-expanded", String(open));
  };
  at("others").addEventListener("click", () => gallery.another());
  at("clear").addEventListener("click", () => pad.clear());
  at("draw").addEventListener("click", () => {
    openPad(at("pad").hidden);
    if (at("pad").hidden) return gallery.choose(0);
    gallery.release();
    pad.clear();
    at("paper").focus();
    tell("Draw a digit.");
  });
  at("truth").addEventListener("change", () => {
    if (chosen.image !== null) choose(chosen.image, Number(at("truth").value));
  });
  at("controls").addEventListener("input", (event) => {
    if (event.target !== at("truth")) ask();
  });
  gallery.choose(7);
}

for (const name of ["truth", "target"]) {
  for (let digit = 0; digit < 10; digit++) at(name).add(new Option(String(digit), String(digit)));
}
at("controls").addEventListener("submit", (event) => event.preventDefault());
worker.onmessage = ({ data }) => {
  if (data.kind === "ready") begin(data);
  else if (data.kind === "failed") at("status").textContent = `It cannot start: ${data.message}.`;
  else if (data.id !== request.id) return;
  else if (data.kind === "row") showRow(data);
  else if (data.kind === "curve") rows[data.name].curve.draw(data.points, budgets, chosen.label);
  else document.body.dataset.state = "done";
};
worker.onerror = (event) => (at("status").textContent = `It has failed: ${event.message}.`);
