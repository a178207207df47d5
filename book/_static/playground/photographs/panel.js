// The part of the page with photographs: controls to a request, the worker's answers to pictures.
import { radios } from "../gallery.js";
import { element, percent } from "../pictures.js";
import { MARKUP } from "./markup.js";
import { paint, perturbation, pixelsOf } from "./pictures.js";
import { stateThreat } from "./threat.js";

const at = (name) => document.getElementById(`photo-${name}`);
const NAMES = { fgsm: "FGSM", pgd: "PGD", patch: "A patch" };
const STEPS = { pgd: 5, patch: 20 };
const TOASTER = 859;
const STRIDE = 8;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const chosen = { image: null, label: null, name: "", number: 0 };
let [worker, names, side, gallery, stream] = [null, [], 0, null, null];
let [request, place, method] = [{ id: 0 }, [76, 76], "pgd"];

const picked = (name) => document.querySelector(`input[name=photo-${name}]:checked`).value;
const tell = (text) => (at("status").textContent = text);

function settings() {
  const [attack, goal] = [picked("attack"), picked("goal")];
  const size = Number(at("size").value);
  place = place.map((corner) => Math.min(side - size, Math.max(0, corner)));
  return {
    attack, size, place,
    levels: Number(at("epsilon").value),
    epsilon: Number(at("epsilon").value) / 255,
    steps: attack === "fgsm" ? 1 : Number(at("steps").value),
    target: goal === "one" ? Number(at("target").value) : null,
  };
}

function showSettings({ attack, levels, steps, size, target }) {
  const patches = attack === "patch";
  at("epsilon-value").textContent = `${levels}/255`;
  at("steps-value").textContent = String(steps);
  at("size-value").textContent = `${size} px`;
  at("epsilon").closest("label").hidden = patches;
  at("size").closest("label").hidden = !patches;
  at("patch-buttons").hidden = !patches;
  at("steps").disabled = attack === "fgsm";
  at("target-choice").hidden = target === null;
  at("change-caption").textContent = patches ? "the patch" : "perturbation";
  at("help").textContent = patches
    ? "Move the patch by dragging it on the attacked picture, or with the arrow keys there. It " +
      "stays as it was trained, and the network answers anew."
    : "Gray adds nothing; a channel is full where ε is added and empty where it is taken away.";
  const after = at("after");
  after.tabIndex = patches ? 0 : -1;
  after.setAttribute("role", patches ? "application" : "img");
  after.classList.toggle("movable", patches);
}

/** Asks for the attack that the controls describe; with `how`, for the patch there is. */
function ask(how = {}) {
  if (chosen.image === null) return;
  if (Number(at("target").value) === chosen.label) {
    at("target").value = String((chosen.label + 1) % names.length);
  }
  const now = settings();
  showSettings(now);
  stateThreat(at("threat"), now, names);
  request = { ...now, ...chosen, ...how, id: request.id + 1 };
  at("panel").dataset.state = "working";
  worker.postMessage(request);
}

function choose(image, label, name) {
  Object.assign(chosen, { image, label, name, number: chosen.number + 1 });
  paint(at("before"), image);
  at("before").setAttribute("aria-label", `${name}, before the attack`);
  ask();
}

/** The likeliest classes as bars, the true one and the target among them marked. */
function showBars(body, scores, label, target) {
  body.replaceChildren(...scores.map(({ label: named, share }, rank) => {
    const fill = element("span");
    fill.style.width = percent(share, 2).replace(" ", "");
    const kind = named === label ? "true" : rank === 0 || named === target ? "wrong" : "";
    return element("tr", { class: kind }, element("th", { scope: "row" }, names[named]),
      element("td", { class: "bar" }, fill), element("td", { class: "share" }, percent(share)));
  }));
}

function show({ label, before, after, adversarial, taken, milliseconds, patch, done }) {
  const { attack, target, levels, epsilon, image, steps, moves } = request;
  paint(at("after"), adversarial);
  if (attack !== "patch") paint(at("change"), perturbation(adversarial, image, epsilon));
  else if (patch) paint(at("change"), patch);
  showBars(at("before-bars"), before, label, null);
  showBars(at("after-bars"), after, label, target);
  at("after-caption").textContent = done ? "attacked" : `attacked, step ${taken} of ${steps}`;
  if (!done) return;
  const [first, last] = [before[0], after[0]];
  const success = target === null ? last.label !== label : last.label === target;
  const [kind, sign] = last.label === label ? ["right", "✓"] : ["wrong", "✗"];
  const truth = chosen.label === null ? "" : ` Its label is ${names[label]}.`;
  at("said").replaceChildren("Classified as ", element("strong", { class: kind },
    `${names[last.label]} ${sign}`), ` with ${percent(last.share)}; before, as ` +
    `${names[first.label]} with ${percent(first.share)}.${truth}`);
  at("after").setAttribute("aria-label", `${chosen.name} after the attack`);
  at("change").setAttribute("aria-label", attack === "patch" ? "The patch"
    : `The perturbation, between −${levels}/255 and ${levels}/255`);
  const how = attack === "patch" ? `${NAMES.patch} of ${request.size} pixels`
    : `${NAMES[attack]}, ε = ${levels}/255`;
  const wanted = target === null ? "" : `, towards ${names[target]}`;
  const result = `${success ? "It succeeds" : "It fails"}: classified as ${names[last.label]}`;
  const time = moves ? "" : ` ${(milliseconds / 1000).toFixed(1)} s in your browser.`;
  tell(`${how}${wanted}. ${result}.${time}`);
  at("panel").dataset.state = "done";
}

/** Dragging and arrows move the patch; its answer follows. */
function makeMovable(canvas) {
  let grip = null;
  const spot = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((share) => Math.round(share * side));
  };
  const moved = (to) => {
    place = to;
    ask({ moves: true });
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (picked("attack") !== "patch") return;
    canvas.setPointerCapture(event.pointerId);
    grip = Number(at("size").value) / 2;
    moved(spot(event).map((middle) => middle - grip));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (grip !== null) moved(spot(event).map((middle) => middle - grip));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => (grip = null));
  }
  canvas.addEventListener("keydown", (event) => {
    if (picked("attack") !== "patch" || !(event.key in MOVES)) return;
    event.preventDefault();
    moved(place.map((corner, axis) => corner + STRIDE * MOVES[event.key][axis]));
  });
}

/** The reader's own picture; it is read here and goes to the worker alone. */
function useOwn(source, width, height, name) {
  gallery?.mark(null);
  choose(pixelsOf(source, width, height, side), null, name);
}

async function readFile() {
  const [file] = at("file").files;
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file);
    useOwn(bitmap, bitmap.width, bitmap.height, "Your picture");
  } catch {
    tell(`${file.name} is no picture that this browser can read.`);
  }
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  at("shot").hidden = true;
  at("camera").setAttribute("aria-expanded", "false");
}

/** Shows what the camera sees. A picture can be taken once there is one: a click before the first
 * frame would find nothing. */
async function openCamera() {
  if (stream) return closeCamera();
  const [camera, take, video] = [at("camera"), at("take"), at("video")];
  camera.disabled = take.disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    at("shot").hidden = false;
    camera.setAttribute("aria-expanded", "true");
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    closeCamera();
    return tell(`The camera cannot be used: ${error.message}.`);
  } finally {
    camera.disabled = false;
  }
  take.disabled = false;
  take.focus();
}

function takePicture() {
  const video = at("video");
  useOwn(video, video.videoWidth, video.videoHeight, "Your photograph");
  closeCamera();
  at("camera").focus();
}

async function fillGallery({ samples }, content) {
  const pictures = [];
  let begin = 0;
  for (const { bytes, label } of samples) {
    const file = new Blob([content.slice(begin, (begin += bytes))], { type: "image/jpeg" });
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    pictures.push({ image: pixelsOf(bitmap, bitmap.width, bitmap.height, side), label });
  }
  gallery = radios(at("gallery"), pictures.length, (number) => {
    const { image, label } = pictures[number];
    gallery.mark(number);
    choose(image, label, names[label]);
  });
  pictures.forEach(({ image, label }, number) => {
    paint(gallery.buttons[number].firstChild, image);
    gallery.buttons[number].setAttribute("aria-label", `${number + 1}: ${names[label]}`);
  });
}

async function begin({ description, photographs }) {
  ({ classes: names, side } = description);
  at("panel").innerHTML = MARKUP;
  const order = names.map((name, label) => new Option(name, String(label)));
  at("target").append(...order.sort((one, other) => one.text.localeCompare(other.text)));
  at("target").value = String(TOASTER);
  at("facts").textContent = `${description.about}: ${description.parameters.toLocaleString("en")} ` +
    `parameters, license ${description.license}; its weights are rounded to float16. The picture ` +
    `has ${side} × ${side} pixels. What is attacked is rounded to 8 bits before it is judged.`;
  at("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  at("camera").addEventListener("click", openCamera);
  at("take").addEventListener("click", takePicture);
  at("file").addEventListener("change", readFile);
  at("on").addEventListener("click", () => ask({ goesOn: true }));
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  at("controls").addEventListener("input", (event) => {
    if (event.target === at("file")) return;
    if (picked("attack") !== method) {
      method = picked("attack");
      at("steps").value = String(STEPS[method] ?? at("steps").value);
    }
    ask();
  });
  makeMovable(at("after"));
  showSettings(settings());
  at("load").hidden = true;
  at("panel").hidden = false;
  if (!photographs) return tell("Choose a picture of yours.");
  await fillGallery(description, photographs);
  gallery.buttons[0].click();
  gallery.buttons[0].focus();
}

function styled() {
  const sheet = element("link", { rel: "stylesheet",
    href: new URL("photographs.css", import.meta.url).href });
  document.head.append(sheet);
  return new Promise((resume) => (sheet.onload = sheet.onerror = resume));
}

/** Loads the network, then shows the panel. */
export function open() {
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const sheet = styled();
  worker.onmessage = async ({ data }) => {
    if (data.kind === "ready") {
      await sheet;
      begin(data);
    } else if (data.kind === "failed") {
      tell(`It cannot start: ${data.message}.`);
      at("load").disabled = false;
    } else if (data.id === request.id) {
      show(data);
    }
  };
  worker.onerror = (event) => tell(`It has failed: ${event.message}.`);
}
